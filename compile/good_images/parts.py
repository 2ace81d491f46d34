"""Which good images show the same part: what must be left out together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kenpin.config.errors import ConfigError

__all__ = ["Parts", "WebFile", "parts_of_files", "parts_of_webs"]

Index = NDArray[np.intp]

# Neighbours in the order of names are left out together, for nobody said which of
# them show one part. More blocks leave out less; but a block must be longer than
# the photographs of one part, or the others of that part stay in.
MOST_BLOCKS = 10
BLOCK_FILES = 12
# A recording may be long and alone: so many pieces of all recordings together.
WEB_BLOCKS = 8
# From so many recordings on, each is a part; of fewer, leaving one out would
# leave out too much.
RECORDINGS = 5


@dataclass(frozen=True, eq=False)
class Parts:
    """What shows what: the number of the part behind each image, or each tile row of a web.

    names  of the parts, for people
    how    "group": `images.group` said so; "blocks": neighbours by name, because nobody
           did; "lines": pieces of few, long webs; "images": each by itself
    of_web, rows
           for each image or web: its part, and for "lines" that of its first piece; the
           tile rows of each web, 1 for images
    pieces
           for "lines": of each web the parts of its pieces, one after the other
    """

    names: tuple[str, ...]
    how: Literal["group", "blocks", "lines", "images"]
    of_web: Index
    rows: Index
    pieces: tuple[tuple[int, ...], ...] = ()

    def of(self, web: int, row: int = 0) -> int:
        """The part of an image, or of a tile row of a web."""
        if self.how != "lines":
            return int(self.of_web[web])
        pieces = self.pieces[web]
        return pieces[min(row * len(pieces) // int(self.rows[web]), len(pieces) - 1)]

    def parts_of(self, web: int) -> list[int]:
        """All parts of an image, one, or of a web."""
        return sorted(set(self.pieces[web])) if self.how == "lines" else [int(self.of_web[web])]

    def by_image(self) -> Parts:
        """Every image a part by itself: to compare with."""
        count = len(self.of_web)
        names = tuple(str(number) for number in range(count))
        return Parts(names, "images", np.arange(count), np.ones(count, np.intp))

    def folds(self, count: int) -> Index:
        """(parts,) the fold of each, of so many that are each left out together.

        Neighbours lie in one fold, for they are the most alike. Of images each by itself they
        do not: what is compared is how an image scores while its neighbours are still known.
        """
        number = np.arange(len(self))
        return number % count if self.how == "images" else number * count // len(self)

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True)
class WebFile:
    """A file of a web: the hash of what it holds, and how many lines that are."""

    content: str
    lines: int


def parts_of_files(
    files: Sequence[Path], group: str | None, contents: Sequence[str] | None = None
) -> Parts:
    """The part behind each file.

    Parameters
    ----------
    group
        A regular expression that is searched for in each file's name with the folder it
        lies in, "folder/name.png"; what it matches, or its first group if it has one,
        names the part. "folder": the name of the folder. None: neighbours by name are
        taken for one part, in blocks.
    contents
        Hashes of the files: copies of one file are one part, whatever they are called.

    Raises
    ------
    ConfigError
        If the pattern is none, does not fit a name, or finds one part only.
    """
    names = _blocks(len(files)) if group is None else [_named(file, group) for file in files]
    if contents is not None:
        names = _moved(names, contents) if group is None else _merged(names, contents)
    order = {name: number for number, name in enumerate(dict.fromkeys(names))}
    if len(order) < 2:
        raise ConfigError(
            f"images.group {group!r}: finds one part only, {names[0]!r}, in {len(files)} images; "
            "expected at least two: let the pattern match what differs from part to part"
            if group is not None
            else f"all {len(files)} good images are copies of {files[0].name}; photograph more "
            "good material"
        )
    of = np.array([order[name] for name in names], np.intp)
    how: Literal["group", "blocks"] = "blocks" if group is None else "group"
    return Parts(tuple(order), how, of, np.ones_like(of))


def parts_of_webs(
    files: Sequence[Path],
    rows: Sequence[int],
    group: str | None,
    blocks: Sequence[Sequence[WebFile]] | None = None,
) -> Parts:
    """The part behind each tile row of some webs.

    Recordings are grouped as images are, where there are several; few and long ones are
    cut into pieces along the web.

    Parameters
    ----------
    files
        One for each web.
    rows
        Tile rows of each.
    blocks
        The files that each web is made of, in their order: copies of one are one part, and
        of webs that are cut into pieces so are those that show the same lines.

    Raises
    ------
    ConfigError
        As `parts_of_files`.
    """
    count = np.maximum(np.array(rows, np.intp), 1)
    if group is not None or len(files) >= RECORDINGS:
        contents = None if blocks is None else [own[0].content for own in blocks]
        parts = parts_of_files(files, group, contents)
        return Parts(parts.names, parts.how, parts.of_web, count)
    recordings = len(files) if blocks is None else len(set(map(tuple, blocks)))
    each = -(-WEB_BLOCKS // recordings)
    pieces = [min(each, int(n)) for n in count]
    names = [
        f"{file.name}, piece {piece + 1} of {n}"
        for file, n in zip(files, pieces, strict=True)
        for piece in range(n)
    ]
    merged = list(range(len(names))) if blocks is None else _pieces_merged(pieces, blocks)
    order = {piece: number for number, piece in enumerate(dict.fromkeys(merged))}
    if len(order) < 2 <= len(names):
        raise ConfigError(
            f"{files[0].name}: so much of the web is a copy of other lines that no piece of it "
            "can be judged by the others; remove the copies, or record more good material"
        )
    ends = np.cumsum(pieces).tolist()
    of = tuple(
        tuple(order[piece] for piece in merged[end - n : end])
        for n, end in zip(pieces, ends, strict=True)
    )
    first = np.array([own[0] for own in of], np.intp)
    return Parts(tuple(names[piece] for piece in order), "lines", first, count, of)


def _blocks(count: int) -> list[str]:
    """Neighbours by name, in blocks of about the same size."""
    long = max(-(-count // MOST_BLOCKS), min(BLOCK_FILES, count // 3), 1)
    blocks = min(max(2, count // long), count)
    return [f"block {number * blocks // count + 1}" for number in range(count)]


def _named(file: Path, group: str) -> str:
    if group == "folder":
        return file.parent.name
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise ConfigError(
            f"images.group {group!r}: no regular expression ({error}); for names such as "
            "tile07_3.png, '^[^_]*' takes what stands before the first _"
        ) from None
    name = f"{file.parent.name}/{file.name}"
    # Most patterns are meant for the name alone, and begin with ^.
    found = pattern.search(file.name) or pattern.search(name)
    if found is None:
        raise ConfigError(
            f"images.group {group!r}: matches nothing in {name}; expected a pattern that fits "
            "the name of every good image"
        )
    return str(found.group(1 if pattern.groups else 0))


def _moved(names: Sequence[str], contents: Sequence[str]) -> list[str]:
    """Names of parts, each copy of a file moved to the part of the first one."""
    first: dict[str, str] = {}
    return [first.setdefault(c, name) for name, c in zip(names, contents, strict=True)]


def _pieces_merged(pieces: Sequence[int], blocks: Sequence[Sequence[WebFile]]) -> list[int]:
    """Numbers of pieces, where those that hold the same lines of a file have become one."""
    merged = list(range(sum(pieces)))
    first: dict[WebFile, Index] = {}
    begin = 0
    for n, own in zip(pieces, blocks, strict=True):
        whole, top = sum(file.lines for file in own), 0
        for file in own:
            # The piece that each line lies in, as tile rows are shared out.
            here = begin + np.arange(top, top + file.lines) * n // whole
            there = first.setdefault(file, here)
            for one, same in set(zip(there.tolist(), here.tolist(), strict=True)):
                kept, other = sorted((merged[one], merged[same]))
                merged = [kept if number == other else number for number in merged]
            top += file.lines
        begin += n
    return merged


def _merged(names: Sequence[str], contents: Sequence[str]) -> list[str]:
    """Names of parts, where parts that hold the same file have become one."""
    merged = list(names)
    first: dict[str, int] = {}
    for number, content in enumerate(contents):
        own, other = merged[number], merged[first.setdefault(content, number)]
        if own != other:
            merged = [other if name == own else name for name in merged]
    return merged
