"""How fast something grows, by the median of slopes, and how sure that is."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Slope", "slope_of", "theil_sen"]

Points = Sequence[tuple[float, float]]

# Longer series are thinned: pairs grow with the square.
_PAIRED = 400
# Samples that follow one another resemble one another (a pause, a batch of pictures), and an
# interval that takes each for a witness of its own is far too narrow. Medians of stretches are
# nearer to that.
_STRETCHES = 24
# Of fewer samples no slope is told.
_FEWEST = 5
# Of a normal distribution, 95 %.
_Z = 1.96


@dataclass(frozen=True)
class Slope:
    """How much something grows in an hour, and the 95 % interval of that.

    first, last, highest   values
    """

    an_hour: float
    low: float
    high: float
    first: float
    last: float
    highest: float

    def __str__(self) -> str:
        return (
            f"{self.an_hour:8.0f} ({self.low:.0f} to {self.high:.0f}) KiB/h   "
            f"{self.first:.0f} to {self.last:.0f} KiB, highest {self.highest:.0f}"
        )


def theil_sen(points: Points) -> float:
    """The median of the slopes between all pairs of at most `_PAIRED` points: none can bend it."""
    return statistics.median(_slopes(points[:: -(-len(points) // _PAIRED)]))


def slope_of(points: Points) -> Slope | None:
    """Of (seconds, value), or None where they are too few.

    References
    ----------
    Sen, Estimates of the regression coefficient based on Kendall's tau, J. Am. Stat. Assoc. 63
    (1968), for the interval; here of the medians of `_STRETCHES` stretches of the series.
    """
    if len(points) < _FEWEST:
        return None
    coarse = _medians(points)
    slopes, count = sorted(_slopes(coarse)), len(coarse)
    width = _Z * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    low = max(0, round((len(slopes) - width) / 2) - 1)
    high = min(len(slopes) - 1, round((len(slopes) + width) / 2))
    values = [value for _, value in points]
    return Slope(
        statistics.median(slopes) * 3600,
        slopes[low] * 3600,
        slopes[high] * 3600,
        coarse[0][1],
        coarse[-1][1],
        max(values),
    )


def _slopes(points: Points) -> list[float]:
    return [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in itertools.combinations(points, 2)]


def _medians(points: Points) -> Points:
    size = max(1, -(-len(points) // _STRETCHES))
    stretches = [points[at : at + size] for at in range(0, len(points), size)]
    return [
        (statistics.median(x for x, _ in some), statistics.median(y for _, y in some))
        for some in stretches
    ]
