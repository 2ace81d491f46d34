"""VisA (Zou et al., SPot-the-Difference, ECCV 2022)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kenpin.camera.files.listing import list_images, name_in
from kenpin.compile.layouts.base import (
    DatasetLayout,
    LabelledImage,
    candidates,
    category_in,
    split_in,
)
from kenpin.compile.layouts.csv_list import read_rows
from kenpin.compile.words import DEFECT, GOOD

__all__ = ["VISA"]

# The makers' division for learning from good images alone.
_DIVISION = Path("split_csv") / "1cls.csv"


def _is_category(folder: Path) -> bool:
    return (folder / "Data" / "Images" / "Normal").is_dir()


def _read(root: Path, category: str | None) -> Iterator[LabelledImage]:
    folder = category_in(root, category, _is_category)
    images, masks = folder / "Data" / "Images", folder / "Data" / "Masks" / "Anomaly"
    splits = _division(folder)
    for place, kind in (("Normal", GOOD), ("Anomaly", DEFECT)):
        for file in list_images(images / place):
            mask = None if kind == GOOD else next(candidates(file, [masks]), None)
            split = split_in([splits.get(file, "")])
            yield LabelledImage(file, name_in(images, file), kind, split, mask)


def _division(folder: Path) -> dict[Path, str]:
    """The split of each image, by the makers' list beside the categories, if it is there."""
    listed = folder.parent / _DIVISION
    if not listed.is_file():
        return {}
    return {folder.parent / row["image"]: row["split"] for _, row in read_rows(listed)}


# The layout of the name `visa`.
VISA = DatasetLayout(
    "<category>/Data/Images/Normal/, Anomaly/, Data/Masks/Anomaly/, and split_csv/1cls.csv",
    lambda path: path.is_dir() and any(_is_category(p) for p in (path, *path.iterdir())),
    _read,
)
