"""MVTec AD (Bergmann et al., CVPR 2019), kenpin's own layout, and BTAD (Mishra et al., 2021)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kenpin.camera.files.listing import list_images, name_in
from kenpin.compile.layouts.base import (
    DatasetLayout,
    LabelledImage,
    Split,
    candidates,
    category_in,
    kind_of_folder,
)
from kenpin.compile.words import GOOD, MASK_FOLDERS

__all__ = ["BTAD", "MVTEC"]


def _is_category(folder: Path, good: str) -> bool:
    return (folder / "train" / good).is_dir() and (folder / "test").is_dir()


def _read(folder: Path, category: str | None, good: str) -> Iterator[LabelledImage]:
    folder = category_in(folder, category, lambda path: _is_category(path, good))
    splits: tuple[Split, ...] = ("train", "test")
    for split in splits:
        for place in sorted(path for path in (folder / split).iterdir() if path.is_dir()):
            kind = kind_of_folder(place)
            masks = [folder / name / place.name for name in MASK_FOLDERS]
            for file in list_images(place):
                below = file.relative_to(place).parent
                found = next(candidates(file, [mask / below for mask in masks]), None)
                mask = None if kind == GOOD else found
                yield LabelledImage(file, name_in(place, file), kind, split, mask)


def _looks_like(folder: Path, good: str) -> bool:
    return folder.is_dir() and any(
        _is_category(path, good) for path in (folder, *folder.iterdir()) if path.is_dir()
    )


# The layout of the name `mvtec`.
MVTEC = DatasetLayout(
    "train/good/, test/good/, test/<defect>/, ground_truth/<defect>/, perhaps for each category",
    lambda path: _looks_like(path, GOOD),
    lambda path, category: _read(path, category, GOOD),
)
# The layout of the name `btad`.
BTAD = DatasetLayout(
    "01/, 02/, 03/, each with train/ok/, test/ok/, test/ko/, ground_truth/ko/",
    lambda path: _looks_like(path, "ok"),
    lambda path, category: _read(path, category, "ok"),
)
