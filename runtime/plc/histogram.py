"""Latencies, counted in classes that grow by a tenth: any number of them in little memory."""

from __future__ import annotations

import math
from collections import Counter

__all__ = ["Histogram"]

_GROWTH = math.log(1.1)
_LOWEST_MS = 0.01


class Histogram:
    """Milliseconds by class. Percentiles are exact to a class, the extremes exactly."""

    def __init__(self) -> None:
        self._classes: Counter[int] = Counter()
        self.count = 0
        self.least_ms = math.inf
        self.most_ms = 0.0

    def add(self, ms: float) -> None:
        """Count one."""
        self._classes[math.floor(math.log(max(ms, _LOWEST_MS)) / _GROWTH)] += 1
        self.count += 1
        self.least_ms = min(self.least_ms, ms)
        self.most_ms = max(self.most_ms, ms)

    def percentile(self, percent: float) -> float:
        """The upper end of the class that holds it, in ms; 0 if nothing was counted."""
        wanted, seen = self.count * percent / 100, 0
        for number in sorted(self._classes):
            seen += self._classes[number]
            if seen >= wanted:
                return min(math.exp((number + 1) * _GROWTH), self.most_ms)
        return self.most_ms

    def bars(self, rows: int) -> list[tuple[float, float, int]]:
        """(from ms, below ms, how many) in at most so many classes of equal growth."""
        if not self.count:
            return []
        low, high = min(self._classes), max(self._classes)
        width = max(1, -(-(high - low + 1) // rows))
        bars: Counter[int] = Counter()
        for number, count in self._classes.items():
            bars[(number - low) // width] += count
        edges = [math.exp((low + i * width) * _GROWTH) for i in range((high - low) // width + 2)]
        return [(edges[i], edges[i + 1], bars[i]) for i in range(len(edges) - 1)]
