"""Photographs that lie turned: learned from and judged alike, and the bundle remembers it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bundles import Workshop
from kenpin.camera.files.images import read_pixels, write_png
from kenpin.camera.files.listing import list_images
from kenpin.compile.cli import main as edge_compile
from kenpin.compile.evaluation.dataset import drawn_defect
from kenpin.config.exits import Exit
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.manifest import DataRecord, canonical


@pytest.fixture
def turned_set(workshop: Workshop, tmp_path: Path) -> Path:
    """The workshop's test images and masks, upside down."""
    for place in ("test", "ground_truth"):
        for file in list_images(workshop.data / place):
            target = tmp_path / "set" / file.relative_to(workshop.data)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_png(target, np.ascontiguousarray(np.rot90(read_pixels(file), 2)))
    return tmp_path / "set"


def test_a_turned_test_set_gives_the_figures_of_one_that_lies_right(
    workshop: Workshop, patchcore: Bundle, turned_set: Path, tmp_path: Path
) -> None:
    figures = []
    for number, more in enumerate(([str(workshop.data)], [str(turned_set), "--turn", "180"])):
        target = tmp_path / f"{number}.json"
        code = edge_compile(["eval", str(patchcore.folder), *more, "--json", str(target)])
        assert code == Exit.DONE
        figures.append(json.loads(target.read_text()))
    assert figures[0]["scores"] == figures[1]["scores"]
    assert figures[0]["pixels"] == figures[1]["pixels"]
    assert figures[0]["pixels"]["auroc"] > 0.9


def test_a_mask_turns_with_its_image(tmp_path: Path) -> None:
    drawn = np.zeros((4, 6), np.uint8)
    drawn[0, 5] = 255
    write_png(tmp_path / "m.png", drawn)
    (place,) = np.argwhere(drawn_defect(tmp_path / "m.png", (6, 4), 90))
    assert place.tolist() == [5, 3], "clockwise"


def test_the_manifest_says_how_images_were_turned_and_nothing_where_they_were_not(
    patchcore: Bundle,
) -> None:
    manifest = patchcore.manifest
    assert "turn_deg" not in json.loads(canonical(manifest))["data"]
    said = manifest.data.model_dump() | {"turn_deg": 180}
    turned = manifest.model_copy(update={"data": DataRecord(**said)})
    assert json.loads(canonical(turned))["data"]["turn_deg"] == 180


@pytest.mark.thorough
def test_a_bundle_of_turned_photographs_turns_its_test_images_by_itself(
    workshop: Workshop, turned_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in list_images(workshop.data / "train" / "good"):
        target = tmp_path / "good" / file.name
        target.parent.mkdir(exist_ok=True)
        write_png(target, np.ascontiguousarray(np.rot90(read_pixels(file), 2)))
    changes = (f'images.good="{tmp_path / "good"}"', "images.turn_deg=180")
    bundle = workshop.build(tmp_path / "out", *changes).bundle
    assert bundle.manifest.data.turn_deg == 180
    target = tmp_path / "found.json"
    code = edge_compile(["eval", str(bundle.folder), str(turned_set), "--json", str(target)])
    assert code == Exit.DONE
    assert "turned by 180 degrees" in capsys.readouterr().out
    assert json.loads(target.read_text())["images"]["false_rejects"] == 0
