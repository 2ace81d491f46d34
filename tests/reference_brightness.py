"""Bands of brightness and their join, written from the definitions, in float64, with loops."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reference import mirrored

F64 = NDArray[np.float64]


def cell_grey(pixels: NDArray[np.uint8], side: int) -> F64:
    """Mean over each side x side square, the frame mirrored to whole squares."""
    height, width = pixels.shape[:2]
    out = np.zeros((math.ceil(height / side), math.ceil(width / side)))
    for row, col in np.ndindex(*out.shape):
        seen = [
            float(np.mean(pixels[mirrored(y, height), mirrored(x, width)], dtype=np.float64))
            for y in range(row * side, (row + 1) * side)
            for x in range(col * side, (col + 1) * side)
        ]
        out[row, col] = sum(seen) / len(seen)
    return out


def _blurred(grey: F64, sigma: float, mask: F64) -> F64:
    """Weighted by a Gaussian cut at 2 sigma and by the mask; 0 where the mask is."""
    reach = math.ceil(2 * sigma)
    height, width = grey.shape
    out = np.zeros_like(grey)
    for row, col in np.ndindex(height, width):
        total = weights = 0.0
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                y, x = mirrored(row + dy, height), mirrored(col + dx, width)
                weight = math.exp(-(dy * dy + dx * dx) / (2 * sigma * sigma)) * mask[y, x]
                total += weight * grey[y, x]
                weights += weight
        out[row, col] = total / weights if mask[row, col] else 0.0
    return out


def contrasts(
    pixels: NDArray[np.uint8], side: int, sigmas_px: Sequence[float], mask: ArrayLike | None = None
) -> F64:
    """(narrow - wide) / wide of every square, the wide one no less than 16 levels."""
    grey = cell_grey(pixels, side)
    inside = np.ones_like(grey) if mask is None else np.asarray(mask, np.float64)
    out = np.zeros((len(sigmas_px), *grey.shape))
    for band, sigma_px in enumerate(sigmas_px):
        narrow = _blurred(grey, sigma_px / side, inside)
        wide = _blurred(grey, 4 * sigma_px / side, inside)
        for row, col in np.ndindex(*grey.shape):
            level = max(wide[row, col], 16.0)
            out[band, row, col] = (narrow[row, col] - wide[row, col]) / level
    return out


def joined(network: float, bands: Sequence[float], join: str) -> float:
    """One place of two maps, each in the measure of good images."""
    band = max(abs(value) for value in bands)
    if join == "band":
        return band
    if join == "mean":
        return max(0.0, (network + band) / 2)
    if join == "maximum":
        return max(network, band)
    return math.hypot(max(network, 0.0), band)
