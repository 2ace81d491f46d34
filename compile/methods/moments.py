"""Means and deviations of good maps, place by place, and without one part."""

from __future__ import annotations

from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from kenpin.config.recipe import Places
from kenpin.runtime.judging.join import gaussian_taps

__all__ = ["Moments"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Deviations are blurred by so many cells: a few dozen images say little about one place,
# and neighbours have nearly the same. Means are not: a camera column's gain is its own.
BLUR_CELLS, BLUR_REACH = 4.0, 8
# A map that never varies has no measure; this one divides by nothing that small.
LEAST = 1e-6


class Moments:
    """Counts, sums and sums of squares of maps, in bounded memory.

    places  which values count together: all, those of a column, of a position
    shape   (bands, rows, cols) of the maps; a web's have no number of rows
    """

    def __init__(self, places: Places, shape: tuple[int, int, int]) -> None:
        bands, rows, cols = shape
        own = {"none": (1, 1), "column": (1, cols), "position": (rows, cols)}[places]
        self.places = places
        self._count = np.zeros(own)
        self._sum = np.zeros((bands, *own))
        self._squares = np.zeros((bands, *own))

    def add(self, values: F32, inside: Mask) -> Self:
        """Take in a (bands, rows, cols) map, of which only what is inspected counts."""
        weight = inside.astype(np.float64)
        kept = values * weight
        self._count += self._together(weight)
        self._sum += self._together(kept)
        self._squares += self._together(kept * kept)
        return self

    def without(self, part: Moments) -> Moments:
        """As if the other's maps had not been taken in."""
        left = Moments(self.places, (len(self._sum), *self._count.shape))
        left._count = self._count - part._count
        left._sum = self._sum - part._sum
        left._squares = self._squares - part._squares
        return left

    def normal(self) -> tuple[F32, F32]:
        """(bands, rows or 1, cols or 1) mean and deviation, the latter no less than its median."""
        seen = self._count > 1
        count = np.where(seen, self._count, 1)
        mean = np.where(seen, self._sum / count, 0)
        variance = np.maximum(self._squares / count - mean * mean, 0)
        # Of a sample; far from the mean of two images there may be much more.
        deviation = np.sqrt(variance * count / np.maximum(count - 1, 1))
        smooth = np.stack([_blurred(band, seen) for band in deviation])
        if seen.any():
            floor = np.median(smooth[:, seen], axis=1)[:, None, None]
            smooth = np.maximum(smooth, floor)
        return mean.astype(np.float32), np.maximum(smooth, LEAST).astype(np.float32)

    def _together(self, values: F64) -> F64:
        axes = {"none": (-2, -1), "column": (-2,), "position": ()}[self.places]
        total: F64 = values.sum(axis=axes, keepdims=True) if axes else values
        return total


def _blurred(deviation: F64, seen: Mask) -> F64:
    """Over neighbouring places, as far as they were seen."""
    taps = gaussian_taps(BLUR_REACH, BLUR_CELLS)
    kept, share = (
        cv2.sepFilter2D(each.astype(np.float64), -1, taps, taps, borderType=cv2.BORDER_REFLECT_101)
        for each in (deviation * seen, seen)
    )
    return np.divide(kept, share, out=np.zeros_like(kept), where=seen)
