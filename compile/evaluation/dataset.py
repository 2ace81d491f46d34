"""A labelled dataset: which images show what, and where the masks of defects lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.camera.files.images import read_pixels
from kenpin.camera.files.listing import ImageError, is_image, list_files, list_images, printable
from kenpin.compile.good_images.images import turned
from kenpin.compile.layouts import ANY, laid_out
from kenpin.compile.layouts.base import candidates
from kenpin.compile.words import GOOD, MASK_FOLDERS
from kenpin.config.errors import ConfigError

__all__ = [
    "GOOD",
    "Dataset",
    "Labelled",
    "dataset_folder",
    "doubts",
    "drawn_defect",
    "read_dataset",
]

Mask = NDArray[np.bool_]

# Defects are small: a mask that marks more of its image than this has black and white exchanged.
_MOST_MARKED = 0.5
# JPEG leaves grey around what was drawn in black and white.
_HALF = 128


@dataclass(frozen=True, slots=True)
class Labelled:
    """A test image.

    name   below `test/`, for people
    kind   "good", or the name of a defect
    mask   the file that marks the defect's pixels; None where nobody drew them
    turn_deg  image and mask are turned clockwise before they are looked at
    """

    file: Path
    name: str
    kind: str
    mask: Path | None
    turn_deg: int = 0

    def pixels(self) -> NDArray[Any]:
        """The image as it is judged.

        Raises
        ------
        ImageError
            If it cannot be read.
        """
        return turned(read_pixels(self.file), self.turn_deg)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Test images in the order of their names, and what a person should know of them."""

    images: list[Labelled]
    notes: list[str]

    def __len__(self) -> int:
        return len(self.images)


def dataset_folder(source: Path, layout: str | None = None, category: str | None = None) -> Path:
    """The folder with test/ that `read_dataset` reads: the source, or what it is laid out in.

    Where the source is that test/ itself, all of it is for testing.

    Raises
    ------
    ConfigError, ImageError
        If the source is of no known layout.
    """
    if layout is None and category is None:
        folders = [source]
        if source.absolute().name == "test":
            folders.append(source.absolute().parent)
        for folder in folders:
            if (folder / "test" / GOOD).is_dir():
                return folder
    return laid_out(source, layout or ANY, category)


def read_dataset(folder: Path, turn_deg: int = 0) -> Dataset:
    """The test images of an MVTec-like folder, to be turned as the good ones were.

    test/<kind>/**, with kind "good" for good ones, and
    ground_truth/<kind>/<name>_mask.png for the others. Masks may also lie in
    `masks`, `mask` or `labels`, be called as their image is, and be of any
    format that loses nothing.

    Raises
    ------
    ConfigError
        If the layout is another, good images or defects are missing, or some
        but not all images of a kind have masks.
    """
    test = folder / "test"
    if not test.is_dir():
        raise ConfigError(
            f"{folder}: holds no folder test/; expected test/good/, test/<defect>/ and "
            "ground_truth/<defect>/<name>_mask.png"
        )
    found: list[Labelled] = []
    notes: list[str] = []
    for place in sorted(path for path in test.iterdir() if path.is_dir() and path.name[0] != "."):
        own, kind = list_images(place), printable(place.name)
        masks: dict[Path, Path] = {} if kind == GOOD else _masks_of(folder, place, own)
        if kind != GOOD and not masks:
            notes.append(
                f"{kind}: no masks, so its pixels are not compared; looked for "
                f"{kind}/<name>_mask.png and the like in {', '.join(MASK_FOLDERS)}"
            )
        found += [
            Labelled(file, printable(file.relative_to(test)), kind, masks.get(file), turn_deg)
            for file in own
        ]
    kinds = {item.kind for item in found}
    if GOOD not in kinds or len(kinds) < 2:
        raise ConfigError(
            f"{test}: holds {sorted(kinds)}; expected good images and at least one kind of defect"
        )
    loose = [file for file in list_files(test) if file.parent == test and is_image(file)]
    if loose:
        notes.append(
            f"{len(loose)} images lie in test/ itself, {printable(loose[0].name)} first, and are "
            "left out; put them into test/good/ or test/<defect>/"
        )
    return Dataset(found, notes)


def _masks_of(folder: Path, place: Path, images: list[Path]) -> dict[Path, Path]:
    """The mask of every image of a kind, or none at all."""
    masks: dict[Path, Path] = {}
    for file in images:
        below = file.relative_to(place).parent
        there = [folder / name / place.name / below for name in MASK_FOLDERS]
        mask = next(iter(candidates(file, there)), None)
        if mask is not None:
            masks[file] = mask
    if masks and len(masks) < len(images):
        bare = next(file for file in images if file not in masks)
        raise ConfigError(
            f"{printable(bare)}: has no mask, but {len(masks)} of {len(images)} images of "
            f"{printable(place.name)} have one, {printable(next(iter(masks.values())))} first; "
            "draw it, all black if nothing is to be seen"
        )
    return masks


def drawn_defect(mask: Path, shape: tuple[int, ...], turn_deg: int = 0) -> Mask:
    """(H, W) whether a pixel belongs to the defect, of a mask that is turned first.

    Raises
    ------
    ImageError
        If the mask cannot be read or is not of its image's size.
    """
    drawn = turned(read_pixels(mask), turn_deg)
    drawn = drawn if drawn.ndim == 2 else drawn.max(axis=2)
    if drawn.shape != tuple(shape[:2]):
        raise ImageError(
            mask,
            f"mask of {drawn.shape[0]} x {drawn.shape[1]} px for an image of "
            f"{shape[0]} x {shape[1]}",
            "draw masks at their image's size",
        )
    lossy = mask.suffix.lower() in (".jpg", ".jpeg")
    marked: Mask = drawn >= _HALF if lossy else drawn > 0
    return marked


def doubts(shares: dict[str, float]) -> Iterator[str]:
    """What looks wrong about masks, by the share of its image that each marks."""
    black = [name for name, share in shares.items() if share == 0]
    inverted = [name for name, share in shares.items() if share > _MOST_MARKED]
    if black:
        yield (
            f"{len(black)} of {len(shares)} masks are black all over, that of {black[0]} first: "
            "they mark no defect and count in no pixel figure"
        )
    if inverted:
        yield (
            f"{len(inverted)} of {len(shares)} masks mark more than half of their image, that of "
            f"{inverted[0]} first: are black and white exchanged? White marks the defect"
        )
