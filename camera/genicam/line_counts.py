"""Encoder counts of every line of a frame, told by few of them."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from kenpin.camera.capture import MOST_KNOTS, LineCounts

__all__ = ["straightened"]

F64 = NDArray[np.float64]

# A count is a whole number, and the web is up to one further.
NEAR_COUNTS = 1.0


def straightened(counts: NDArray[np.int64]) -> LineCounts:
    """The same, as straight lines between knots: where the web moves evenly, two will do.

    Where it deviates most a knot is set, until no count is more than one off, or
    MOST_KNOTS are used up; `within` says how far off the worst then is.

    Parameters
    ----------
    counts : (H,) int64
        As the camera shows them, of one line after the other, at least one.

    References
    ----------
    Ramer, 1972; Douglas and Peucker, 1973: splitting at the furthest point.
    """
    line, off = _furthest(counts, 0, len(counts) - 1)
    knots = {0, len(counts) - 1}
    worst = [(-off, line, 0, len(counts) - 1)]
    while -worst[0][0] > NEAR_COUNTS and len(knots) < MOST_KNOTS:
        _, line, first, last = heapq.heappop(worst)
        knots.add(line)
        for a, b in ((first, line), (line, last)):
            furthest, off = _furthest(counts, a, b)
            heapq.heappush(worst, (-off, furthest, a, b))
    lines = sorted(knots)
    return LineCounts(tuple(lines), tuple(int(counts[k]) for k in lines), -worst[0][0])


def _furthest(counts: NDArray[np.int64], first: int, last: int) -> tuple[int, float]:
    """The line between two that is furthest from the straight line, and by how many counts."""
    if last - first < 2:
        return first, 0.0
    own = counts[first : last + 1]
    # Differences first: a counter of 64 bits has no exact floating-point number.
    moved: F64 = (own - own[0]).astype(np.float64)
    off = np.abs(moved - np.linspace(0, moved[-1], len(moved)))
    at = int(off.argmax())
    return first + at, float(off[at])
