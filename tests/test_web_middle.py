"""Pieces that a build cuts out of webs: from lines that count, and judged without ends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kenpin.camera.files.images import read_pixels, write_png
from kenpin.camera.synthetic import SyntheticWeb
from kenpin.compile.build_task import BuildTask
from kenpin.compile.golden import golden_frames
from kenpin.compile.good_images.inspected import draw_inspected, share_in_words
from kenpin.compile.good_images.parts import parts_of_webs
from kenpin.compile.good_images.web_middle import middle_of
from kenpin.compile.methods.leave_out import Unseen
from kenpin.compile.operating_point.twin_scores import Twin, TwinTask, draw_twins
from kenpin.config.errors import ConfigError
from kenpin.config.web import WebSpec
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.scoring import Scorer
from kenpin.runtime.selftest import open_tested
from kenpin.runtime.web.lanes import EdgeTracker
from kenpin.runtime.web.pipeline import WebPipeline
from kenpin.runtime.web.stages import WebStages
from kenpin.runtime.web.strip_ends import StripEnds
from web_lines import SEED, WIDTH, compile_web, cut, web_recipe, write_webs

PX, CORE = 8, 64
TABLE = 252
FOUND = {"within_lines": 96, "margin_lines": 16, "web_is_brighter": False, "level": 225}
EDGES = {"left_px": 40, "right_px": 120, "tolerance_px": 12, "margin_px": 4, "level": 40}


def stages_of(bundle: Bundle, **web: Any) -> WebStages:
    """The box's steps as a build has them: with the recipe's web, and without grey limits."""
    return WebStages(WebPipeline(bundle).stages.network, WebSpec.model_validate(web))


@given(
    st.integers(0, 120), st.integers(0, 120), st.integers(0, 15), st.integers(0, 15),
    st.booleans(), st.integers(1, 400),
)  # fmt: skip
def test_the_middle_of_a_web_is_where_nothing_is_left_out(
    before: int, after: int, first: int, last: int, ends: bool, height: int
) -> None:
    pixels = np.full((50 * PX, WIDTH), 100, np.uint8)
    pixels[:before] = pixels[len(pixels) - after :] = TABLE
    zones = [{"first_lines": first * PX}] * (first > 0) + [{"last_lines": last * PX}] * (last > 0)
    spec = FOUND if ends else None
    web = WebSpec.model_validate({"ignore": zones, "ends": spec})
    begin, end = middle_of(web, cut(pixels, [height]))
    strip_ends = StripEnds(web, WIDTH, PX, 0)
    held = strip_ends.held_lines
    strip_ends.ended([pixels[len(pixels) - held :]] if held else [], len(pixels))
    weights = [strip_ends.weights(pixels[at : at + PX], at) for at in range(0, len(pixels), PX)]
    counts = np.array([one is None or bool(one.all()) for one in weights])
    middle = (np.arange(len(counts)) + 0.5) * PX
    np.testing.assert_array_equal(counts, (middle >= begin) & (middle < end))


def test_strips_keep_their_numbers_where_lines_before_them_are_left_out(
    web_bundle: Bundle,
) -> None:
    web = SyntheticWeb(700, WIDTH, SEED).frame(1).pixels
    every = {n: s.first_line for n, s, _ in stages_of(web_bundle).strips([web])}
    zone = stages_of(web_bundle, ignore=[{"first_lines": 200}])
    some = {n: s.first_line for n, s, _ in zone.strips([web])}
    assert list(every) == list(range(len(every)))
    assert 0 < len(some) < len(every)
    assert some == {number: every[number] for number in some}


@dataclass
class WebsInMemory:
    """Good webs in memory, by the names of files that are not there."""

    blocks: dict[Path, Any]

    def load(self, file: Path) -> Any:
        return self.blocks[file]


def webs(count: int, height: int) -> WebsInMemory:
    frames = SyntheticWeb(height, WIDTH, SEED)
    return WebsInMemory({Path(f"{n}.png"): frames.frame(n).pixels for n in range(count)})


class NeverTold:
    """A method that was never told of any part."""

    def without(self, part: int) -> Scorer:
        return cast(Scorer, None)


def twins_of(
    stages: WebStages,
    material: WebsInMemory,
    edges: EdgeTracker | None,
    lines: tuple[int, int] | None,
) -> list[Twin]:
    files, heights = list(material.blocks), [len(one) for one in material.blocks.values()]
    rows = [-(-height // CORE) for height in heights]
    unseen = Unseen(
        lambda _: stages, NeverTold(), parts_of_webs(files, rows, None),
        [[file] for file in files], material.load, None,
    )  # fmt: skip
    task = TwinTask(
        unseen, range(len(files)), stages.grid, PX, 2 * PX, stages.lanes.inspected[None],
        None if lines is None else [[(*lines, height)] for height in heights], edges,
        heights=[[height] for height in heights],
    )  # fmt: skip
    return list(draw_twins(task, 1, np.random.default_rng(3), lambda *_: None))


def test_defects_are_drawn_into_lines_that_count_and_found_there(web_bundle: Bundle) -> None:
    stages = stages_of(web_bundle, ignore=[{"first_lines": 200}, {"last_lines": 200}])
    drawn = twins_of(stages, webs(5, 600), None, (200, 400))
    assert len(drawn) > 50
    assert min(float(twin.values.max()) for twin in drawn) > 0


def test_a_defect_in_a_short_block_of_a_joined_web_is_judged_without_its_own_piece(
    web_bundle: Bundle,
) -> None:
    """Blocks were taken for equally long: the second began halfway along the web."""
    web = SyntheticWeb(3200, WIDTH, SEED).frame(0).pixels
    blocks = {Path("0.png"): web[:2880], Path("1.png"): web[2880:] // 2 + 120}
    stages, rows = stages_of(web_bundle), 3200 // CORE
    unseen = Unseen(
        lambda _: stages, NeverTold(), parts_of_webs([Path("0.png")], [rows], None),
        [list(blocks)], WebsInMemory(blocks).load, None,
    )  # fmt: skip
    task = TwinTask(
        unseen, [0], stages.grid, PX, 2 * PX, stages.lanes.inspected[None],
        heights=[[2880, 320]],
    )  # fmt: skip
    twins = list(draw_twins(task, 1, np.random.default_rng(3), lambda *_: None))
    second = [twin.part for twin in twins if twin.view.pixels().mean() > 170]
    first = {twin.part for twin in twins} - set(second)
    # Of eight pieces of 400 lines the last holds all of the second block.
    assert set(second) == {7}
    assert first >= set(range(1, 7))


def test_webs_without_a_line_that_counts_are_left_alone(web_bundle: Bundle) -> None:
    assert twins_of(stages_of(web_bundle), webs(5, 300), None, (200, 100)) == []


def test_no_defect_is_drawn_on_the_table_beside_a_web(web_bundle: Bundle) -> None:
    stages = stages_of(web_bundle, edges=EDGES)
    material = webs(5, 300)
    for file, pixels in material.blocks.items():
        material.blocks[file] = pixels.copy()
        material.blocks[file][:, :40] = material.blocks[file][:, 120:] = 3
    spec = WebSpec.model_validate({"edges": EDGES}).edges
    assert spec is not None
    drawn = twins_of(stages, material, EdgeTracker(spec, WIDTH, PX), None)
    assert len(drawn) > 20
    middles = [PX * (twin.area[1].start + twin.area[1].stop) / 2 for twin in drawn]
    assert all(EDGES["left_px"] < middle < EDGES["right_px"] for middle in middles)


def golden_of(
    bundle: Bundle, folder: Path, material: WebsInMemory, joined: bool, **web: Any
) -> Bundle:
    """The bundle with golden frames of its own, as a build with this web would have."""
    stages, files = stages_of(bundle, **web), list(material.blocks)
    folder.mkdir()
    task = SimpleNamespace(
        images=SimpleNamespace(files=files, webs=[files] if joined else [[f] for f in files]),
        folder=folder,
        random=lambda stream: np.random.default_rng([0, stream]),
        bench=material,
        recipe=SimpleNamespace(web=WebSpec.model_validate(web)),
    )
    golden = golden_frames(cast(BuildTask, task), stages)
    manifest = bundle.manifest.model_copy(update={"golden": golden, "web": task.recipe.web})
    data = {one.file: (folder / one.file).read_bytes() for one in golden}
    return replace(bundle, manifest=manifest, golden=data)


@pytest.mark.parametrize("joined", [False, True])
def test_golden_frames_show_lines_that_count(
    web_bundle: Bundle, tmp_path: Path, joined: bool
) -> None:
    material = webs(4, 500)
    zones = [{"first_lines": 200}, {"last_lines": 152}]
    found = golden_of(web_bundle, tmp_path / "zones", material, joined, ignore=zones)
    plain = golden_of(web_bundle, tmp_path / "plain", material, joined)
    open_tested(found)
    for one in (found, plain):
        scores = {golden.kind: golden.score for golden in one.manifest.golden}
        assert len(one.manifest.golden) == 4
        assert scores["twin"] > 2 * scores["good"] > 0
    # Without zones two tile rows and a half, from the first line of a file.
    assert {len(read_pixels(tmp_path / "plain" / g.file)) for g in plain.manifest.golden} == {160}


def test_where_no_line_of_any_web_counts_a_build_says_so(
    web_bundle: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"web\.ignore"):
        golden_of(web_bundle, tmp_path / "g", webs(2, 300), False, ignore=[{"first_lines": 400}])


def test_a_picture_shows_what_the_ends_and_edges_of_a_web_leave_out(tmp_path: Path) -> None:
    pixels = np.full((400, WIDTH), 100, np.uint8)
    pixels[:, :40] = pixels[:, 120:] = 3
    (tmp_path / "good").mkdir()
    write_png(tmp_path / "good" / "0.png", pixels)
    zones = "web.ignore=[{first_lines=80},{last_lines=40}]"
    edges = "web.edges={left_px=40,right_px=120,tolerance_px=12,level=40}"
    recipe = web_recipe(tmp_path, zones, edges, good=tmp_path / "good")
    assert "less what each web's ends and edges" in share_in_words(None, recipe.web)
    assert share_in_words(None, WebSpec()) == "the whole frame is inspected"
    draw_inspected(tmp_path / "good" / "0.png", recipe, None, PX, tmp_path / "seen.png")
    seen = read_pixels(tmp_path / "seen.png")
    as_it_was = (seen == pixels[..., None]).all(axis=2)
    expected = np.zeros_like(as_it_was)
    expected[80:360, 40:120] = True
    np.testing.assert_array_equal(as_it_was, expected)


@pytest.mark.thorough
def test_a_web_that_begins_on_a_table_makes_a_bundle_whose_defects_are_found(
    tmp_path: Path,
) -> None:
    good = write_webs(tmp_path / "webs", (600, 633, 712, 690, 640, 601))
    zone, fp32 = "web.ignore=[{first_lines=200}]", 'quantize.precision="fp32"'
    bundle = compile_web(tmp_path, zone, fp32, good=good)
    open_tested(bundle)
    found = [score for twins in bundle.manifest.twin_scores for score in twins.scores]
    assert found
    assert min(found) > 1e-3
    assert bundle.manifest.good_scores[0].name == "000.png#3"
