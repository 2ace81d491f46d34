"""A first look at a folder of images: where the good ones are, and what they show."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kenpin.camera.files.images import read_pixels
from kenpin.camera.files.listing import ImageError, is_image, list_images, name_in, printable
from kenpin.compile.good_images.images import FEWEST_IMAGES, refuse_dataset
from kenpin.compile.progress import OnProgress
from kenpin.compile.words import NOT_GOOD, names_defect, names_good
from kenpin.config.errors import ConfigError

__all__ = ["FolderLook", "find_good", "look_at"]

F32 = NDArray[np.float32]

# More say no more about size, colour and kind.
LOOKED_AT = 300
# Recordings of a web are long, or of many lengths and one width.
LONG_TIMES = 4
# How unlike neighbours by name are at their seam, over others: below this they continue. A
# simulated web has 0.2, noise 1.
SEAM_SHARE = 0.5
SEAM_PAIRS = 40
# How alike whole images are, at a glance: parts that always lie the same way.
GLANCE_PX = 48
LIE_ALIKE = 0.6
# A prefix that names parts makes several of them, of several images each.
FEWEST_PARTS = 5
PREFIX = "^[^_]*(?=_)"


@dataclass(frozen=True)
class FolderLook:
    """What a folder of good images is like.

    folder     of the good images
    ng         a folder of NG images beside them; None
    labelled   a labelled dataset that they are part of; None
    files      in the order of their names; unreadable ones left out
    unread     those that cannot be read, each with why
    shapes     (height, width) of each that was looked at
    colour     "grey", "colour", or "grey in three channels"
    bits       that the highest value needs
    web        pieces of material without an end
    joined     the files follow each other on one web
    alike      likeness of whole images, -1 to 1: parts that lie alike are near 1
    group      a pattern that names parts by the files' names; None
    """

    folder: Path
    ng: Path | None
    labelled: Path | None
    files: list[Path]
    unread: list[tuple[str, str]]
    shapes: list[tuple[int, int]]
    colour: str
    bits: int
    web: bool
    joined: bool
    alike: float
    group: str | None


def find_good(folder: Path) -> tuple[Path, Path | None, Path | None]:
    """The folder of good images below one that is named, of NG ones, and a labelled dataset.

    Raises
    ------
    ConfigError
        If good and bad ones lie so that nobody can tell which is which.
    """
    if not folder.is_dir():
        raise ConfigError(f"{printable(folder)}: no such folder; name the one with the images")
    inner = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()}
    ng = next((path for name, path in inner.items() if names_defect(name)), None)
    labelled = folder if "test" in inner else None
    train = inner.get("train")
    good = (_good_ones(train) if train else []) or _good_ones(folder) or ([train] if train else [])
    if len(good) > 1:
        names = " and ".join(f"{printable(path.name)}/" for path in good)
        raise ConfigError(f"{printable(folder)}: holds {names}; name the one to learn from")
    if good:
        return good[0], ng, labelled
    if not any(is_image(path) for path in folder.rglob("*")):
        raise ConfigError(f"{printable(folder)}: holds no image; name the folder with the images")
    if any(name in NOT_GOOD for name in inner):
        raise ConfigError(
            f"{printable(folder)}: holds folders of what is not good, but none called good; put "
            "the good images into a folder good/ beside them"
        )
    refuse_dataset(folder)
    return folder, None, None


def _good_ones(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and names_good(path.name))


def look_at(folder: Path, progress: OnProgress) -> FolderLook:
    """Look at the images below a folder.

    Raises
    ------
    ConfigError
        If they are too few, good and bad ones cannot be told apart, or no recipe can name them.
    """
    good, ng, labelled = find_good(folder)
    if printable(good.resolve()) != str(good.resolve()):
        raise ConfigError(
            f"{printable(good)}: no UTF-8, and so no recipe can name it; rename the folder"
        )
    files = list_images(good)
    chosen = [
        files[n * len(files) // min(len(files), LOOKED_AT)]
        for n in range(min(len(files), LOOKED_AT))
    ]
    shapes, unread, glances, edges = [], [], [], []
    colours: Counter[str] = Counter()
    highest = 0
    for number, file in enumerate(chosen):
        progress(number + 1, len(chosen))
        try:
            pixels = read_pixels(file)
        except ImageError as error:
            unread.append((name_in(good, file), str(error)))
            continue
        shapes.append((pixels.shape[0], pixels.shape[1]))
        colours[_colour(pixels)] += 1
        highest = max(highest, int(pixels.max()))
        grey = _grey(pixels)
        glances.append(_glance(grey))
        edges.append((grey[0], grey[-1]))
    if len(shapes) < FEWEST_IMAGES:
        raise ConfigError(
            f"{printable(good)}: holds {len(shapes)} images that can be read, expected at least "
            f"{FEWEST_IMAGES}, better 50; photograph more good material"
        )
    bits = max(8, highest.bit_length())
    joined = len(chosen) == len(files) and continues(edges)
    heights = {height for height, _ in shapes}
    width = {width for _, width in shapes}
    long = len(width) == 1 and min(heights) >= LONG_TIMES * next(iter(width))
    cut = len(width) == 1 and len(heights) > len(shapes) // 2
    bad = {name for name, _ in unread}  # by their paths: folders may hold the same names
    colour = "colour" if colours["colour"] else next(iter(colours))
    return FolderLook(
        folder=good,
        ng=ng,
        labelled=labelled,
        files=[file for file in files if name_in(good, file) not in bad],
        unread=unread,
        shapes=shapes,
        colour=colour,
        bits=bits,
        web=joined or long or cut,
        joined=joined,
        alike=_alike(glances),
        group=group_of([file.name for file in files]),
    )


def continues(edges: Sequence[tuple[F32, F32]]) -> bool:
    """Whether images are blocks of one web: each begins where the one before it ended.

    Parameters
    ----------
    edges
        The first and the last scan line of each, in the order of their names.
    """
    pairs = list(pairwise(edges))[:SEAM_PAIRS]
    if len(pairs) < FEWEST_IMAGES or len({first.shape for first, _ in edges}) > 1:
        return False
    seams = [_unlike(before[1], after[0]) for before, after in pairs]
    others = [_unlike(edges[n][1], edges[(n + 2) % len(edges)][0]) for n in range(len(pairs))]
    return float(np.median(seams)) < SEAM_SHARE * float(np.median(others))


def _unlike(one: F32, other: F32) -> float:
    """0 for scan lines that look the same, whatever their brightness and contrast; 1 if unrelated.

    Differences would not do: on a web of fine grain they are all about as large.
    """
    a, b = (line - line.mean() for line in (one, other))
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return 1 - float(a @ b) / size if size > 0 else 1.0


def group_of(names: Sequence[str]) -> str | None:
    """A pattern under which the names fall into several parts of several images; None if none."""
    found = [re.match(PREFIX, name) for name in names]
    if not all(found):
        return None
    parts = Counter(match.group(0) for match in found if match is not None)
    if FEWEST_PARTS <= len(parts) <= len(names) / 2:
        return PREFIX
    return None


def _colour(pixels: NDArray[Any]) -> str:
    if pixels.ndim == 2:
        return "grey"
    return "grey in three channels" if bool((pixels[..., :1] == pixels).all()) else "colour"


def _grey(pixels: NDArray[Any]) -> F32:
    wide = pixels.astype(np.float32)
    return wide if wide.ndim == 2 else np.asarray(wide.mean(axis=2), np.float32)


def _glance(grey: F32) -> F32:
    """A small picture of mean 0 and length 1."""
    small = cv2.resize(grey, (GLANCE_PX, GLANCE_PX), interpolation=cv2.INTER_AREA)
    small = small - small.mean()
    return np.asarray(small / max(float(np.linalg.norm(small)), 1e-6), np.float32)


def _alike(glances: Sequence[F32]) -> float:
    """The usual correlation of an image with the mean of the others."""
    stack = np.stack(glances).reshape(len(glances), -1)
    total = stack.sum(axis=0)
    likeness = []
    for one in stack:
        others = total - one
        likeness.append(float(one @ others) / max(float(np.linalg.norm(others)), 1e-6))
    return float(np.median(likeness))
