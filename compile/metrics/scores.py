"""How well scores tell defects from good material.

NG is the positive class. Everything here is exact: equal scores count half.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from kenpin.compile.metrics.ranks import F64, Mask, area, doubled_concordance, expect_finite

__all__ = [
    "Confusion",
    "WithinGroup",
    "auroc",
    "best_f1",
    "confusion",
    "f1_at",
    "midway",
    "roc_curve",
    "within_group_auroc",
]


@dataclass(frozen=True, slots=True)
class Confusion:
    """How many of each kind a threshold passes and rejects.

    passed         good and passed
    false_rejects  good and rejected
    caught         bad and rejected
    escapes        bad and passed
    """

    passed: int
    false_rejects: int
    caught: int
    escapes: int


@dataclass(frozen=True, slots=True)
class WithinGroup:
    """AUROC over pairs of one group only.

    pooled       concordant pairs / pairs, over all groups; a tie is half a pair
    mean         mean of the groups' own AUROC, each group counting the same
    pairs        pairs of one good and one bad sample of the same group
    groups_used  groups that have such a pair
    """

    pooled: float
    mean: float
    pairs: int
    groups_used: int


def auroc(scores: ArrayLike, positive: ArrayLike) -> float:
    """Chance that a bad sample scores higher than a good one, ties counting half.

    Parameters
    ----------
    scores : (N,) finite numbers
    positive : (N,) bool
        True where the sample is bad.

    Returns
    -------
    float in [0, 1]; pairs are counted in integers, so it is correctly rounded.

    Raises
    ------
    ValueError
        If the lengths differ, a score is not finite, or a class is empty.

    References
    ----------
    Mann and Whitney, Ann. Math. Statist. 18, 1947; Fawcett, An introduction to
    ROC analysis, Pattern Recognition Letters 27, 2006.
    """
    values, bad = _checked(scores, positive)
    _expect_both(bad)
    return area(np.sort(values[~bad]), values[bad])


def within_group_auroc(scores: ArrayLike, positive: ArrayLike, groups: ArrayLike) -> WithinGroup:
    """AUROC that compares a bad sample only with good ones of its own group.

    A group is what shares its light and its material: a strip, a part, a roll.
    A plain AUROC is flattered by groups that differ as a whole.

    Parameters
    ----------
    scores : (N,) finite numbers
    positive : (N,) bool
        True where the sample is bad.
    groups : (N,) names or numbers

    Raises
    ------
    ValueError
        As `auroc`, and if no group has both a good and a bad sample.
    """
    values, bad = _checked(scores, positive)
    names = np.asarray(groups)
    if names.shape != values.shape:
        raise ValueError(f"groups {names.shape} do not fit scores {values.shape}")
    _, member, sizes = np.unique(names, return_inverse=True, return_counts=True)
    doubled, pairs = 0, 0
    own: list[float] = []
    for rows in np.split(np.argsort(member, kind="stable"), np.cumsum(sizes)[:-1]):
        group, group_bad = values[rows], bad[rows]
        group_pairs = _count(group_bad) * _count(~group_bad)
        if not group_pairs:
            continue
        group_doubled = doubled_concordance(np.sort(group[~group_bad]), group[group_bad])
        own.append(group_doubled / (2 * group_pairs))
        doubled += group_doubled
        pairs += group_pairs
    if not own:
        raise ValueError(
            f"none of {sizes.size} groups has both a good and a bad sample; "
            "use larger groups, or auroc over all samples"
        )
    return WithinGroup(doubled / (2 * pairs), math.fsum(own) / len(own), pairs, len(own))


def confusion(scores: ArrayLike, positive: ArrayLike, threshold: float) -> Confusion:
    """What a threshold does to every sample: OK if score <= threshold, else NG.

    Raises
    ------
    ValueError
        If there are no samples, lengths differ, a score is not finite, or the
        threshold is NaN, which would pass everything.
    """
    values, bad = _checked(scores, positive)
    if math.isnan(threshold):
        raise ValueError("threshold is NaN, expected a number")
    rejected = values > threshold
    return Confusion(
        passed=_count(~bad & ~rejected),
        false_rejects=_count(~bad & rejected),
        caught=_count(bad & rejected),
        escapes=_count(bad & ~rejected),
    )


def f1_at(scores: ArrayLike, positive: ArrayLike, threshold: float) -> float:
    """F1 of rejecting all scores above the threshold, in [0, 1].

    Raises
    ------
    ValueError
        As `confusion`, and if no sample is bad.
    """
    count = confusion(scores, positive, threshold)
    if not count.caught + count.escapes:
        raise ValueError("no bad sample, and F1 asks how many are caught; add NG samples")
    return 2 * count.caught / (2 * count.caught + count.false_rejects + count.escapes)


def best_f1(scores: ArrayLike, positive: ArrayLike) -> tuple[float, float]:
    """The threshold with the largest F1, and that F1.

    Candidates lie midway between neighbouring distinct scores, so that none is
    glued to a sample. One more lies below all scores and rejects everything:
    half the lowest score where that is positive, as a distance is. Passing
    everything has F1 = 0 and never wins. Of equal F1 the lowest threshold is
    taken: it has the fewest escapes.

    Returns
    -------
    threshold : float, in the scores' own unit
    f1 : float in (0, 1]

    Raises
    ------
    ValueError
        As `auroc`.
    """
    values, bad = _checked(scores, positive)
    _expect_both(bad)
    distinct, level = np.unique(values, return_inverse=True)
    # Counts at or above each distinct score: what a threshold just below rejects.
    rejected = np.cumsum(np.bincount(level)[::-1])[::-1]
    caught = np.cumsum(np.bincount(level, weights=bad)[::-1])[::-1]
    # Two equal fractions divide to equal floats, so the first maximum is the lowest.
    f1 = 2 * caught / (rejected + _count(bad))
    best = int(np.argmax(f1))
    lowest_rejected = float(distinct[best])
    if best:
        threshold = midway(float(distinct[best - 1]), lowest_rejected)
    else:
        threshold = lowest_rejected / 2 if lowest_rejected > 0 else 2 * lowest_rejected - 1
    return threshold, float(f1[best])


def roc_curve(scores: ArrayLike, positive: ArrayLike) -> list[tuple[float, float]]:
    """(share of good, share of bad) samples above each distinct score, from (0, 0) to (1, 1).

    Raises
    ------
    ValueError
        As `auroc`.
    """
    values, bad = _checked(scores, positive)
    _expect_both(bad)
    levels = np.unique(values)[::-1]
    shares = [
        1 - np.searchsorted(np.sort(own), levels, "right") / own.size
        for own in (values[~bad], values[bad])
    ]
    pairs = zip(*(share.tolist() for share in shares), strict=True)
    return [*pairs, (1.0, 1.0)]


def midway(low: float, high: float) -> float:
    """A threshold that passes low and rejects high, half way where floats allow."""
    middle = low / 2 + high / 2
    # Between two neighbouring floats there is none; low itself still passes low.
    return middle if low <= middle < high else low


def _checked(scores: ArrayLike, positive: ArrayLike) -> tuple[F64, Mask]:
    """Scores as float64 and labels as bool, (N,) both, N >= 1, all finite."""
    values, bad = np.asarray(scores, dtype=np.float64), np.asarray(positive)
    if values.ndim != 1 or values.shape != bad.shape:
        raise ValueError(f"scores {values.shape} and positive {bad.shape}, expected one length")
    if not values.size:
        raise ValueError("no scores")
    if bad.dtype != np.bool_:
        raise ValueError(f"positive is {bad.dtype}, expected bool; compare the labels first")
    expect_finite(values, "scores")
    return values, bad


def _expect_both(bad: Mask) -> None:
    count = _count(bad)
    if count in (0, bad.size):
        raise ValueError(f"{count} of {bad.size} samples are bad, expected both good and bad ones")


def _count(flags: Mask) -> int:
    return int(np.count_nonzero(flags))
