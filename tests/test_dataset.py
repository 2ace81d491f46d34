"""Labelled datasets: where masks are found, and what is said where they are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kenpin.camera.files.images import write_png
from kenpin.camera.files.listing import ImageError
from kenpin.compile.evaluation.dataset import doubts, drawn_defect, read_dataset
from kenpin.config.errors import ConfigError

GREY = np.full((16, 20), 90, np.uint8)


def put(path: Path, pixels: np.ndarray = GREY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, pixels)
    return path


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two good images and two with holes; no masks."""
    for name in ("good/000.png", "good/001.png", "hole/000.png", "hole/001.png"):
        put(tmp_path / "test" / name)
    return tmp_path


@pytest.mark.parametrize(
    "place",
    [
        "ground_truth/hole/{}_mask.png",
        "ground_truth/hole/{}.png",
        "ground_truth/hole/{}_mask.PNG",
        "masks/hole/{}_mask.png",
        "masks/hole/{}.bmp",
        "labels/hole/{}.png",
    ],
)
def test_masks_are_found_under_the_names_that_people_give_them(dataset: Path, place: str) -> None:
    for stem in ("000", "001"):
        put(dataset / place.format(stem))
    found = read_dataset(dataset)
    masks = [item.mask for item in found.images if item.kind == "hole"]
    assert masks == [dataset / place.format(stem) for stem in ("000", "001")]
    assert found.notes == []


def test_a_kind_without_masks_says_where_they_were_looked_for(dataset: Path) -> None:
    (note,) = read_dataset(dataset).notes
    assert note.startswith("hole: no masks")
    assert "ground_truth, masks, mask, labels" in note


def test_one_mask_that_is_missing_is_named_with_its_image(dataset: Path) -> None:
    put(dataset / "ground_truth/hole/000_mask.png")
    with pytest.raises(ConfigError, match=r"hole/001\.png: has no mask, but 1 of 2 images"):
        read_dataset(dataset)


def test_images_in_folders_of_a_kind_count_and_find_their_masks(dataset: Path) -> None:
    put(dataset / "test/hole/monday/000.png")
    for name in ("000", "001", "monday/000"):
        put(dataset / f"ground_truth/hole/{name}_mask.png")
    found = read_dataset(dataset).images
    deep = next(item for item in found if item.name == "hole/monday/000.png")
    assert deep.mask == dataset / "ground_truth/hole/monday/000_mask.png"


def test_images_beside_the_kinds_are_counted_in_a_note(dataset: Path) -> None:
    put(dataset / "test/stray.png")
    notes = read_dataset(dataset).notes
    assert any(note.startswith("1 images lie in test/ itself, ") for note in notes)


def test_black_and_inverted_masks_are_told_apart_from_good_ones() -> None:
    said = list(doubts({"a": 0.0, "b": 0.03, "c": 0.97}))
    assert said[0].startswith("1 of 3 masks are black all over, that of a first")
    assert said[1].startswith("1 of 3 masks mark more than half of their image, that of c first")
    assert list(doubts({"a": 0.01, "b": 0.5})) == []


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="mask of 16 x 20 px for an image of 32 x 20"):
        drawn_defect(put(tmp_path / "m.png"), (32, 20))


def test_a_mask_of_ones_marks_what_one_of_255_marks(tmp_path: Path) -> None:
    drawn = np.zeros((16, 20), np.uint8)
    drawn[3:5, 6:9] = 1
    marked = [drawn_defect(put(tmp_path / "m.png", drawn * k), (16, 20)) for k in (1, 255)]
    np.testing.assert_array_equal(*marked)
    assert marked[0].sum() == 6
