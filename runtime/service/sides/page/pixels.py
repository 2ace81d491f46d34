"""Frames as pictures for a browser: eight bits, not too large, JPEG."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.camera.files.images import fit_to

__all__ = ["LARGE_PX", "QUALITY", "SMALL_PX", "eight_bits", "fit_within"]

U8 = NDArray[np.uint8]

# The longest side of a picture and of a small one, and JPEG's quality of both.
LARGE_PX, SMALL_PX = 960, 132
QUALITY = 80


def eight_bits(pixels: NDArray[Any]) -> U8:
    """Of 10 or 12 bits the 8 highest would be black: as many as the frame uses."""
    if pixels.dtype == np.uint8:
        return np.asarray(pixels, np.uint8)
    unused = max(0, int(pixels.max(initial=0)).bit_length() - 8)
    return np.asarray(pixels >> unused, np.uint8)


def fit_within(canvas: U8, longest_px: int) -> U8:
    """No longer than that on either side."""
    height, width = canvas.shape[:2]
    share = min(1.0, longest_px / max(height, width))
    size = max(1, round(height * share)), max(1, round(width * share))
    return np.ascontiguousarray(fit_to(canvas, *size), np.uint8)
