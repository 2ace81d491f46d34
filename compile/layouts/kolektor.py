"""KolektorSDD2 (Božič et al., Computers in Industry 2021): a mask beside each image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from kenpin.compile.layouts.base import (
    DatasetLayout,
    LabelledImage,
    Split,
    category_in,
    masked_images,
)

__all__ = ["KOLEKTOR"]

_MASK = "_GT"


def _is_one(folder: Path) -> bool:
    train = folder / "train"
    return train.is_dir() and any(path.stem.endswith(_MASK) for path in train.iterdir())


def _read(root: Path, category: str | None) -> Iterator[LabelledImage]:
    root = category_in(root, category, _is_one)
    splits: tuple[Split, ...] = ("train", "test")
    for split in splits:
        folder = root / split
        for sample in masked_images(folder, [folder], root):
            if not sample.file.stem.endswith(_MASK):
                yield replace(sample, split=split)


KOLEKTOR = DatasetLayout(
    "train/ and test/, with 10000.png and its mask 10000_GT.png beside it", _is_one, _read
)
