"""The last lines of the web, kept so that tiles may reach across frames."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.runtime.web.ends import Ends

__all__ = ["Carry"]

U8 = NDArray[np.uint8]


class Carry:
    """A window of scan lines that slides along the web, in one fixed buffer.

    Lines are numbered along the web, as everywhere in this package. The buffer
    holds lines `first` to just before `end`.

    shape     of one line: (W,) or (W, 3)
    capacity  lines that fit
    """

    def __init__(self, shape: tuple[int, ...], capacity: int, first: int) -> None:
        # Twice as long as its content: lines move to the front only once it is
        # full, so a frame of one line costs one line's copy.
        self._buffer: U8 = np.empty((2 * capacity, *shape), np.uint8)
        self._capacity = capacity
        self._at = 0
        self.first = self.end = first

    def restart(self, line: int) -> None:
        """Forget everything; the next line to come is `line`."""
        self.first = self.end = line
        self._at = 0

    def take(self, lines: NDArray[Any]) -> int:
        """Copy in as many of these lines as fit; says how many.

        Parameters
        ----------
        lines : (n, W) or (n, W, 3) uint8
        """
        held = self.end - self.first
        count = min(len(lines), self._capacity - held)
        if self._at + held + count > len(self._buffer):
            self._buffer[:held] = self._buffer[self._at : self._at + held]
            self._at = 0
        start = self._at + held
        self._buffer[start : start + count] = lines[:count]
        self.end += count
        return count

    def drop_before(self, line: int) -> None:
        """Lines before this one are no longer needed."""
        gone = min(max(0, line - self.first), self.end - self.first)
        self.first += gone
        self._at += gone

    def window(self, start: int, stop: int) -> U8:
        """(stop - start, W[, 3]) lines, all of them held: a view until the next `take`."""
        begin = self._at + start - self.first
        return self._buffer[begin : begin + stop - start]

    def continued(self, start: int, stop: int, web: tuple[int, int], ends: Ends) -> U8 | None:
        """Lines of a web from `web[0]` to just before `web[1]`, continued past its ends.

        None if a line that this needs is not held.
        """
        first, end = web
        index = ends.index(np.arange(start - first, stop - first), end - first) + first
        if index.min() < self.first or index.max() >= self.end:
            return None
        lines: U8 = self._buffer[self._at + index - self.first]
        return lines
