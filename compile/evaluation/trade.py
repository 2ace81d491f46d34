"""What is found for how many false rejects: the trade that a threshold makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

from kenpin.runtime.bundles.manifest import GoodScore, TwinScores
from kenpin.runtime.bundles.operating_point import Point, operating_point, proportion_95

__all__ = [
    "FALSE_REJECTS",
    "Row",
    "ShareFound",
    "detection_limits",
    "each",
    "found",
    "operating_table",
]

Key = TypeVar("Key", str, tuple[str, int, int])

# Shares of good images that may be rejected, as people ask for them.
FALSE_REJECTS = (0.001, 0.005, 0.01, 0.02, 0.05)
# A size is found from that contrast on, from which so many twins are.
FOUND_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class ShareFound:
    """How many of some defects score above a threshold.

    low, high  between which shares that is, with 95 % confidence
    """

    found: int
    count: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """Of all."""
        return self.found / self.count

    def __str__(self) -> str:
        return f"{self.found} of {self.count}"

    def tree(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "share": round(self.share, 4)}

    @classmethod
    def of(cls, scores: Sequence[float], threshold: float) -> ShareFound:
        """Of some scores; at least one."""
        above = int(np.count_nonzero(np.asarray(scores) > threshold))
        return cls(above, len(scores), *proportion_95(above, len(scores)))


@dataclass(frozen=True, slots=True)
class Row:
    """One threshold of the trade: what it rejects of good images, and what it finds.

    twins   of each kind of twin, all sizes and contrasts together
    strengths  of each kind and contrast, by "kind contrast"
    ng      of the images in `images.ng`, or of a labelled set; None without any
    good    of a labelled set the good images that are rejected; None without one
    """

    point: Point
    twins: dict[str, ShareFound]
    strengths: dict[str, ShareFound]
    ng: ShareFound | None
    good: ShareFound | None = None

    def tree(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def operating_table(
    good: Sequence[GoodScore],
    twins: Sequence[TwinScores],
    ng: Sequence[float],
    labelled: Sequence[float] = (),
) -> list[Row]:
    """The trade at the usual rates of false rejects.

    Parameters
    ----------
    good
        What thresholds rest on; odd ones do not count.
    ng, labelled
        Scores of labelled NG and good images; none of either is allowed.
    """
    typical = [one for one in good if not one.odd]
    rows = []
    for rate in FALSE_REJECTS:
        point = operating_point([one.score for one in typical], [one.part for one in typical], rate)
        rows.append(
            Row(
                point,
                found(twins, point.threshold, _kind),
                found(twins, point.threshold, _strength),
                ShareFound.of(ng, point.threshold) if ng else None,
                ShareFound.of(labelled, point.threshold) if labelled else None,
            )
        )
    return rows


def found(
    twins: Sequence[TwinScores], threshold: float, key: Callable[[TwinScores], Key]
) -> dict[Key, ShareFound]:
    """How many twins are found, by what `key` says of them."""
    groups: dict[Key, list[float]] = {}
    for twin in twins:
        groups.setdefault(key(twin), []).extend(twin.scores)
    return {name: ShareFound.of(scores, threshold) for name, scores in groups.items()}


def each(twin: TwinScores) -> tuple[str, int, int]:
    """Key for `found`: kind, size and contrast."""
    return twin.kind, twin.size_px, twin.contrast


def _kind(twin: TwinScores) -> str:
    return twin.kind


def _strength(twin: TwinScores) -> str:
    return f"{twin.kind} {twin.contrast}"


def detection_limits(
    twins: Sequence[TwinScores], threshold: float
) -> dict[tuple[str, int], int | None]:
    """The faintest contrast of each kind and size that is found, None if none is.

    From that contrast on, at least `FOUND_SHARE` of the twins are found.
    """
    shares: dict[tuple[str, int], list[tuple[int, float]]] = {}
    for twin in twins:
        share = ShareFound.of(twin.scores, threshold).share
        shares.setdefault((twin.kind, twin.size_px), []).append((twin.contrast, share))
    limits: dict[tuple[str, int], int | None] = {}
    for which, pairs in shares.items():
        limits[which] = None
        for contrast, share in sorted(pairs, reverse=True):
            if share < FOUND_SHARE:
                break
            limits[which] = contrast
    return limits
