"""Stretches of a web, united: what was seen twice counts once."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

__all__ = ["Spans"]

# Kept apart; beyond, the first half along the web is only summed up.
MOST_SPANS = 8192


class Spans:
    """A union of stretches along a line, each from `first` to `end`, in any unit.

    Memory is bounded: of very many stretches those that lie far back are summed
    up, and what comes there again is taken for known.

    near  stretches no further apart are one
    """

    def __init__(self, near: float = 0.0) -> None:
        self._near = near
        self._firsts: list[float] = []
        self._ends: list[float] = []
        self._settled = 0.0
        self._floor = float("-inf")

    @property
    def total(self) -> float:
        """Length of all together."""
        return self._settled + sum(self._ends) - sum(self._firsts)

    def add(self, first: float, end: float) -> None:
        """Unite with a stretch; its ends may come in either order."""
        first, end = max(min(first, end), self._floor), max(first, end)
        if end <= first:
            return
        a = bisect_left(self._ends, first - self._near)
        b = bisect_right(self._firsts, end + self._near)
        if a < b:
            first, end = min(first, self._firsts[a]), max(end, self._ends[b - 1])
        self._firsts[a:b], self._ends[a:b] = [first], [end]
        if len(self._firsts) > MOST_SPANS:
            self._settle(MOST_SPANS // 2)

    def holds(self, first: float, end: float) -> bool:
        """Whether all of a stretch is in it."""
        first, end = min(first, end), max(first, end)
        at = bisect_right(self._firsts, first + self._near) - 1
        return end <= self._floor or (at >= 0 and end <= self._ends[at] + self._near)

    def _settle(self, count: int) -> None:
        self._settled += sum(self._ends[:count]) - sum(self._firsts[:count])
        self._floor = self._ends[count - 1]
        del self._firsts[:count], self._ends[:count]
