"""The lines of a web that a map is about, as one picture: some came with the frame before."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.runtime.judging.join import ScoreMap

__all__ = ["under_the_map"]

F32 = NDArray[np.float32]


def under_the_map(
    pixels: NDArray[Any],
    frame_line: int,
    values: F32,
    map_line: int,
    stride_px: int,
    before: NDArray[Any] | None = None,
) -> tuple[NDArray[Any], ScoreMap]:
    """A frame from the map's first line on, and the map laid over all of it.

    What was not judged yet has no heat. Lines of an earlier frame that nobody has kept are black.

    Parameters
    ----------
    pixels : (H, W) or (H, W, 3)
        The frame that the verdict came with.
    frame_line, map_line
        Of the web: the frame's first line, and the map's.
    values : (rows, columns) float32
    before
        The frame that came just before, as wide as this one; None if it is not at hand.
    """
    missing = max(0, frame_line - map_line)
    if missing:
        earlier = np.zeros((missing, *pixels.shape[1:]), pixels.dtype)
        if before is not None:
            kept = before[-missing:]
            earlier[missing - len(kept) :] = kept
        pixels = np.concatenate([earlier, pixels])
    # Rows of the map lie on the web's own lines: half a patch is as near as it comes.
    skipped = round((map_line - (frame_line - missing)) / stride_px)
    laid = np.zeros((-(-len(pixels) // stride_px), values.shape[1]), np.float32)
    fitting = values[: max(0, len(laid) - skipped)]
    laid[skipped : skipped + len(fitting)] = fitting
    return pixels, ScoreMap(laid, stride_px, (len(pixels), pixels.shape[1]))
