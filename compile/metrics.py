"""How well scores and maps tell defects from good material.

NG is the positive class. Everything here is exact: equal scores count half, and
a threshold moves all pixels of one score together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "MAX_FPR",
    "Confusion",
    "WithinGroup",
    "aupro",
    "auroc",
    "best_f1",
    "confusion",
    "f1_at",
    "midway",
    "pixel_auroc",
    "within_group_auroc",
]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]
Ints = NDArray[np.signedinteger]

# Bergmann et al., IJCV 2021: beyond this rate a segmentation means nothing.
MAX_FPR = 0.3

# Pixels looked up at once. They are sorted first: a sorted search in 30 million
# scores took 55 ns a pixel where a random one took 920. More than 4 million at
# once gained little and would cost memory.
_CHUNK = 1 << 22


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
    return _area(np.sort(values[~bad]), values[bad])


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
        group_doubled = _doubled_concordance(np.sort(group[~group_bad]), group[group_bad])
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


def pixel_auroc(maps: Iterable[F32], masks: Iterable[Mask]) -> float:
    """Chance that an anomalous pixel scores higher than a defect-free one.

    Large defects outweigh small ones; `aupro` counts each region the same.

    Parameters
    ----------
    maps : (H, W) float32 each, images may differ in size
    masks : (H, W) bool each, True where the pixel is anomalous

    Raises
    ------
    ValueError
        If maps and masks do not fit each other, a value is not finite, or there
        is no anomalous or no defect-free pixel.
    """
    good_parts: list[F32] = []
    bad_parts: list[F32] = []
    for scores, mask in _pairs(maps, masks):
        good_parts.append(scores[~mask])
        bad_parts.append(scores[mask])
    good, bad = _joined(good_parts, "defect-free"), _joined(bad_parts, "anomalous")
    good.sort()
    return _area(good, bad)


def aupro(maps: Iterable[F32], masks: Iterable[Mask], max_fpr: float = MAX_FPR) -> float:
    """Area under the per-region overlap curve, up to a false-positive rate.

    The overlap of a region is the share of its pixels above the threshold. It is
    averaged over all 8-connected regions of all masks, drawn over the share of
    defect-free pixels above the threshold, integrated by trapezoids from 0 to
    `max_fpr` (linear in between), and divided by `max_fpr`.

    The curve is never built. It is a sum of ramps, one per anomalous pixel: each
    rises from 0 to 1 while the threshold passes the defect-free pixels of the
    same score. The areas of the ramps, averaged, are the area of the curve.

    Parameters
    ----------
    maps : (H, W) float32 each, images may differ in size
    masks : (H, W) bool each, True where the pixel is anomalous
    max_fpr : in (0, 1]

    Returns
    -------
    float in [0, 1].

    Raises
    ------
    ValueError
        As `pixel_auroc`, and if `max_fpr` is out of range.

    References
    ----------
    Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 129, 2021.
    """
    if not 0 < max_fpr <= 1:
        raise ValueError(f"max_fpr is {max_fpr}, expected 0 < max_fpr <= 1")
    good, bad, region, regions = _regions(maps, masks)
    limit = max_fpr * good.size
    covered = np.zeros(regions)
    for start in range(0, bad.size, _CHUNK):
        chunk = bad[start : start + _CHUNK]
        order = np.argsort(chunk)
        below, upto = _good_below(good, chunk[order])
        share = _ramp_area(good.size - upto, good.size - below, limit) / limit
        covered += np.bincount(
            region[start : start + _CHUNK][order], weights=share, minlength=regions
        )
    return float(np.mean(covered / np.bincount(region, minlength=regions)))


def pro_curve(
    maps: Iterable[F32], masks: Iterable[Mask], max_fpr: float = MAX_FPR, points: int = 61
) -> list[tuple[float, float]]:
    """The per-region overlap curve whose area `aupro` is, at evenly spaced rates, for drawing.

    Parameters and errors as `aupro`; (share of defect-free pixels, mean overlap) each.
    """
    good, bad, region, regions = _regions(maps, masks)
    sizes = np.bincount(region, minlength=regions)
    curve = []
    for rate in np.linspace(0, max_fpr, points):
        # So many defect-free pixels lie above.
        at = good[max(0, good.size - 1 - int(rate * good.size))]
        covered = np.bincount(region[bad > at], minlength=regions) / sizes
        curve.append((float(rate), float(covered.mean())))
    return curve


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


def _regions(maps: Iterable[F32], masks: Iterable[Mask]) -> tuple[F32, F32, NDArray[np.int32], int]:
    """Sorted defect-free pixels, anomalous ones, the region of each, and how many there are."""
    good_parts: list[F32] = []
    bad_parts: list[F32] = []
    region_parts: list[NDArray[np.int32]] = []
    regions = 0
    for scores, mask in _pairs(maps, masks):
        good_parts.append(scores[~mask])
        if not mask.any():
            continue
        bad_parts.append(scores[mask])
        found, labels = cv2.connectedComponents(
            np.ascontiguousarray(mask).view(np.uint8), connectivity=8
        )
        # Label 0 is the background.
        region_parts.append(np.asarray(labels[mask] + (regions - 1), dtype=np.int32))
        regions += found - 1
    good, bad = _joined(good_parts, "defect-free"), _joined(bad_parts, "anomalous")
    good.sort()
    return good, bad, np.concatenate(region_parts), regions


def _ramp_area(first: Ints, last: Ints, limit: float) -> F64:
    """Area, from 0 to `limit`, under ramps from 0 at `first` to 1 at `last`."""
    climbed = np.clip(limit - first, 0, last - first)
    # A step has climbed nothing: the divisor only has to be other than zero.
    slope = climbed * climbed / (2 * np.maximum(last - first, 1))
    return np.asarray(np.maximum(limit - last, 0) + slope, dtype=np.float64)


def _area(good: NDArray[np.floating], bad: NDArray[np.floating]) -> float:
    """AUROC of sorted good scores against bad ones; both non-empty."""
    return _doubled_concordance(good, bad) / (2 * good.size * bad.size)


def _doubled_concordance(good: NDArray[np.floating], bad: NDArray[np.floating]) -> int:
    """Twice the pairs in which bad scores higher, a tie counting once; good is sorted."""
    doubled = 0
    for start in range(0, bad.size, _CHUNK):
        below, upto = _good_below(good, np.sort(bad[start : start + _CHUNK]))
        doubled += int(below.sum()) + int(upto.sum())
    return doubled


def _good_below(good: NDArray[np.floating], scores: NDArray[np.floating]) -> tuple[Ints, Ints]:
    """How many of the sorted good scores lie below each score, and how many up to it."""
    return np.searchsorted(good, scores, "left"), np.searchsorted(good, scores, "right")


def midway(low: float, high: float) -> float:
    """A threshold that passes low and rejects high, half way where floats allow."""
    middle = low / 2 + high / 2
    # Between two neighbouring floats there is none; low itself still passes low.
    return middle if low <= middle < high else low


def _pairs(maps: Iterable[F32], masks: Iterable[Mask]) -> Iterator[tuple[F32, Mask]]:
    """Each map with its mask, checked."""
    for index, (scores, mask) in enumerate(zip_longest(maps, masks)):
        if scores is None or mask is None:
            missing = "map" if scores is None else "mask"
            raise ValueError(f"image {index} has no {missing}; expected one mask for each map")
        if scores.dtype != np.float32 or mask.dtype != np.bool_:
            raise ValueError(
                f"image {index}: map is {scores.dtype} and mask is {mask.dtype}, "
                "expected float32 and bool"
            )
        if scores.ndim != 2 or scores.shape != mask.shape:
            raise ValueError(
                f"image {index}: map {scores.shape} and mask {mask.shape}, expected one (H, W)"
            )
        _expect_finite(scores, f"map {index}")
        yield scores, mask


def _joined(parts: list[F32], kind: str) -> F32:
    """All pixels of one kind; empties the list, to hold them only once."""
    pixels: F32 = np.concatenate(parts or [np.empty(0, np.float32)])
    parts.clear()
    if not pixels.size:
        raise ValueError(f"no {kind} pixel in any image; add images that have some")
    return pixels


def _checked(scores: ArrayLike, positive: ArrayLike) -> tuple[F64, Mask]:
    """Scores as float64 and labels as bool, (N,) both, N >= 1, all finite."""
    values, bad = np.asarray(scores, dtype=np.float64), np.asarray(positive)
    if values.ndim != 1 or values.shape != bad.shape:
        raise ValueError(f"scores {values.shape} and positive {bad.shape}, expected one length")
    if not values.size:
        raise ValueError("no scores")
    if bad.dtype != np.bool_:
        raise ValueError(f"positive is {bad.dtype}, expected bool; compare the labels first")
    _expect_finite(values, "scores")
    return values, bad


def _expect_finite(values: NDArray[np.floating], name: str) -> None:
    broken = values.size - _count(np.isfinite(values))
    if broken:
        raise ValueError(f"{name}: {broken} of {values.size} values are not finite")


def _expect_both(bad: Mask) -> None:
    count = _count(bad)
    if count in (0, bad.size):
        raise ValueError(f"{count} of {bad.size} samples are bad, expected both good and bad ones")


def _count(flags: Mask) -> int:
    return int(np.count_nonzero(flags))
