"""Which places of good images statistics are made of: those that are inspected."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.config.web import WebSpec
from kenpin.runtime.judging.join import Joiner
from kenpin.runtime.web.lanes import EdgeTracker, LaneMap, RowChecks
from kenpin.runtime.web.stream import counted
from kenpin.runtime.web.strip_ends import HeldLines, StripEnds

__all__ = ["NOTHING_INSPECTED", "InspectedPlaces", "WebPlaces", "squares_with_any"]

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Bits = NDArray[np.bool_]

# What is said where statistics would rest on nothing.
NOTHING_INSPECTED = (
    "web.ignore and web.ends leave out all lines of every good web; give longer webs, or leave out "
    "fewer lines"
)


@dataclass(frozen=True)
class InspectedPlaces:
    """What a recipe inspects, told for the tiles of its grid.

    joiner  of a frame; of webs, of a tile row
    mask    (rows, cols) of the map, 1 where parts are inspected; None: everywhere
    web     of webs, its lanes, zones, edges and ends
    """

    joiner: Joiner
    mask: F32 | None = None
    web: WebSpec | None = None

    @classmethod
    def of(cls, joiner: Joiner, web: WebSpec | None, mask: F32 | None) -> InspectedPlaces | None:
        """None where all of any frame or web is inspected; of a web the mask says nothing."""
        if web is not None:
            found = cls(joiner, web=web)
            return found if found.fresh() else None
        return None if mask is None else cls(joiner, mask)

    @property
    def digest(self) -> str:
        """Of what is inspected, as told: another one leaves out something else."""
        if self.web is None:
            return hashlib.sha256(b"" if self.mask is None else self.mask.tobytes()).hexdigest()
        width, px = self.joiner.grid.width, self.joiner.patch_stride
        columns = LaneMap.of(self.web, width, px).inspected
        rows = self.web.model_dump_json(include={"ignore", "edges", "ends"})
        return hashlib.sha256(columns.tobytes() + rows.encode()).hexdigest()

    @cached_property
    def tiles(self) -> Bits | None:
        """(tiles, cells, cells) places of a frame where parts are inspected; None: everywhere."""
        return None if self.mask is None else self.joiner.split(self.mask > 0)

    @cached_property
    def pixels(self) -> U8 | None:
        """(H, W) uint8 of a frame: 255 where parts are inspected; None: everywhere."""
        if self.mask is None:
            return None
        px, grid = self.joiner.patch_stride, self.joiner.grid
        squares = np.where(self.mask > 0, np.uint8(255), np.uint8(0))
        return squares.repeat(px, axis=0).repeat(px, axis=1)[: grid.height, : grid.width]

    def of_pixels(self, inspected: U8) -> Bits:
        """(tiles, cells, cells) places with any pixel that is not 0, of (H, W) uint8."""
        return self.joiner.split(squares_with_any(inspected, self.joiner))

    def fresh(self) -> WebPlaces | None:
        """Of a web that begins now; None where all of any web is inspected."""
        if self.web is None:
            return None
        found = WebPlaces(self.web, self.joiner)
        return found if found.some else None


def squares_with_any(pixels: NDArray[Any], joiner: Joiner) -> Bits:
    """(rows, cols) of a frame's map: whether any of the (H, W) pixels of a place is not 0."""
    (rows, cols), px = joiner.shape, joiner.patch_stride
    height, width = pixels.shape
    full = np.pad(pixels, ((0, rows * px - height), (0, cols * px - width)))
    squares: Bits = np.asarray(full.reshape(rows, px, cols, px).any(axis=(1, 3)))
    return squares


class WebPlaces:
    """What of one web is inspected, tile row by tile row, as the box sees it."""

    def __init__(self, web: WebSpec, joiner: Joiner) -> None:
        """`joiner`: of one tile row."""
        width, px = joiner.grid.width, joiner.patch_stride
        self._joiner = joiner
        self._columns = LaneMap.of(web, width, px).inspected
        tracker = None if web.edges is None else EdgeTracker(web.edges, width, px)
        self._ends = StripEnds(web, width, px, 0)
        self._checks = RowChecks(None, tracker, self._ends if self._ends.any else None)
        self._held = HeldLines(self._ends.held_lines)
        self.some = tracker is not None or self._ends.any or not self._columns.all()

    def known(self, pixels: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """Lines that are certainly not among those at the web's end, in blocks."""
        return self._held.push(pixels)

    def rest(self, end_line: int) -> list[NDArray[Any]]:
        """The web has ended; its last lines, which begin at this one."""
        held = list(self._held.all())
        self._ends.ended(held, end_line + sum(map(len, held)))
        return held

    def of_row(self, core: U8, row: int) -> Bits | None:
        """(tiles, cells, cells) of the next tile row, with this number; None: all."""
        cause, inside = self._checks(core, row * self._joiner.grid.stride)
        if cause is not None:
            inside = np.zeros(len(self._columns), np.float32)
        return counted(self._joiner, self._columns, inside)
