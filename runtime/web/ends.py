"""Past the ends of a web: what stands for lines that never were."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.runtime.judging.tiling import reflect

__all__ = ["Ends"]

Ints = NDArray[np.intp]

# Lines that must match where the web is continued, and the fewest by which it is shifted.
SEAM_LINES = 16
SHORTEST_SHIFT = 4
# Columns looked at: the threads of a weave run on across the web.
MOST_COLUMNS = 512


class Ends:
    """Which lines continue a web before its first and after its last.

    A web is continued by itself, shifted by as many lines as make it fit best:
    a weave goes on thread by thread. Were it mirrored, it would run against
    itself, and every web would begin and end with a defect. Where too few lines
    are known, it is mirrored all the same.

    head  the web's first lines, (n, W) or (n, W, 3): none left out
    tail  its last lines; None while it has no end
    """

    def __init__(self, head: NDArray[Any], tail: NDArray[Any] | None) -> None:
        self._before = _shift(head)
        self._after = 0 if tail is None else _shift(tail[::-1])

    def index(self, lines: Ints, count: int) -> Ints:
        """Which of the web's `count` lines stand for these, counted from its first."""
        if self._before:
            turns = -np.minimum(lines, 0) + self._before - 1
            lines = lines + turns // self._before * self._before
        if self._after:
            turns = np.maximum(lines - count + 1, 0) + self._after - 1
            lines = lines - turns // self._after * self._after
        return reflect(lines, count)


def _shift(lines: NDArray[Any]) -> int:
    """By how many lines a web is best continued before its first; 0 if nobody can tell."""
    most = len(lines) - SEAM_LINES
    if most < 2 * SHORTEST_SHIFT:
        return 0
    step = -(-lines.shape[1] // MOST_COLUMNS)
    seen = lines[:, ::step].reshape(len(lines), -1).astype(np.float32)
    off = [
        float(np.square(seen[:SEAM_LINES] - seen[shift : shift + SEAM_LINES]).mean())
        for shift in range(SHORTEST_SHIFT, most + 1)
    ]
    return SHORTEST_SHIFT + int(np.argmin(off))
