"""Joining the tiles' distances into one map per frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from kenpin.runtime.judging.tiling import TileGrid

__all__ = ["Joiner", "ScoreMap", "at_pixels", "gaussian_taps", "smooth", "upsample"]

F32 = NDArray[np.float32]

# The kernel reaches this many sigmas; the weight beyond is below 1e-4.
REACH_SIGMAS = 4.0
# Of a tile's side: so far from its border a seam is smoothed, Anomalib's SeamSmoothing.width.
SEAM_SHARE = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class ScoreMap:
    """One distance per patch position of a frame.

    values      (ceil(H / stride), ceil(W / stride)) float32, dimensionless
    stride_px   pixels between neighbouring positions
    frame_size  (H, W) of the frame in pixels
    """

    values: F32
    stride_px: int
    frame_size: tuple[int, int]

    def peak_xy(self, height: int, width: int) -> tuple[int, int]:
        """Pixel (x, y) of an image of that size at the middle of the highest position.

        The image is the frame, or what it was before the bundle resized it.
        """
        row, col = divmod(int(np.argmax(self.values)), self.values.shape[1])
        frame_h, frame_w = self.frame_size
        y = (row + 0.5) * self.stride_px * height / frame_h
        x = (col + 0.5) * self.stride_px * width / frame_w
        # The last position may reach past the frame.
        return min(int(x), width - 1), min(int(y), height - 1)


@dataclass(frozen=True)
class Joiner:
    """Undoes the tiling of a grid, at one position every `patch_stride` pixels.

    seam_sigma_px  blurs the map near the borders of tiles alone, so far as Anomalib's tiled
                   ensemble does: networks that were trained for their tile need not agree there
    """

    grid: TileGrid
    patch_stride: int
    seam_sigma_px: float = 0.0

    def __post_init__(self) -> None:
        for name in ("size", "halo", "stride"):
            value = getattr(self.grid, name)
            if value % self.patch_stride:
                raise ValueError(
                    f"tile {name} of {value} px is not a multiple of the features' stride of "
                    f"{self.patch_stride} px, so tiles would not meet on one grid; "
                    f"use {value // self.patch_stride * self.patch_stride} or "
                    f"{-(-value // self.patch_stride) * self.patch_stride}"
                )

    @property
    def cells(self) -> int:
        """Patch positions along the side of one core."""
        return self.grid.core // self.patch_stride

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the joined map."""
        s = self.patch_stride
        return -(-self.grid.height // s), -(-self.grid.width // s)

    def _corners(self) -> list[tuple[int, int]]:
        step = self.grid.stride // self.patch_stride
        return [(r * step, c * step) for r in range(self.grid.rows) for c in range(self.grid.cols)]

    @cached_property
    def _overlaps(self) -> F32:
        count = np.zeros(self._canvas, np.float32)
        for r, c in self._corners():
            count[r : r + self.cells, c : c + self.cells] += 1
        return count

    @property
    def _canvas(self) -> tuple[int, int]:
        last_r, last_c = self._corners()[-1]
        return last_r + self.cells, last_c + self.cells

    def join(self, distances: F32) -> ScoreMap:
        """The map of a frame; overlapping cores are averaged.

        Parameters
        ----------
        distances : (tiles, cells, cells) float32, in the grid's order

        Raises
        ------
        ValueError
            If there is not exactly one distance for each position of each tile.
        """
        expected = (len(self.grid), self.cells, self.cells)
        if distances.shape != expected:
            raise ValueError(f"distances {distances.shape}, the grid expects {expected}")
        h, w = self.shape
        if self.grid.stride == self.grid.core:
            # Cores abut: joining is a permutation, nothing is added up.
            blocks = distances.reshape(self.grid.rows, self.grid.cols, self.cells, self.cells)
            canvas = blocks.transpose(0, 2, 1, 3).reshape(self._canvas)
            return self._map(canvas[:h, :w])
        total = np.zeros(self._canvas, np.float32)
        for (r, c), tile in zip(self._corners(), distances, strict=True):
            total[r : r + self.cells, c : c + self.cells] += tile
        total /= self._overlaps
        return self._map(total[:h, :w])

    def split(self, places: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(tiles, cells, cells) of a map's places; those past the map's end do not count.

        Parameters
        ----------
        places : (rows, cols) bool, of the map
        """
        canvas = np.zeros(self._canvas, np.bool_)
        h, w = self.shape
        canvas[:h, :w] = places
        cells = self.cells
        return np.stack([canvas[r : r + cells, c : c + cells] for r, c in self._corners()])

    @cached_property
    def _near_seams(self) -> NDArray[np.bool_]:
        """(rows, cols): whether a position lies near a border of a tile within the frame."""
        down, across = (
            self._near(tiles, positions)
            for tiles, positions in zip((self.grid.rows, self.grid.cols), self.shape, strict=True)
        )
        near: NDArray[np.bool_] = down[:, None] | across[None, :]
        return near

    def _near(self, tiles: int, positions: int) -> NDArray[np.bool_]:
        starts = np.arange(1, tiles) * self.grid.stride
        ends = starts - self.grid.stride + self.grid.core
        middles = (np.arange(positions) + 0.5) * self.patch_stride
        far = np.abs(middles[:, None] - np.concatenate([starts, ends])[None, :])
        near: NDArray[np.bool_] = (far <= int(SEAM_SHARE * self.grid.size)).any(axis=1)
        return near

    def _map(self, values: F32) -> ScoreMap:
        if self.seam_sigma_px:
            blurred = _blurred(values, self.seam_sigma_px / self.patch_stride)
            values = np.where(self._near_seams, blurred, values)
        size = (self.grid.height, self.grid.width)
        return ScoreMap(np.ascontiguousarray(values), self.patch_stride, size)


def gaussian_taps(reach: int, sigma_cells: float) -> F32:
    """(2 reach + 1,) weights of a Gaussian, their sum 1; a single 1 where it reaches nothing."""
    taps = cv2.getGaussianKernel(2 * reach + 1, sigma_cells or 1.0, cv2.CV_32F)
    return taps.ravel().astype(np.float32, copy=False)


def smooth(score_map: ScoreMap, sigma_px: float, mask: F32 | None = None) -> ScoreMap:
    """The map blurred by a Gaussian of `sigma_px` pixels, at the map's own resolution.

    Separable, and mirrored at the border. Non-finite values spread: check
    before smoothing.

    Parameters
    ----------
    mask
        Of the map's shape, 1 where values count. The others come out as 0 and
        do not reach their neighbours: the kernel is normalised over the mask.
    """
    sigma = sigma_px / score_map.stride_px
    if mask is not None:
        kept = _blurred(score_map.values * mask, sigma)
        share = _blurred(mask, sigma)
        inside = np.divide(kept, share, out=np.zeros_like(kept), where=mask > 0)
        return replace(score_map, values=inside)
    if sigma == 0:
        return score_map
    return replace(score_map, values=_blurred(score_map.values, sigma))


def _blurred(values: F32, sigma: float) -> F32:
    if sigma == 0:
        return values
    side = 2 * math.ceil(REACH_SIGMAS * sigma) + 1
    blurred = cv2.GaussianBlur(values, (side, side), sigma, borderType=cv2.BORDER_REFLECT_101)
    return blurred.astype(np.float32, copy=False)


def at_pixels(score_map: ScoreMap, height: int, width: int) -> F32:
    """What the map says of each pixel of an image of (height, width), for tools.

    Each has the value of the square that its middle lies in, and none has another: above a
    threshold lie the squares that the bundle rejects for.
    """
    rows, cols = (
        np.minimum((np.arange(size) + 0.5) * frame / size // score_map.stride_px, count - 1)
        for size, frame, count in zip(
            (height, width), score_map.frame_size, score_map.values.shape, strict=True
        )
    )
    return score_map.values[np.ix_(rows.astype(np.intp), cols.astype(np.intp))]


def upsample(score_map: ScoreMap, height: int, width: int) -> F32:
    """The map as an image of (height, width) pixels, for people and pixel metrics.

    A map value belongs to the middle of its stride x stride square; between
    the middles it is interpolated linearly. Where the bundle resized the
    image, the map is stretched back.
    """
    rows, cols = score_map.values.shape
    frame_h, frame_w = score_map.frame_size
    full = cv2.resize(
        score_map.values,
        (cols * score_map.stride_px, rows * score_map.stride_px),
        interpolation=cv2.INTER_LINEAR,
    )[:frame_h, :frame_w]
    if full.shape != (height, width):
        full = cv2.resize(full, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(full, dtype=np.float32)
