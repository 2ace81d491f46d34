"""The metrics written from their definitions, in float64, with loops."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


def concordance(good: Sequence[float], bad: Sequence[float]) -> float:
    """Pairs in which the bad sample scores higher, a tie being half a pair."""
    found = 0.0
    for b in bad:
        for g in good:
            found += 1.0 if b > g else 0.5 if b == g else 0.0
    return found


def auroc(scores: Sequence[float], positive: Sequence[bool]) -> float:
    good = [s for s, p in zip(scores, positive, strict=True) if not p]
    bad = [s for s, p in zip(scores, positive, strict=True) if p]
    return concordance(good, bad) / (len(good) * len(bad))


def within_group_auroc(
    scores: Sequence[float], positive: Sequence[bool], groups: Sequence[object]
) -> tuple[float, float, int, int]:
    """pooled, mean, pairs, groups_used."""
    concordant, pairs = 0.0, 0
    own = []
    for name in set(groups):
        rows = [i for i, g in enumerate(groups) if g == name]
        good = [scores[i] for i in rows if not positive[i]]
        bad = [scores[i] for i in rows if positive[i]]
        if good and bad:
            own.append(concordance(good, bad) / (len(good) * len(bad)))
            concordant += concordance(good, bad)
            pairs += len(good) * len(bad)
    return concordant / pairs, sum(own) / len(own), pairs, len(own)


def confusion(
    scores: Sequence[float], positive: Sequence[bool], threshold: float | Fraction
) -> tuple[int, int, int, int]:
    """passed, false_rejects, caught, escapes."""
    passed = false_rejects = caught = escapes = 0
    for score, bad in zip(scores, positive, strict=True):
        if score <= threshold:
            escapes, passed = escapes + bad, passed + (not bad)
        else:
            caught, false_rejects = caught + bad, false_rejects + (not bad)
    return passed, false_rejects, caught, escapes


def f1(scores: Sequence[float], positive: Sequence[bool], threshold: float | Fraction) -> Fraction:
    """Harmonic mean of precision and recall, 0 where nothing is caught."""
    _, false_rejects, caught, escapes = confusion(scores, positive, threshold)
    if not caught:
        return Fraction(0)
    precision = Fraction(caught, caught + false_rejects)
    recall = Fraction(caught, caught + escapes)
    return 2 * precision * recall / (precision + recall)


def best_f1(scores: Sequence[float], positive: Sequence[bool]) -> tuple[float, float]:
    """Threshold and F1; the threshold is -inf where everything is to be rejected."""
    candidates: list[float | Fraction] = [-np.inf]
    for low, high in pairwise(sorted(set(scores))):
        # In floats the middle of two neighbours is one of them.
        candidates.append((Fraction(low) + Fraction(high)) / 2)
    candidates.append(np.inf)
    best = max(f1(scores, positive, c) for c in candidates)
    return float(min(c for c in candidates if f1(scores, positive, c) == best)), float(best)


def pixel_auroc(maps: Sequence[NDArray[np.float32]], masks: Sequence[NDArray[np.bool_]]) -> float:
    scores = [float(s) for m in maps for s in m.flat]
    return auroc(scores, [bool(p) for m in masks for p in m.flat])


def regions(mask: NDArray[np.bool_]) -> list[set[tuple[int, int]]]:
    """8-connected regions, each a set of (row, column)."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    found = []
    while left:
        front = [left.pop()]
        region = set(front)
        while front:
            y, x = front.pop()
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            region |= near
            front.extend(near)
        found.append(region)
    return found


def pro_curve(
    maps: Sequence[NDArray[np.float32]], masks: Sequence[NDArray[np.bool_]]
) -> list[tuple[float, float]]:
    """(false-positive rate, mean region overlap) at every threshold, from (0, 0) to (1, 1)."""
    good = [float(s) for m, k in zip(maps, masks, strict=True) for s in m[~k]]
    overlaps = [
        [float(m[p]) for p in region]
        for m, k in zip(maps, masks, strict=True)
        for region in regions(k)
    ]
    curve = []
    for threshold in [np.inf, *sorted({float(s) for m in maps for s in m.flat}, reverse=True)]:
        false_positives = sum(s >= threshold for s in good)
        shares = [sum(s >= threshold for s in r) / len(r) for r in overlaps]
        curve.append((false_positives / len(good), sum(shares) / len(shares)))
    return curve


def aupro(
    maps: Sequence[NDArray[np.float32]],
    masks: Sequence[NDArray[np.bool_]],
    max_fpr: float = 0.3,
) -> float:
    curve = pro_curve(maps, masks)
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(curve):
        if x0 >= max_fpr:
            break
        if x1 > max_fpr:
            y1 = y0 + (y1 - y0) * (max_fpr - x0) / (x1 - x0)
            x1 = max_fpr
        area += (x1 - x0) * (y0 + y1) / 2
    return area / max_fpr
