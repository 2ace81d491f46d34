"""From the good images' scores to a threshold that keeps its promise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Point",
    "below_95",
    "design_effect",
    "deviations_beyond",
    "odd_ones",
    "operating_point",
    "proportion_95",
    "rejection_bounds",
    "scores_needed",
]

F64 = NDArray[np.float64]
Rule = Literal["conformal", "gumbel"]

CONFIDENCE = 0.95
EULER = 0.5772156649015329
# Chance that among good images, whose scores a Gumbel distribution describes, even one
# is called odd.
ODD_CHANCE = 0.01
# The quantiles by which the spread of all but the odd ones is told: up to a fifth of the
# images may be odd without hiding each other.
MIDDLE, UPPER = 0.5, 0.8
# More than these are exceptions only where a tail longer than Gumbel's does not explain so many,
# give or take so many deviations of a count: else it is the material whose scores reach so far. Of
# magnetic tiles by metric learning 101 of 762 were called odd, and 29 of 190 others rejected.
FEW_ODD, ODD_SHARE = 1, 0.02
SURPRISE = 2.0
# Below this multiple of the median no one would see why.
ODD_TIMES = 1.15
# Up to so many images the highest is also compared with all others together: of a few, no
# quantile tells the spread. Seen on 14 strips: one at 3.0, the others at 1.1 to 1.8; on 121
# magnetic tiles: one with a ring drawn on it, six times photographed, set the threshold.
# At most one is called odd by that, and a person looks at it: twice the chance is bearable.
# Of more than so many, one more or less moves no threshold.
FEW = 300
ALONE_CHANCE = 0.02
# A part with more of all images than this is no exception.
PART_SHARE = 0.05
# Of fewer others there is no spread to speak of.
FEWEST = 8
# Rates at which the bound of extrapolated thresholds is told, besides the promised one.
RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
# Simulated sets of images behind the bound of an extrapolated threshold.
TRIALS = 2000


@dataclass(frozen=True, slots=True)
class Point:
    """A threshold, and what it can promise.

    threshold      scores above it are rejected
    false_rejects  the share of good images that is meant to be rejected
    rule           "conformal": the k-th smallest score of n, k = ⌈(n + 1)(1 − share)⌉, which
                   rejects no more than that share on average, whatever the scores'
                   distribution; "gumbel": fewer images than that needs, so the scores'
                   tail was extrapolated
    at_most        with 95 % confidence the share that is really rejected is below this
    count          scores it rests on
    """

    threshold: float
    false_rejects: float
    rule: Rule
    at_most: float
    count: int


def operating_point(scores: Sequence[float], parts: Sequence[str], false_rejects: float) -> Point:
    """The threshold that rejects so many good images.

    Parameters
    ----------
    scores
        Of good images, each judged without its own part; odd ones left out.
    parts
        The part of each: scores of one part are alike, and say less than as many parts.
    false_rejects
        Share of good images, between 0 and 1.

    References
    ----------
    Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005 (conformal
    quantile); Vovk, Conditional validity of inductive conformal predictors, 2012 (its bound).
    """
    values = np.sort(np.asarray(scores, np.float64))
    n = len(values)
    # As many independent ones.
    worth = max(2.0, n / design_effect(scores, parts))
    rank = math.ceil(round((n + 1) * (1 - false_rejects), 9))
    if rank <= n:
        # (n + 1 - rank) of (n + 1) lie above on average.
        over = (n - rank) * worth / n
        at_most = below_95(over, worth)
        return Point(float(values[rank - 1]), false_rejects, "conformal", at_most, n)
    place, scale = _gumbel(values)
    # Never below what was seen: a rate that the count allows would reject more otherwise.
    threshold = max(float(place + scale * _standard(false_rejects)), float(values[-1]))
    at_most = _gumbel_95(max(2, round(worth)), false_rejects)
    return Point(threshold, false_rejects, "gumbel", at_most, n)


def rejection_bounds(
    scores: Sequence[float], parts: Sequence[str], promised: float
) -> dict[str, Any]:
    """What whoever moves a threshold must know to say how many good ones it rejects at most.

    worth         how many independent scores these are worth: what is counted is counted of so many
    extrapolated  thresholds that the scores' tail tells of, and what each rejects at most:
                  counting says of no threshold above all scores that it rejects fewer than another
    """
    points = (operating_point(scores, parts, rate) for rate in sorted({*RATES, promised}))
    return {
        "worth": max(2.0, len(scores) / design_effect(scores, parts)),
        "extrapolated": [(one.threshold, one.at_most) for one in points if one.rule == "gumbel"],
    }


def scores_needed(false_rejects: float) -> int:
    """Good scores from which on a rate of false rejects needs no extrapolation."""
    return math.ceil(round(1 / false_rejects - 1, 9))


def deviations_beyond(share: float) -> float:
    """Deviations from the mean that such a share of a Gumbel distribution exceeds."""
    return (_standard(share) - EULER) * math.sqrt(6) / math.pi


def odd_ones(scores: Sequence[float], parts: Sequence[str]) -> list[int]:
    """Numbers of the scores that do not belong to the others, the highest first.

    The others' spread is told from their median and their 80th percentile, which a few odd
    ones do not move, and a Gumbel distribution says how far the highest of so many reach.
    Photographs of one part are also looked at together, by their median among those of the
    other parts: six of one odd part vouch for each other. Where many reach far, and a longer tail
    than Gumbel's explains them, they belong to it.

    Parameters
    ----------
    scores
        Of good images, each judged without its own part.
    parts
        The part of each.
    """
    values = np.asarray(scores, np.float64)
    found = set(_far(values))
    _, number = np.unique(np.asarray(parts, dtype=object).astype(str), return_inverse=True)
    order = np.argsort(number, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(number[order])) + 1)
    for part in _far(np.array([np.median(values[own]) for own in members])):
        if len(members[part]) <= PART_SHARE * len(values):
            found.update(members[part])
    return sorted((int(one) for one in found), key=lambda one: (-values[one], one))


def _far(values: F64) -> list[int]:
    """Numbers of the values that are too high to be neighbours of the others."""
    middle, upper = (float(q) for q in np.quantile(values, (MIDDLE, UPPER)))
    scale = _scale(middle, upper)
    reach = middle + scale * (_standard(ODD_CHANCE / len(values)) - _standard(1 - MIDDLE))
    limit = max(reach, ODD_TIMES * middle)
    found = np.flatnonzero(values > limit)
    many = len(found) > max(FEW_ODD, ODD_SHARE * len(values))
    if many and 0 < middle < upper:
        # Where the scores' logarithms are Gumbel's, their tail is Fréchet's.
        steps = math.log(limit / middle) / _scale(math.log(middle), math.log(upper))
        beyond = -math.expm1(-math.exp(-steps - _standard(1 - MIDDLE)))
        expected = len(values) * beyond
        if len(found) <= expected + SURPRISE * math.sqrt(expected):
            return []
    if not len(found) and _stands_alone(values):
        found = np.array([values.argmax()])
    return [int(number) for number in found]


def _scale(middle: float, upper: float) -> float:
    """Of a Gumbel distribution with these quantiles `MIDDLE` and `UPPER`."""
    return (upper - middle) / (_standard(1 - UPPER) - _standard(1 - MIDDLE))


def _stands_alone(values: F64) -> bool:
    """Whether the highest of few scores is no neighbour of the others.

    Told from its distance to the others' mean in their deviations, as Grubbs does, against
    what it is for so many draws from a Gumbel distribution.
    """
    n = len(values)
    if not FEWEST <= n <= FEW:
        return False
    others = np.delete(values, values.argmax())
    spread = float(others.std(ddof=1))
    apart = float(values.max() - others.mean())
    seen = apart > ODD_TIMES * float(np.median(values)) - float(others.mean())
    return seen and apart > _alone_beyond(n) * spread


@lru_cache
def _alone_beyond(count: int) -> float:
    """The deviations from the others' mean that the highest of so many seldom exceeds."""
    draws = np.sort(np.random.default_rng(0).gumbel(size=(10 * TRIALS, count)), axis=1)
    others = draws[:, :-1]
    apart = (draws[:, -1] - others.mean(axis=1)) / others.std(axis=1, ddof=1)
    return float(np.quantile(apart, 1 - ALONE_CHANCE))


def design_effect(scores: Sequence[float], parts: Sequence[str]) -> float:
    """How many scores say as much as one that is independent of all others; at least 1.

    1 + (m − 1) ρ, with m the usual number of images of a part and ρ the share of the
    scores' variance that lies between parts.

    References
    ----------
    Kish, Survey Sampling, 1965, section 8.2; ρ from one-way analysis of variance.
    """
    values = np.asarray(scores, np.float64)
    _, number = np.unique(np.asarray(parts, dtype=object).astype(str), return_inverse=True)
    sizes = np.bincount(number).astype(np.float64)
    n, groups = len(values), len(sizes)
    if groups < 2 or groups == n:
        return 1.0
    means = np.bincount(number, values) / sizes
    between = float((sizes * (means - values.mean()) ** 2).sum()) / (groups - 1)
    within = float(((values - means[number]) ** 2).sum()) / (n - groups)
    usual = (n - float((sizes**2).sum()) / n) / (groups - 1)
    whole = between + (usual - 1) * within
    shared = max(0.0, (between - within) / whole) if whole > 0 else 0.0
    return max(1.0, 1 + (usual - 1) * shared)


def below_95(found: float, count: float) -> float:
    """The share that `found` of `count` stay below with 95 % confidence (Clopper and Pearson)."""
    return _beta_quantile(CONFIDENCE, found + 1, max(count - found, 1e-9))


def proportion_95(found: int, count: int) -> tuple[float, float]:
    """Between which shares `found` of `count` lies, with 95 % confidence on both sides."""
    tail = (1 - CONFIDENCE) / 2
    low = 0.0 if not found else _beta_quantile(tail, found, count - found + 1)
    high = 1.0 if found == count else _beta_quantile(1 - tail, found + 1, count - found)
    return low, high


def _standard(above: float) -> float:
    """What a standard Gumbel variable exceeds with this chance."""
    return -math.log(-math.log1p(-above)) if above < 1 else -math.inf


def _gumbel(values: F64) -> tuple[F64, F64]:
    """Location and scale of each (..., n) sorted scores, by L-moments.

    They heed single high scores less than moments do. Drawn from the scores of good images
    of five materials, 14 to 80 at a time, thresholds for 1 % spread less and rejected 2.4 %,
    1.5 % and 0.9 % of the others on average; by moments 2.7 %, 1.6 % and 0.9 %.

    References
    ----------
    Hosking, L-moments, JRSS B 1990, table 2.
    """
    n = values.shape[-1]
    mean = values.mean(axis=-1)
    if n < 2:
        return mean, np.zeros_like(mean)
    weighted = (values * np.arange(n)).sum(axis=-1) / (n * (n - 1))
    scale = (2 * weighted - mean) / math.log(2)
    return mean - EULER * scale, scale


@lru_cache
def _gumbel_95(count: int, false_rejects: float) -> float:
    """What a threshold extrapolated from so many scores really rejects, at most, in 95 of 100.

    Where the scores come from a Gumbel distribution: simulated, because neither its place
    nor its scale matters.
    """
    draws = np.sort(np.random.default_rng(0).gumbel(size=(TRIALS, count)), axis=1)
    place, scale = _gumbel(draws)
    threshold = place + scale * _standard(false_rejects)
    return float(np.quantile(-np.expm1(-np.exp(-threshold)), CONFIDENCE))


@lru_cache(maxsize=4096)
def _beta_quantile(chance: float, a: float, b: float) -> float:
    """Where the Beta distribution with a and b reaches `chance`."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _beta_below(middle, a, b) < chance else (low, middle)
    return (low + high) / 2


def _beta_below(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by its continued fraction.

    References
    ----------
    NIST Digital Library of Mathematical Functions, 8.17.22, evaluated as by Lentz 1976.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_below(1 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    tiny = 1e-300
    value, c, d = 1.0, 1.0, 0.0
    for step in range(400):
        m = step // 2
        if step == 0:
            term = 1.0
        elif step % 2 == 0:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 + term * d
        d = 1 / (d if abs(d) > tiny else tiny)
        c = 1 + term / (c if abs(c) > tiny else tiny)
        value *= c * d
        if abs(1 - c * d) < 1e-12:
            break
    return front * (value - 1) / a
