"""A folder of images and one of masks, or a folder for each kind: what people draw by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kenpin.camera.files.listing import is_image, list_images, name_in
from kenpin.compile.layouts.base import (
    DatasetLayout,
    LabelledImage,
    candidates,
    category_in,
    folder_in,
    kind_of_folder,
    masked_images,
    split_in,
)
from kenpin.compile.words import GOOD, MASK_FOLDERS, names_good

__all__ = ["FOLDERS", "PAIRS"]

_IMAGES = ("images", "imgs", "image", "img")
# Split or not, these hold no kind of defect.
_NO_KINDS = ("train", "test", *_IMAGES, *MASK_FOLDERS)


def _is_pair(root: Path) -> bool:
    images, masks = folder_in(root, _IMAGES), folder_in(root, MASK_FOLDERS)
    if images is None or masks is None:
        return False
    # Labels of text, as YOLO has them, mark defects that nobody here could read.
    return any(is_image(path) for path in masks.rglob("*"))


def _read_pairs(root: Path, category: str | None) -> Iterator[LabelledImage]:
    root = category_in(root, category, _is_pair)
    images, masks = folder_in(root, _IMAGES), folder_in(root, MASK_FOLDERS)
    assert images is not None
    assert masks is not None
    return masked_images(images, masks, root)


def _is_kinds(root: Path) -> bool:
    return root.is_dir() and any(names_good(path.name) for path in root.iterdir() if path.is_dir())


def _read_kinds(root: Path, category: str | None) -> Iterator[LabelledImage]:
    root = category_in(root, category, _is_kinds)
    masks = [root / name for name in MASK_FOLDERS]
    for place in sorted(path for path in root.iterdir() if path.is_dir()):
        if place.name.lower() in _NO_KINDS or place.name[0] == ".":
            continue
        kind = kind_of_folder(place)
        for file in list_images(place):
            below = file.relative_to(root).parent
            mask = None
            if kind != GOOD:
                mask = next(candidates(file, [folder / below for folder in masks]), None)
            split = split_in(below.parts)
            yield LabelledImage(file, name_in(place, file), kind, split, mask)


# The layout of the name `pairs`.
PAIRS = DatasetLayout(
    "images/ and masks/, a mask for each image with a defect", _is_pair, _read_pairs
)
# The layout of the name `folders`.
FOLDERS = DatasetLayout("good/, and a folder for each kind of defect", _is_kinds, _read_kinds)
