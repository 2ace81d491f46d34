"""Any data set as folders of kenpin's own layout, which everything else reads."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from kenpin.camera.files.images import read_pixels, write_png
from kenpin.camera.files.listing import printable
from kenpin.compile.fingerprint import fingerprint
from kenpin.compile.laid_out import mark_laid_out
from kenpin.compile.layouts.base import LabelledImage, Split, divided
from kenpin.compile.layouts.shapes import Drawing
from kenpin.compile.words import GOOD
from kenpin.config.errors import ConfigError

__all__ = ["spread"]

# In a folder's name; what labels have besides becomes a hyphen.
_UNFIT = re.compile(r"[^\w.+-]+")
# What an earlier version laid out, or drew, otherwise is not used again.
_DRAWN_AS = "3"


def spread(samples: Iterable[LabelledImage], cache: Path, name: str) -> Path:
    """Lay images and masks out below `cache`; a folder that was made before is used again.

    Raises
    ------
    ConfigError
        If there are no good images to learn from, two images have one name, or one is said
        to be two things.
    """
    placed = [(sample, split) for sample, split in divided(samples)]
    _see_that_each_is_one(placed)
    if not any(sample.kind == GOOD and split == "train" for sample, split in placed):
        raise ConfigError(
            f"{name}: {len(placed)} images, none of which is good and for training; "
            "expected good images to learn from"
        )
    folder = cache / f"{_fit(name)}-{_digest(placed)[:16]}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=cache))
    try:
        for sample, split in placed:
            _place(sample, split, staging)
        mark_laid_out(staging)
        _rename(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def _see_that_each_is_one(placed: list[tuple[LabelledImage, Split]]) -> None:
    """See that no image is good and a defect, nor for training and for testing.

    Raises
    ------
    ConfigError
        If one is, under whatever names or links, or is listed twice under one name.
    """
    found: dict[tuple[int, int], tuple[LabelledImage, Split]] = {}
    for sample, split in placed:
        # A link that leads nowhere is refused where it is read.
        if not sample.file.exists():
            continue
        state = sample.file.stat()
        first, its_split = found.setdefault((state.st_dev, state.st_ino), (sample, split))
        # A second link among its like is a copy, of which a build warns.
        alike = (first.kind, its_split) == (sample.kind, split)
        if first is sample or (alike and _below(first.name) != _below(sample.name)):
            continue
        raise ConfigError(
            f"{printable(sample.file)}: is one image that is there twice, "
            f"{_said(first, its_split)} and {_said(sample, split)}; keep what is right, and "
            "remove the other"
        )


def _said(sample: LabelledImage, split: Split) -> str:
    return f"as {sample.kind} for {split}ing ({sample.told or printable(sample.file)})"


def _rename(staging: Path, folder: Path) -> None:
    try:
        staging.replace(folder)
    except OSError:
        # Somebody else laid the same out in between.
        if not folder.is_dir():
            raise


def _place(sample: LabelledImage, split: Split, folder: Path) -> None:
    kind, name = _fit(sample.kind), _below(sample.name)
    # What is wrong is learned from by no method; `images.ng` may name it.
    place = "ng" if kind != GOOD and split == "train" else split
    target = folder / place / kind / name
    _link(sample.file, target)
    if sample.mask is None or place == "ng":
        return
    masks = folder / "ground_truth" / kind / name.parent
    if isinstance(sample.mask, Drawing):
        _draw(sample.mask, sample.file, masks / f"{name.stem}_mask.png")
    else:
        _link(sample.mask, masks / f"{name.stem}_mask{sample.mask.suffix}")


def _draw(drawing: Drawing, file: Path, target: Path) -> None:
    height, width = read_pixels(file).shape[:2]
    if drawing.size is not None and drawing.size != (height, width):
        drawn_in = " x ".join(map(str, drawing.size))
        raise ConfigError(
            f"{printable(file)}: has {height} x {width} px, and its defects were drawn in an image "
            f"of {drawn_in}; give the images as they were annotated"
        )
    if target.exists():
        raise ConfigError(
            f"{printable(file)}: another image of its kind has the same name and another ending, "
            "and so the same mask; give them different names"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    write_png(target, drawing.mask(height, width))


def _link(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.symlink_to(file.resolve())
    except FileExistsError:
        raise ConfigError(
            f"{printable(file)}: is named like {printable(target.readlink())}; give images of one "
            "kind different names"
        ) from None


def _below(name: str) -> PurePosixPath:
    """A name that stays within its folder."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return PurePosixPath(*(part for part in parts if part not in ("/", "..")))


def _fit(word: str) -> str:
    return _UNFIT.sub("-", word).strip(".-") or "unnamed"


def _digest(placed: list[tuple[LabelledImage, Split]]) -> str:
    """Of names, labels, and the state of the files they lead to."""
    digest = hashlib.sha256(_DRAWN_AS.encode())
    for sample, split in placed:
        identity = [sample.name, sample.kind, split, *fingerprint(sample.file)]
        if isinstance(sample.mask, Drawing):
            identity.append(repr(sample.mask))
        elif sample.mask is not None:
            identity += fingerprint(sample.mask)
        digest.update(os.fsencode("\0".join(identity) + "\n"))
    return digest.hexdigest()
