"""Cutting a frame into tiles at a fixed stride."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kenpin.config.frame import FrameSpec
from kenpin.config.tiles import TileSpec

__all__ = ["TileGrid", "reflect"]

U8 = NDArray[np.uint8]
Index = NDArray[np.intp]
# The part of a frame that a tile sees, and where in it the mirrored tile's lines lie.
Span = tuple[slice, Index | None]


def reflect(index: Index, length: int) -> Index:
    """Positions outside 0..length-1, mirrored back in without repeating the border.

    -1 becomes 1 and `length` becomes length-2, as often as it takes; a single
    line mirrors onto itself.
    """
    if length == 1:
        return np.zeros_like(index)
    period = 2 * (length - 1)
    folded = np.mod(index, period)
    return np.where(folded < length, folded, period - folded)


@dataclass(frozen=True)
class TileGrid:
    """Where the tiles of one frame lie.

    Tile (r, c) scores the core square whose top left pixel is
    (r * stride, c * stride), and sees `halo` pixels more on each side. The
    cores cover every pixel: those of the last row and column may reach past
    the frame, which is extended there by reflection. All in pixels.
    """

    height: int
    width: int
    size: int
    halo: int
    stride: int

    @classmethod
    def of(cls, frame: FrameSpec, tiles: TileSpec) -> TileGrid:
        """The grid that a recipe or a bundle asks for; of a web, one tile row."""
        height = tiles.core_px if frame.geometry == "continuous" else frame.height_px
        return cls(height, frame.width_px, tiles.size_px, tiles.halo_px, tiles.step_px)

    @property
    def core(self) -> int:
        """Side of the scored square."""
        return self.size - 2 * self.halo

    @property
    def rows(self) -> int:
        """Tile rows."""
        return 1 + max(0, -(-(self.height - self.core) // self.stride))

    @property
    def cols(self) -> int:
        """Tile columns."""
        return 1 + max(0, -(-(self.width - self.core) // self.stride))

    def __len__(self) -> int:
        return self.rows * self.cols

    @cached_property
    def _row_spans(self) -> list[Span]:
        return [self._span(r, self.height) for r in range(self.rows)]

    @cached_property
    def _col_spans(self) -> list[Span]:
        return [self._span(c, self.width) for c in range(self.cols)]

    def _span(self, position: int, length: int) -> Span:
        start = position * self.stride - self.halo
        if start >= 0 and start + self.size <= length:
            return slice(start, start + self.size), None
        mirrored = reflect(np.arange(start, start + self.size), length)
        first = int(mirrored.min())
        return slice(first, int(mirrored.max()) + 1), mirrored - first

    def tile(self, pixels: U8, number: int) -> U8:
        """Tile `number` (row by row) of (H, W) or (H, W, C) pixels: (size, size[, C]).

        A view wherever the tile lies inside the frame.
        """
        rows, mirrored = self._row_spans[number // self.cols]
        # First its columns, so that mirroring copies this tile and not the frame's whole width.
        tile = self.columns(pixels[rows], number % self.cols)
        return tile if mirrored is None else tile[mirrored]

    def columns(self, lines: U8, col: int) -> U8:
        """What tile column `col` sees of (n, W) or (n, W, C) lines: (n, size[, C]).

        A view wherever the column lies inside the frame.
        """
        span, mirrored = self._col_spans[col]
        return lines[:, span] if mirrored is None else lines[:, span][:, mirrored]

    def fill(self, pixels: U8, numbers: Sequence[int], batch: U8) -> int:
        """Copy tiles into a batch until either ends; says how many were copied.

        Parameters
        ----------
        pixels : (H, W) or (H, W, C) uint8
        numbers
            Which tiles, in the grid's row by row order.
        batch : (N, C, size, size) uint8
            Written from its start; slots past the last number stay as they are.

        Raises
        ------
        ValueError
            If the frame or the batch does not have the grid's size.
        """
        if pixels.shape[:2] != (self.height, self.width):
            raise ValueError(
                f"frame is {pixels.shape[0]} x {pixels.shape[1]} px, "
                f"the grid expects {self.height} x {self.width}"
            )
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        if batch.shape[1:] != (channels, self.size, self.size):
            raise ValueError(
                f"batch {batch.shape} does not hold tiles of {channels} x {self.size} x {self.size}"
            )
        filled = 0
        for slot, number in zip(batch, numbers, strict=False):
            tile = self.tile(pixels, number)
            slot[...] = tile if pixels.ndim == 2 else tile.transpose(2, 0, 1)
            filled += 1
        return filled
