"""Defects that come back at equal spacing: a damaged roller leaves its circumference."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Repeat", "Search", "find_repeats"]

F64 = NDArray[np.float64]
Ints = NDArray[np.intp]

# Fewer are no proof: two always have a spacing, three often have.
FEWEST = 4
# Share of the expected places where one must be, between the first and the last.
LEAST_SHARE = 0.6
# How often chance alone may show such a series in one roll.
CHANCE = 0.01
# Neighbours ahead whose distance is tried as a period.
AHEAD = 6
# Places without a defect after which a series has ended.
MOST_MISSED = 3
# A point may be off its place by this share of the period: rollers slip, webs stretch.
STRETCH = 0.005
# A tolerance takes no more than twice this share of a period, or every place is hit.
WIDEST_SHARE = 1 / 8
# No period is shorter than this many times how exactly a point's place is known.
SHORTEST = 4
# A found period over this and all below it are tried, too: a multiple must not win.
MOST_PARTS = 8
# Steps along all candidates together, 1 µs each, and in one strip at least.
MOST_STEPS, LEAST_STEPS = 500_000, 2_000
MOST_REPEATS = 8
MOST_SERIES = 32


@dataclass(frozen=True, slots=True)
class Repeat:
    """Defects at equal spacing along the web, with one cause.

    period    in the unit of the positions
    members   numbers of the points, along the web
    places    where one was expected between the first and the last, them included
    spread    standard deviation of the points around their places
    marks     series of this period: places on one roller that are damaged
    """

    period: float
    members: tuple[int, ...]
    places: int
    spread: float
    marks: int = 1


@dataclass(frozen=True, slots=True)
class Search:
    """What was found, and how much of it was looked at.

    repeats  the surest first; a point is in one at most
    left     distances between two points that looked like a period, but were not followed:
             there were too many
    """

    repeats: tuple[Repeat, ...]
    left: int = 0


@dataclass(frozen=True, slots=True)
class _Series:
    """One damaged place.

    period, offset  its points lie at `offset + period · step`
    members         their numbers, along the web; `own`: the same within their strip
    sure            see `_evidence`
    """

    period: float
    offset: float
    members: tuple[int, ...]
    own: frozenset[int]
    places: int
    spread: float
    sure: float


def find_repeats(
    along: Sequence[float] | F64,
    across: Sequence[float] | F64,
    *,
    near_along: float,
    near_across: float,
    finest: float,
) -> Search:
    """Points at equal spacing.

    Every strip across the web is searched, each with the same share of the time;
    what that leaves out is counted.

    Parameters
    ----------
    along, across
        Positions of the points, in one unit.
    near_along
        How far a point may be from its place; 0.5 % of the period is allowed too.
    near_across
        Points twice as far apart across the web have different causes.
    finest
        How exactly the place of a point is known along the web.
    """
    if len(along) < FEWEST:
        return Search(())
    y = np.asarray(along, np.float64)
    strips = _strips(np.asarray(across, np.float64), near_across)
    ruler = _Ruler(near_along, finest, y, max(LEAST_STEPS, MOST_STEPS // max(1, len(strips))))
    searched = [ruler.best(strip) for strip in strips]
    free = np.ones(len(y), np.bool_)
    series: list[_Series] = []
    while len(series) < MOST_SERIES:
        found = max((s for s, _ in searched if s), key=lambda s: s.sure, default=None)
        if found is None:
            break
        series.append(found)
        taken = np.array(found.members)
        free[taken] = False
        for k, strip in enumerate(strips):
            if searched[k][0] is not None and np.isin(strip, taken).any():
                searched[k] = ruler.best(strip[free[strip]])
    return Search(tuple(_by_cause(series, ruler)[:MOST_REPEATS]), sum(left for _, left in searched))


def _strips(across: F64, near: float) -> list[Ints]:
    """Points that lie beside each other: strips twice `near` wide, each over half of the next."""
    cell = np.floor((across - across.min()) / near).astype(np.intp)
    order = np.argsort(cell, kind="stable")
    starts = np.searchsorted(cell[order], np.arange(-1, cell.max() + 2))
    strips = [order[starts[k] : starts[k + 2]] for k in range(len(starts) - 2)]
    return [strip for strip in strips if len(strip) >= FEWEST]


class _Ruler:
    """Lays candidates for a period along the points of a strip.

    y      (n,) places of all points along the web
    steps  along the candidates of one strip; after so many no other is followed
    """

    def __init__(self, near: float, finest: float, y: F64, steps: int) -> None:
        self._near, self._finest, self._steps = near, finest, steps
        self.y = y
        self._length = max(float(np.ptp(y)), near)
        # So many distances are tried, at two tolerances.
        trials = 2 * len(y) * min(AHEAD, (len(y) - 1) / 2)
        self._least_sure = math.log(trials) - math.log(CHANCE)

    def tolerances(self, period: float) -> tuple[float, ...]:
        """How far from its place a point may be: as near as places are known, and as ever."""
        widest = max(self._finest, min(self._near, WIDEST_SHARE * period))
        return tuple(t + STRETCH * period for t in dict.fromkeys((self._finest, widest)))

    def best(self, strip: Ints) -> tuple[_Series | None, int]:
        """The surest series among some points, None if chance could have made them all.

        And how many candidates were not followed.
        """
        if len(strip) < FEWEST:
            return None, 0
        strip = strip[np.argsort(self.y[strip], kind="stable")]
        places: list[float] = self.y[strip].tolist()
        candidates, steps = self._candidates(self.y[strip]), 0
        best: _Series | None = None
        for tried, (start, period) in enumerate(candidates):
            if steps > self._steps:
                return self._finest_of(best, places, strip), len(candidates) - tried
            if best and start in best.own and abs(period - best.period) <= STRETCH * period:
                continue
            found, walked = self._followed(places, start, period, strip)
            steps += walked
            if found is not None and (best is None or found.sure > best.sure):
                best = found
        return self._finest_of(best, places, strip), 0

    def _finest_of(self, best: _Series | None, places: list[float], strip: Ints) -> _Series | None:
        """The series, or a surer one at a part of its period: noise may have hidden that."""
        if best is None:
            return None
        (start,) = np.flatnonzero(strip == best.members[0])
        finer = [
            self._followed(places, int(start), best.period / parts, strip)[0]
            for parts in range(2, MOST_PARTS + 1)
            if best.period / parts >= SHORTEST * self._finest
        ]
        return max([best, *(s for s in finer if s)], key=lambda s: s.sure)

    def _candidates(self, y: F64) -> list[tuple[int, float]]:
        """(point, distance to one ahead) wherever more points lie at that distance.

        In an order that leaves out no part of the web, whenever one stops.
        """
        ahead = np.arange(1, min(AHEAD, len(y) - 1) + 1)
        starts, steps = (a.ravel() for a in np.meshgrid(np.arange(len(y)), ahead, indexing="ij"))
        inside = starts + steps < len(y)
        starts, steps = starts[inside], steps[inside]
        period = y[starts + steps] - y[starts]
        long = period >= SHORTEST * self._finest
        starts, period = starts[long], period[long]
        widest = np.maximum(self._finest, np.minimum(self._near, WIDEST_SHARE * period))
        widest += STRETCH * period
        hits = np.full(len(starts), 2)
        # A series fills most of its places, so near some pair of neighbours lie two more.
        for k in (-4, -3, -2, -1, 2, 3, 4, 5):
            at = y[starts] + k * period
            right = np.minimum(np.searchsorted(y, at), len(y) - 1)
            off = np.minimum(np.abs(y[right] - at), np.abs(y[np.maximum(right - 1, 0)] - at))
            hits += off <= widest * max(1, abs(k) - 1)
        good = np.random.default_rng(0).permutation(np.flatnonzero(hits >= FEWEST))
        return list(zip(starts[good].tolist(), period[good].tolist(), strict=True))

    def _followed(
        self, places: list[float], start: int, period: float, strip: Ints
    ) -> tuple[_Series | None, int]:
        """The series through a point, and how many steps that took.

        None if it is too short, too sparse or could be chance.
        """
        best: _Series | None = None
        density, walked = len(places) / self._length, 0
        for near in self.tolerances(period):
            members, steps = _walk(places, start, period, near)
            slots = steps[-1] - steps[0] + 1
            walked += slots + 2 * MOST_MISSED
            if len(members) < FEWEST or len(members) < LEAST_SHARE * slots:
                continue
            sure = _evidence(len(members), slots, 1 - math.exp(-density * 2 * near))
            if sure < self._least_sure or (best and sure <= best.sure):
                continue
            best = _fitted(np.array(places)[members], steps, members, strip, sure)
        return best, walked


def _fitted(y: F64, steps: list[int], members: list[int], strip: Ints, sure: float) -> _Series:
    """The series of some points of a strip, by least squares."""
    slope, offset = (float(v) for v in np.polyfit(steps, y, 1))
    spread = float(np.std(y - (slope * np.array(steps) + offset)))
    numbers = tuple(strip[members].tolist())
    slots = steps[-1] - steps[0] + 1
    return _Series(slope, offset, numbers, frozenset(members), slots, spread, sure)


def _evidence(members: int, slots: int, chance: float) -> float:
    """How unlikely chance alone is, as -log of a bound on its probability.

    The bound is Chernoff's on a binomial tail. Two points choose the period;
    each other place had this chance.
    """
    n, m = slots - 2, members - 2
    share = m / n
    if share <= chance:
        return 0.0
    missed = (1 - share) * math.log((1 - share) / (1 - chance)) if m < n else 0.0
    return n * (share * math.log(share / chance) + missed)


def _walk(
    places: list[float], start: int, period: float, near: float
) -> tuple[list[int], list[int]]:
    """Points found by stepping both ways from one, along the web, and their step numbers."""
    ahead, forth = _stepped(places, start, period, near, 1)
    if len(ahead) > 1:
        period = abs(places[ahead[-1]] - places[start]) / forth[-1]
    behind, back = _stepped(places, start, period, near, -1)
    return behind[:0:-1] + ahead, [-s for s in back[:0:-1]] + forth


def _stepped(
    places: list[float], start: int, period: float, near: float, way: int
) -> tuple[list[int], list[int]]:
    members, steps, missed = [start], [0], 0
    at, step = places[start], 0
    while missed < MOST_MISSED:
        step += 1
        at += way * period
        k = bisect_left(places, at)
        close = [c for c in (k - 1, k) if 0 <= c < len(places) and abs(places[c] - at) <= near]
        nearest = min(close, key=lambda c: abs(places[c] - at), default=members[-1])
        if (nearest - members[-1]) * way <= 0:
            missed += 1
            continue
        members.append(nearest)
        steps.append(step)
        missed = 0
        # The longer the series, the better it knows its period.
        at = places[nearest]
        period = abs(at - places[start]) / step
    return members, steps


def _by_cause(series: list[_Series], ruler: _Ruler) -> list[Repeat]:
    """One repeat for each roller: series of one period are places damaged on the same."""
    causes: list[list[_Series]] = []
    for one in series:
        for cause in causes:
            if _same_cause(cause, one, ruler):
                cause.append(one)
                break
        else:
            causes.append([one])
    return [_repeat(cause, ruler.y) for cause in causes]


def _same_cause(cause: list[_Series], one: _Series, ruler: _Ruler) -> bool:
    period = cause[0].period
    times = max(1, round(one.period / period))
    # A period a hundred times as long is a multiple of anything, within what it may stretch.
    if times > MOST_PARTS or abs(one.period / times - period) > STRETCH * period:
        return False
    # Every second place of a series is the same damage, found in two pieces now and then.
    return times == 1 or any(_on(other, one, ruler) for other in cause)


def _on(other: _Series, one: _Series, ruler: _Ruler) -> bool:
    """Whether a series lies on the places of another."""
    off = (one.offset - other.offset) / other.period
    near = ruler.tolerances(other.period)[-1]
    return abs(off - round(off)) * other.period <= near


def _repeat(cause: list[_Series], along: F64) -> Repeat:
    members = sorted((m for one in cause for m in one.members), key=lambda m: along[m])
    return Repeat(
        period=cause[0].period,
        members=tuple(members),
        places=sum(one.places for one in cause),
        spread=max(one.spread for one in cause),
        marks=len(cause),
    )
