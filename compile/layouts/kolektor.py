"""KolektorSDD2 (Božič et al., Computers in Industry 2021): a mask beside each image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kenpin.camera.files.listing import list_images, name_in, printable
from kenpin.compile.layouts.base import (
    DatasetLayout,
    LabelledImage,
    Split,
    category_in,
    marks_something,
)
from kenpin.compile.words import DEFECT, GOOD
from kenpin.config.errors import ConfigError

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
        files = list_images(folder)
        masks = {file.with_suffix(""): file for file in files if file.stem.endswith(_MASK)}
        for file in files:
            if file.stem.endswith(_MASK):
                continue
            mask = masks.pop(file.with_name(file.stem + _MASK), None)
            if mask is None:
                raise ConfigError(
                    f"{printable(file)}: has no mask {file.stem}{_MASK}.png beside it, so nobody "
                    "can tell whether it is good; a good one has a black mask"
                )
            drawn = marks_something(mask)
            kind = DEFECT if drawn else GOOD
            yield LabelledImage(file, name_in(folder, file), kind, split, mask if drawn else None)
        if masks:
            loose = printable(min(masks.values()))
            raise ConfigError(f"{loose}: is the mask of no image beside it; bring its image")


# The layout of the name `kolektorsdd2`.
KOLEKTOR = DatasetLayout(
    "train/ and test/, with 10000.png and its mask 10000_GT.png beside it", _is_one, _read
)
