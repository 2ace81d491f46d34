"""What a data set is, whatever its layout: images, what they show, where the defect is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kenpin.camera.files.images import read_pixels
from kenpin.camera.files.listing import is_image, list_images, name_in, printable
from kenpin.compile.layouts.shapes import Drawing
from kenpin.compile.words import DEFECT, GOOD, kind_of, names_good
from kenpin.config.errors import ConfigError

__all__ = [
    "DatasetLayout",
    "LabelledImage",
    "Split",
    "candidates",
    "category_in",
    "divided",
    "folder_in",
    "kind_of_folder",
    "marks_something",
    "masked_images",
    "split_in",
]

# What an image is for.
Split = Literal["train", "test"]

_SUFFIXES = ("_mask", "", "_gt", "_GT", "_label")
_TRAIN_WORDS = frozenset({"train", "training"})
_TEST_WORDS = frozenset({"eval", "evaluation", "test", "testing", "val", "valid", "validation"})
# Of good images where nobody said which are for testing: every fifth part, by its name.
_TEST_EVERY = 5


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image of a data set, and what its makers say of it.

    file   where it lies
    name   below the data set's folder, for people and for order
    kind   "good", or the name of a defect
    split  None where nobody said what it is for
    mask   the file that marks the defect's pixels, or what is to be drawn; None if neither
    group  images of one group show one part and are not divided; by default each is its own
    told   what says so, where that is no folder: "list.csv, line 2"
    """

    file: Path
    name: str
    kind: str
    split: Split | None = None
    mask: Path | Drawing | None = None
    group: str | None = None
    told: str | None = None


@dataclass(frozen=True, slots=True)
class DatasetLayout:
    """How a data set lies on a disk; an entry point in the group kenpin.layouts.

    expected    in the words of an error: "train/good/, test/<defect>/"
    looks_like  whether a folder, or a file, is such a data set
    read        (folder or file, category) to its images; the category is one of several
                products in one data set, None where nobody named one
    """

    expected: str
    looks_like: Callable[[Path], bool]
    read: Callable[[Path, str | None], Iterable[LabelledImage]]


def category_in(root: Path, category: str | None, is_one: Callable[[Path], bool]) -> Path:
    """The folder of a product: the root itself, the one below it, or the one that is named.

    Raises
    ------
    ConfigError
        If there are several and none is named, or none has that name.
    """
    if is_one(root):
        if category not in (None, root.name):
            raise ConfigError(
                f"{printable(root)}: is one category; remove the name {category!r}, or give the "
                "folder above"
            )
        return root
    found = [path for path in _folders(root) if is_one(path)]
    names = ", ".join(printable(path.name) for path in found) or "none"
    if category is None and len(found) != 1:
        raise ConfigError(f"{printable(root)}: holds the categories {names}; name one of them")
    chosen = [path for path in found if category in (None, path.name)]
    if not chosen:
        raise ConfigError(f"{printable(root)}: has no category {category!r}; it holds {names}")
    return chosen[0]


def divided(samples: Iterable[LabelledImage]) -> Iterator[tuple[LabelledImage, Split]]:
    """Each image and what it is for.

    Where nobody said, defects are for testing, and so is every fifth good part: chosen by
    a hash of its name, so that more images move none of the others.
    """
    for sample in samples:
        if sample.split is not None:
            yield sample, sample.split
        elif sample.kind != GOOD:
            yield sample, "test"
        else:
            named = hashlib.sha256((sample.group or sample.name).encode()).digest()
            yield sample, "train" if named[0] % _TEST_EVERY else "test"


def split_in(words: Iterable[str]) -> Split | None:
    """What the names of folders, or a column, say an image is for; None if nothing."""
    for word in words:
        if word.strip().lower() in _TRAIN_WORDS:
            return "train"
        if word.strip().lower() in _TEST_WORDS:
            return "test"
    return None


def marks_something(mask: Path) -> bool:
    """Whether a mask has any pixel that is not black.

    Raises
    ------
    ImageError
        If it cannot be read.
    """
    return bool(read_pixels(mask).any())


def candidates(image: Path, folders: Iterable[Path]) -> Iterator[Path]:
    """Files in these folders that may be the mask of an image, by their names."""
    for folder in folders:
        if not folder.is_dir():
            continue
        for suffix in _SUFFIXES:
            stem = image.stem + suffix
            # By listing and not by name: 000_mask.PNG is a mask, too.
            yield from sorted(
                path
                for path in folder.iterdir()
                if path.stem == stem and is_image(path) and path != image
            )


def folder_in(root: Path, names: Iterable[str]) -> Path | None:
    """The first folder of a root that has one of these names, however they are written."""
    folders = {path.name.lower(): path for path in _folders(root)}
    return next((folders[name] for name in names if name in folders), None)


def kind_of_folder(folder: Path) -> str:
    """What the images of a folder show, by its name, where another folder is called good.

    Raises
    ------
    ConfigError
        If the name says good as a label only: beside a folder that is called so, "0" may be
        the first kind of defect, and would be learned from.
    """
    kind = kind_of(folder.name)
    if kind == GOOD and not names_good(folder.name):
        raise ConfigError(
            f"{printable(folder)}: is called neither good nor as a defect is, and another folder "
            "is called good; put its images there if they are good, or name it after its defect"
        )
    return kind


def masked_images(folder: Path, masks: Path, root: Path) -> Iterator[LabelledImage]:
    """Images of a folder with those masks of another that mark something; else they are good.

    Raises
    ------
    ConfigError
        If a mask belongs to no image: it marks a defect that would be learned as good.
    """
    loose = set(list_images(masks)) - set(list_images(folder))
    for file in list_images(folder):
        below = file.relative_to(folder).parent
        mask = next(candidates(file, [masks / below]), None)
        loose.discard(mask or file)
        drawn = mask is not None and marks_something(mask)
        split = split_in(file.relative_to(root).parts)
        yield LabelledImage(
            file, name_in(folder, file), DEFECT if drawn else GOOD, split, mask if drawn else None
        )
    if loose:
        raise ConfigError(
            f"{printable(min(loose))}: is the mask of no image in {printable(folder)}; call it as "
            f"its image is, or that and {' or '.join(one for one in _SUFFIXES if one)}"
        )


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
