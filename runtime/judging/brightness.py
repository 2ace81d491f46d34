"""Plain brightness on the map's grid: what a network of texture filters hardly sees.

A soft stain or a pale band changes no texture. Here the grey of every square of
the grid is blurred twice, and the narrow blur is told as a share of the wide one:

    contrast = (G(σ) − G(4σ)) / G(4σ)

A difference of Gaussians in Weber's form. The lamp cancels out of a quotient, so a
lamp that fades, or falls off across the frame, changes nothing but the noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kenpin.runtime.judging.join import gaussian_taps

__all__ = ["WIDE", "band_taps", "cell_grey", "contrast", "contrasts"]

F32 = NDArray[np.float32]

# The wide Gaussian's sigma over the narrow one's.
WIDE = 4.0
# Kernels are cut here, where a Gaussian has 5 % of its weight left: the wide one is a
# level to compare with, no filter whose tails matter, and on a web each sigma of it is
# lines that a verdict waits for.
BAND_REACH_SIGMAS = 2.0
# Grey levels below which a difference is no longer told as a share: in the dark, a
# quotient would make a defect of the sensor's noise.
DARKEST = np.float32(16)


def cell_grey(pixels: NDArray[Any], stride_px: int) -> F32:
    """Mean grey of every square of the grid, all channels together.

    The frame is extended by reflection to whole squares. Sums of bytes are whole
    numbers that float32 holds exactly, in whatever order they are added: a line of
    squares has the same bits whatever lies above and below it.

    Parameters
    ----------
    pixels : (H, W) or (H, W, C) uint8
    stride_px
        The squares' side, at most 256.

    Returns
    -------
    (ceil(H / stride), ceil(W / stride)) float32, grey levels.
    """
    height, width = pixels.shape[:2]
    below, beside = -height % stride_px, -width % stride_px
    if below or beside:
        pixels = cv2.copyMakeBorder(pixels, 0, below, 0, beside, cv2.BORDER_REFLECT_101)
    rows, cols = (height + below) // stride_px, (width + beside) // stride_px
    # First the lines, in integers: seven times faster than both ways at once.
    stacked = pixels.reshape(rows, stride_px, -1)
    lines = np.add.reduce(stacked, axis=1, dtype=np.uint16).astype(np.float32)
    means = cv2.resize(lines, (cols, rows), interpolation=cv2.INTER_AREA)
    grey: F32 = means.astype(np.float32, copy=False) / np.float32(stride_px)
    return grey


def band_taps(sigma_px: float, stride_px: int) -> tuple[F32, F32]:
    """Kernels of the narrow and the wide Gaussian on the grid, each of odd length, sum 1."""
    narrow, wide = (_taps(times * sigma_px / stride_px) for times in (1.0, WIDE))
    return narrow, wide


def _taps(sigma_cells: float) -> F32:
    reach = math.ceil(BAND_REACH_SIGMAS * sigma_cells)
    return gaussian_taps(reach, sigma_cells)


def contrast(narrow: F32, wide: F32) -> F32:
    """How far the narrow blur lies above the wide one, both (rows, cols) grey, as a share of it."""
    level: F32 = np.maximum(wide, DARKEST)
    return (narrow - wide) / level


def contrasts(
    pixels: NDArray[Any], stride_px: int, sigmas_px: Sequence[float], mask: F32 | None = None
) -> F32:
    """The contrast of every square of a frame, by bands of some widths.

    Blurs are mirrored at the frame's border.

    Parameters
    ----------
    pixels : (H, W) or (H, W, C) uint8
    mask : (rows, cols) float32
        1 where the part is inspected. Elsewhere the contrast is 0, and the grey there
        does not reach its neighbours: the kernels are normalised over the mask.

    Returns
    -------
    (bands, rows, cols) float32, dimensionless.
    """
    if not sigmas_px:
        rows, cols = (-(-side // stride_px) for side in pixels.shape[:2])
        return np.empty((0, rows, cols), np.float32)
    grey = cell_grey(pixels, stride_px)
    found = np.empty((len(sigmas_px), *grey.shape), np.float32)
    for out, sigma_px in zip(found, sigmas_px, strict=True):
        narrow, wide = (_blurred(grey, k, mask) for k in band_taps(sigma_px, stride_px))
        out[...] = contrast(narrow, wide)
    return found


def _blurred(grey: F32, taps: F32, mask: F32 | None) -> F32:
    if mask is None:
        return _separable(grey, taps)
    kept, share = _separable(grey * mask, taps), _separable(mask, taps)
    return np.divide(kept, share, out=np.zeros_like(kept), where=mask > 0)


def _separable(values: F32, taps: F32) -> F32:
    blurred = cv2.sepFilter2D(values, -1, taps, taps, borderType=cv2.BORDER_REFLECT_101)
    return blurred.astype(np.float32, copy=False)
