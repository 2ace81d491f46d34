"""Blurring maps that have no end, row by row, with the same bits however they arrive."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kenpin.runtime.judging.brightness import contrast
from kenpin.runtime.judging.join import REACH_SIGMAS, gaussian_taps
from kenpin.runtime.judging.tiling import reflect

__all__ = ["MapRows", "StreamingBlur"]

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class MapRows:
    """Rows of the map, from row number `first` of the web on.

    values  (rows, cols) float32, dimensionless; 0 where not inspected
    weight  (rows, cols) float32, 1 where inspected, else 0
    cause   (rows,) uint8, why a whole row was not inspected; 0: it was
    bands   (bands, rows, cols) float32: the squares' grey as rows come, where any band
            looks at it; each band's contrast as they leave
    """

    first: int
    values: F32
    weight: F32
    cause: NDArray[np.uint8]
    bands: F32

    def __len__(self) -> int:
        return len(self.values)

    def since(self, row: int) -> MapRows:
        """Without the first `row` of them."""
        return MapRows(
            self.first + row,
            self.values[row:],
            self.weight[row:],
            self.cause[row:],
            self.bands[:, row:],
        )


class StreamingBlur:
    """A Gaussian blur of the map's rows, and contrasts of their grey, as they come.

    A row leaves once all rows within the widest kernel's reach have come. At the
    web's own ends the map is mirrored; at a break it is not, so rows that lack
    context never leave. What is not inspected does not reach its neighbours:
    there the kernel is normalised over what is.

    OpenCV's blur is not used: nothing says that it gives a row the same bits
    in an image of any height. Here each value is one sum in one order.
    """

    def __init__(self, sigma_cells: float, bands: Sequence[tuple[F32, F32]] = ()) -> None:
        """`bands`: kernels of the narrow and the wide Gaussian of each, of odd length."""
        reach = math.ceil(REACH_SIGMAS * sigma_cells)
        taps = gaussian_taps(reach, sigma_cells)
        self._taps, self._bands = taps, bands
        self.reach = max(len(taps) // 2 for taps in (taps, *(t for band in bands for t in band)))
        self.restart(0, at_web_start=True)

    def restart(self, row: int, *, at_web_start: bool) -> None:
        """Forget everything; the next row to come is `row`."""
        self._parts: list[MapRows] = []
        self._top = row if at_web_start else None
        self._end = row
        self.next = row if at_web_start else row + self.reach

    def push(self, rows: MapRows) -> MapRows | None:
        """Take in the rows that follow; the rows that are final now, if any."""
        self._parts.append(rows)
        self._end += len(rows)
        return self._emit(self._end - self.reach, None)

    def finish(self) -> MapRows | None:
        """The remaining rows: the web ends with the last row pushed."""
        return self._emit(self._end, self._end)

    def _emit(self, stop: int, web_end: int | None) -> MapRows | None:
        start, reach = self.next, self.reach
        if stop <= start:
            return None
        held = _stacked(self._parts)
        index = np.arange(start - reach, stop + reach)
        # Mirrored only past the web's own ends.
        if web_end is not None and self._top is None:
            index = np.where(index < web_end, index, 2 * (web_end - 1) - index)
        elif self._top is not None and (index[0] < self._top or web_end is not None):
            index = reflect(index - self._top, self._end - self._top) + self._top
        if index.min() < held.first:
            return None
        index -= held.first
        values, weight = held.values[index], held.weight[index]
        own = slice(reach, reach + stop - start)
        blurred = self._blurred(values, weight, self._taps)
        found = np.empty((len(self._bands), *blurred.shape), np.float32)
        for out, (narrow, wide) in zip(found, self._bands, strict=True):
            grey = held.bands[0][index]
            out[...] = contrast(
                self._blurred(grey, weight, narrow), self._blurred(grey, weight, wide)
            )
        out_rows = MapRows(start, blurred, weight[own], held.cause[index][own], found)
        self.next = stop
        self._parts = [held.since(max(0, stop - 2 * reach - 1 - held.first))]
        return out_rows

    def _blurred(self, values: F32, weight: F32, taps: F32) -> F32:
        """(n + 2 reach, cols) to (n, cols): by a kernel that may reach less far."""
        reach = len(taps) // 2
        near = slice(self.reach - reach, len(values) - (self.reach - reach))
        values, weight = values[near], weight[near]
        blurred = _convolved(values, taps)
        bare = _any_near((weight == 0).any(axis=1), reach)
        if bare.any():
            # Only rows near something not inspected, so that a row's bits depend
            # on nothing but its own surroundings.
            share = _convolved(weight, taps)[bare]
            inside = weight[reach : len(weight) - reach][bare] > 0
            blurred[bare] = np.divide(blurred[bare], share, out=np.zeros_like(share), where=inside)
        return blurred


def _convolved(values: F32, taps: F32) -> F32:
    """(n + 2 reach, cols) to (n, cols): down, then across, mirrored at the sides."""
    reach = len(taps) // 2
    if not reach:
        return values.copy()
    n = len(values) - 2 * reach
    down = taps[0] * values[:n]
    for k in range(1, 2 * reach + 1):
        down += taps[k] * values[k : k + n]
    cols = values.shape[1]
    wide = down[:, reflect(np.arange(-reach, cols + reach), cols)]
    across: F32 = taps[0] * wide[:, :cols]
    for k in range(1, 2 * reach + 1):
        across += taps[k] * wide[:, k : k + cols]
    return across


def _stacked(parts: list[MapRows]) -> MapRows:
    if len(parts) == 1:
        return parts[0]
    return MapRows(
        parts[0].first,
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.weight for part in parts]),
        np.concatenate([part.cause for part in parts]),
        np.concatenate([part.bands for part in parts], axis=1),
    )


def _any_near(flags: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """(n,) whether any of the 2 reach + 1 flags around each of the inner ones is set."""
    n = len(flags) - 2 * reach
    near = np.zeros(n, np.bool_)
    for k in range(2 * reach + 1):
        near |= flags[k : k + n]
    return near
