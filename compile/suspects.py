"""Images that do not look like the others: an NG photograph among the good."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from kenpin.compile.images import FeatureReader
from kenpin.compile.padim import GaussianSums
from kenpin.runtime.judging.distance import mahalanobis

__all__ = ["Suspect", "find_suspects", "outliers"]

# A score this many robust deviations above the median, and this many times
# the median, does not happen among good images by chance.
DEVIATIONS = 5.0
TIMES_MEDIAN = 1.3
# Makes the median absolute deviation of a normal distribution its sigma.
MAD_TO_SIGMA = 1.4826
SHRINKAGE = 0.01

Suspect = tuple[Path, float]


def find_suspects(
    reader: FeatureReader, files: list[Path], progress: Callable[[int, int], None]
) -> list[Suspect]:
    """Files that stand out, each with its score as a multiple of the median's.

    The files are dealt into two hands; each is judged by a Gaussian over all
    positions that was fitted on the other, so that no image excuses itself.
    """
    hands = [files[0::2], files[1::2]]
    sums = [GaussianSums(1, reader.dimensions) for _ in hands]
    total = 2 * len(files)
    done = 0
    for hand, gathered in zip(hands, sums, strict=True):
        for file in hand:
            for features in reader.read([file]):
                gathered.add(features.reshape(1, -1, reader.dimensions))
            done += 1
            progress(done, total)
    scores: dict[Path, float] = {}
    for hand, judge in zip(hands, reversed(sums), strict=True):
        mean = judge.mean().astype(np.float32)
        whitening = judge.whitening(0, 1, SHRINKAGE).astype(np.float32)
        for file in hand:
            # One by one: a file of a web gives several blocks of features.
            scores[file] = max(
                float(mahalanobis(f.reshape(1, -1, reader.dimensions), mean, whitening).max())
                for f in reader.read([file])
            )
            done += 1
            progress(done, total)
    names = sorted(scores)
    return [(names[i], times) for i, times in outliers(np.array([scores[name] for name in names]))]


def outliers(scores: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[tuple[int, float]]:
    """Numbers of the scores that stand out, highest first, as multiples of the median."""
    middle = float(np.median(scores))
    spread = MAD_TO_SIGMA * float(np.median(np.abs(scores - middle)))
    limit = max(middle + DEVIATIONS * spread, TIMES_MEDIAN * middle)
    found = np.flatnonzero(scores > limit)
    return [(int(i), float(scores[i] / middle)) for i in found[np.argsort(-scores[found])]]
