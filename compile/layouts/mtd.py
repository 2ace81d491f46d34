"""Magnetic tile defects (Huang et al., The Visual Computer 2020): MT_Free and five of defects."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from kenpin.camera.files.listing import list_images, name_in
from kenpin.compile.layouts.base import DatasetLayout, LabelledImage, candidates, category_in
from kenpin.compile.words import GOOD

__all__ = ["MTD"]

_PREFIX, _FREE = "MT_", "MT_Free"
# exp3_num_40721.jpg: photographs with other exposures show the same tile.
_TILE = re.compile(r"num_(\d+)")


def _is_one(folder: Path) -> bool:
    return (folder / _FREE / "Imgs").is_dir()


def _read(root: Path, category: str | None) -> Iterator[LabelledImage]:
    root = category_in(root, category, _is_one)
    for folder in sorted(root.glob(f"{_PREFIX}*/Imgs")):
        name = folder.parent.name
        kind = GOOD if name == _FREE else name.removeprefix(_PREFIX).lower()
        for file in list_images(folder):
            # The mask lies beside the photograph, as .png.
            if file.suffix.lower() == ".png":
                continue
            tile = _TILE.search(file.stem)
            mask = None if kind == GOOD else next(candidates(file, [folder]), None)
            yield LabelledImage(
                file, name_in(folder, file), kind, None, mask, tile.group(1) if tile else None
            )


# The layout of the name `mtd`.
MTD = DatasetLayout(
    "MT_Free/Imgs/, MT_Crack/Imgs/ and others, masks as .png beside .jpg", _is_one, _read
)
