"""Defects that come back at equal spacing: a damaged roller leaves its circumference."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Repeat", "find_repeats"]

# Fewer are no proof: two always have a spacing, three often have.
FEWEST = 4
# Share of the expected places where one must be, between the first and the last.
LEAST_SHARE = 0.6
# How often chance alone may show such a series in one roll.
CHANCE = 0.01
# Neighbours ahead whose distance is tried as a period.
AHEAD = 6
# No period is shorter than this many times the tolerance.
SHORTEST = 8
# Defects looked at; more than this and every period is there by chance.
MOST = 1500
MOST_REPEATS = 8


@dataclass(frozen=True, slots=True)
class Repeat:
    """A series of defects at equal spacing along the web, at one place across it.

    period    in the unit of the positions
    members   numbers of the points, along the web
    places    where one was expected between the first and the last, them included
    spread    standard deviation of the points around their places
    """

    period: float
    members: tuple[int, ...]
    places: int
    spread: float


def find_repeats(
    along: Sequence[float], across: Sequence[float], *, near_along: float, near_across: float
) -> list[Repeat]:
    """Series of points at equal spacing, the longest first; a point is in one at most.

    Parameters
    ----------
    along, across
        Positions of the points, in one unit.
    near_along
        How far a point may be from its place; 0.5 % of the period is allowed too.
    near_across
        Points further apart than this across the web have different causes.
    """
    if len(along) < FEWEST:
        return []
    length = max(along) - min(along)
    free = set(range(len(along)))
    found: list[Repeat] = []
    while len(found) < MOST_REPEATS:
        best: Repeat | None = None
        for window in _windows(across, sorted(free), near_across):
            series = _best_in(along, window, near_along, length)
            if series and (best is None or _rank(series) > _rank(best)):
                best = series
        if best is None:
            break
        found.append(best)
        free -= set(best.members)
    return found


def _rank(repeat: Repeat) -> tuple[int, float]:
    return len(repeat.members), -repeat.spread


def _windows(across: Sequence[float], points: list[int], near: float) -> list[list[int]]:
    """Points that lie beside each other across the web, every largest such set once."""
    order = sorted(points, key=lambda p: across[p])[:MOST]
    windows, stop = [], 0
    for start, point in enumerate(order):
        end = stop
        while end < len(order) and across[order[end]] - across[point] <= near:
            end += 1
        # A window inside the one before says nothing new.
        if end > stop and end - start >= FEWEST:
            windows.append(order[start:end])
        stop = max(stop, end)
    return windows


def _best_in(
    along: Sequence[float], window: list[int], near: float, length: float
) -> Repeat | None:
    points = sorted(window, key=lambda p: along[p])
    places = [along[p] for p in points]
    best: Repeat | None = None
    tried = 0
    density = len(points) / max(length, near)
    for i in range(len(points) - 1):
        for j in range(i + 1, min(len(points), i + 1 + AHEAD)):
            period = places[j] - places[i]
            # Pieces of one slanting scratch lie close to each other, too.
            if period <= SHORTEST * near:
                continue
            tried += 1
            members, slots = _walk(places, i, period, near + 0.005 * period)
            if len(members) < FEWEST or len(members) < LEAST_SHARE * slots:
                continue
            steps, spread, fitted = _fitted(places, members, period)
            chance = 1 - math.exp(-density * 2 * (near + 0.005 * period))
            # Two points choose the period; each other one had this chance.
            luck = math.comb(slots, len(members)) * chance ** (len(members) - 2)
            if luck * len(points) * AHEAD > CHANCE:
                continue
            series = Repeat(fitted, tuple(points[m] for m in members), steps + 1, spread)
            if best is None or _rank(series) > _rank(best):
                best = series
    return best


def _walk(places: list[float], start: int, period: float, near: float) -> tuple[list[int], int]:
    """Members found by stepping on from a point, and the places stepped on."""
    members, at, missed, slots, since = [start], places[start], 0, 1, 0
    while missed < 3:
        at += period
        since += 1
        k = bisect_left(places, at)
        close = [c for c in (k - 1, k) if 0 <= c < len(places) and abs(places[c] - at) <= near]
        if not close:
            missed += 1
            continue
        nearest = min(close, key=lambda c: abs(places[c] - at))
        if nearest <= members[-1]:
            missed += 1
            continue
        members.append(nearest)
        missed, slots, since = 0, slots + since, 0
        # The longer the series, the better it knows its period.
        at = places[nearest]
        period = (at - places[start]) / (slots - 1)
    return members, slots


def _fitted(places: list[float], members: list[int], period: float) -> tuple[int, float, float]:
    """Steps from first to last, spread around them, and the period, by least squares."""
    y = np.array([places[m] for m in members])
    steps = np.concatenate([[0], np.cumsum(np.maximum(1, np.rint(np.diff(y) / period)))])
    slope, offset = np.polyfit(steps, y, 1)
    spread = float(np.std(y - (slope * steps + offset)))
    return int(steps[-1]), spread, float(slope)
