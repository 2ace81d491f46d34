"""Recipes for webs: what they default to, what they refuse and why, and masks for parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from bundles import HEIGHT, IN_FLOAT, WIDTH, Workshop, with_patch
from kenpin.camera.files.images import read_pixels, write_png
from kenpin.camera.frame import Frame
from kenpin.compile.cli import main as edge_compile
from kenpin.compile.methods.feature_reader import FeatureReader
from kenpin.config.errors import ConfigError
from kenpin.config.images import ImagesSpec
from kenpin.config.methods import PadimSpec
from kenpin.config.recipe import Recipe, load_recipe
from kenpin.config.web import WebSpec
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.judging.lamp import Lamp
from kenpin.runtime.judging.network import load_engine
from kenpin.runtime.judging.pipeline import Pipeline
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.judging.verdict import Outcome, Reason
from kenpin.runtime.web.pipeline import WebPipeline
from web_lines import compile_web, cut, some_web, write_webs

REPOSITORY = Path(__file__).resolve().parent.parent


def recipe(method: dict[str, Any] | None = None, **changes: Any) -> Recipe:
    tree: dict[str, Any] = {
        "name": "w",
        "images": {"good": "x"},
        "frame": {"geometry": "continuous", "width_px": 256},
        "method": {"name": "padim"} if method is None else method,
    }
    return Recipe.model_validate(tree | changes)


def test_webs_default_to_columns_and_to_one_lane() -> None:
    found = recipe()
    assert isinstance(found.method, PadimSpec)
    assert (found.method.granularity, found.method.share) == ("columns", "frame")
    assert found.web == WebSpec()
    assert recipe({"name": "padim", "granularity": "single"}).method == PadimSpec(
        name="padim", granularity="single"
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"method": {"name": "padim", "granularity": "dense"}}, "no fixed place under"),
        ({"method": {"name": "padim", "granularity": "1/16"}}, "no fixed place under"),
        ({"method": {"name": "padim", "share": "tile"}}, "never comes by the same row"),
        ({"method": {"name": "patchcore", "position_weight": 1}}, "set it to 0"),
        ({"method": {"name": "patchcore", "reweight_neighbours": 3}}, "part by part"),
        ({"frame": {"geometry": "continuous", "width_px": 256, "height_px": 64}}, "no height"),
        ({"images": {"good": "x", "mask": "m.png"}}, "web.ignore"),
        ({"images": {"good": "x", "joined": True, "group": "folder"}}, "makes one web of all"),
        ({"web": {"lanes": [{"name": "a", "left_px": 0, "right_px": 300}]}}, "reaches to 300"),
        ({"web": {"lanes": [{"name": "a", "left_px": 9, "right_px": 9}]}}, "not left of"),
        ({"web": {"offset_to_gate_mm": 5}}, "line_pitch_mm"),
        ({"frame": {"height_px": 64, "width_px": 256}, "web": {}}, "are for webs"),
    ],
)
def test_what_makes_no_sense_for_a_web_is_refused_with_the_reason(
    changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(ValidationError, match=why):
        recipe(**changes)


def test_the_fabric_recipe_loads_and_says_what_it_means() -> None:
    found = load_recipe(REPOSITORY / "config" / "fabric03-web.toml")
    assert found.frame.geometry == "continuous"
    assert found.web is not None
    assert [lane.name for lane in found.web.lanes] == ["left", "right"]


def test_indexed_bundles_say_nothing_of_webs(padim: Bundle) -> None:
    text = (padim.folder / "manifest.json").read_text()
    assert '"web"' not in text
    assert '"geometry"' not in text
    assert read_bundle(padim.folder).manifest.frame.geometry == "indexed"


def test_the_blocks_of_one_recording_are_fitted_as_one_web(
    web_bundle: Bundle, tmp_path: Path
) -> None:
    web = some_web(1500)
    manifest = web_bundle.manifest
    grid = TileGrid.of(manifest.frame, manifest.tiles)
    engine = load_engine(web_bundle, None)
    found = []
    for heights in ([1500], [700, 41, 1, 333]):
        folder = tmp_path / str(len(heights))
        folder.mkdir()
        blocks = cut(web, heights)
        for i, block in enumerate(blocks):
            write_png(folder / f"{i}.png", np.ascontiguousarray(block))
        files = sorted(folder.iterdir())
        lamp = Lamp(manifest.grey.even_to)
        reader = FeatureReader(
            engine, grid, manifest.frame, ImagesSpec(good=folder, joined=True), lamp
        )
        found.append(np.concatenate(list(reader.read(files))))
    assert found[0].tobytes() == found[1].tobytes()
    assert len(found[0]) == 3 * (1 + -(-(1500 - 64) // 64))


@pytest.mark.thorough
def test_turned_photographs_make_the_same_bundle(tmp_path: Path) -> None:
    good = write_webs(tmp_path / "webs", (300, 260, 400))
    turned = tmp_path / "turned"
    turned.mkdir()
    for file in good.iterdir():
        write_png(turned / file.name, np.ascontiguousarray(np.rot90(read_pixels(file))))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    plain = compile_web(tmp_path / "a", IN_FLOAT, good=good)
    other = compile_web(tmp_path / "b", IN_FLOAT, "images.turn_deg=90", good=turned)
    assert plain.manifest.good_scores == other.manifest.good_scores
    assert plain.manifest.threshold.ok == other.manifest.threshold.ok
    frame = Frame(some_web(300), 0, 0)
    judged = [WebPipeline(bundle).judge_single(frame).verdict for bundle in (plain, other)]
    assert judged[0].score == judged[1].score


def test_a_recipe_for_webs_is_checked_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write_webs(tmp_path / "webs", (100, 90))
    text = (REPOSITORY / "tests" / "web_lines.py").read_text().split('"""')[3]
    (tmp_path / "web.toml").write_text(text.format(good=good))
    assert edge_compile(["check", str(tmp_path / "web.toml")]) == 0
    assert "1 x 3 tiles" in capsys.readouterr().out


# Masks for parts.


def masked(workshop: Workshop, folder: Path, mask: Any) -> Bundle:
    write_png(folder / "mask.png", mask)
    changes = (f"images.mask={folder / 'mask.png'}", IN_FLOAT)
    return workshop.build(folder / "store", *changes).bundle


@pytest.mark.thorough
def test_a_mask_takes_part_of_the_frame_out_of_the_verdict(
    workshop: Workshop, patchcore: Bundle, tmp_path: Path
) -> None:
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[32:96, 80:144] = 0
    bundle = masked(workshop, tmp_path, mask)
    good = read_pixels(patchcore.folder / "golden" / "good-0.png")
    spoilt = with_patch(good)
    assert Pipeline(patchcore).judge(Frame(spoilt, 0, 0)).verdict.reason is Reason.DEFECT
    pipeline = Pipeline(bundle)
    inside = pipeline.judge(Frame(spoilt.copy(), 0, 0))
    assert inside.verdict.outcome is Outcome.OK
    assert inside.score_map is not None
    assert not inside.score_map.values[4:12, 10:18].any()
    beside = np.array(good)
    beside[50:70, 180:200] = 255
    assert pipeline.judge(Frame(beside, 0, 0)).verdict.reason is Reason.DEFECT


def test_a_mask_that_does_not_fit_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected the frame's 128 x 320"):
        masked(workshop, tmp_path, np.full((100, 320), 255, np.uint8))
    with pytest.raises(ConfigError, match="its highest value is 0"):
        masked(workshop, tmp_path, np.zeros((HEIGHT, WIDTH), np.uint8))


def test_what_a_web_does_not_say_of_its_ends_leaves_its_manifest_as_it_was() -> None:
    web = WebSpec.model_validate({"ignore": [{"left_px": 0, "right_px": 8}]})
    assert "ends" not in web.model_dump()
    assert list(web.model_dump()["ignore"]) == [{"left_px": 0, "right_px": 8}]
    drawn = WebSpec.model_validate(
        {"ignore": [{"last_lines": 9}], "ends": {"within_lines": 9, "level": 5}}
    )
    assert WebSpec.model_validate(drawn.model_dump()) == drawn
