"""The baseline at work: bands of plain brightness, and no network that has a say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kenpin.config.methods import BaselineSpec
from kenpin.runtime.bundles.manifest import BundleError, FeatureRecord
from kenpin.runtime.judging.scoring import TileDistances, array_of
from kenpin.runtime.judging.tiling import TileGrid

__all__ = ["BaselineScorer", "load_baseline"]

F32 = NDArray[np.float32]
Index = NDArray[np.intp]


@dataclass(frozen=True)
class BaselineScorer:
    """How far a square's grey is from that of all good squares, in deviations.

    The blend gives it no say (`join` "band"), only whether all is a number.
    """

    mean: float
    deviation: float

    @property
    def search(self) -> None:
        """Nothing is searched for."""

    def distances(self, features: F32, rows: Index | None = None) -> TileDistances:  # noqa: ARG002
        """See `Scorer`."""
        values: F32 = np.abs(features[..., 0] - np.float32(self.mean))
        return TileDistances(values / np.float32(self.deviation))


def load_baseline(
    arrays: Mapping[str, F32],
    method: BaselineSpec,  # noqa: ARG001
    features: FeatureRecord,  # noqa: ARG001
    grid: TileGrid,  # noqa: ARG001
    threads: int | None = None,  # noqa: ARG001
    *,
    exhaustive: bool = False,  # noqa: ARG001
) -> BaselineScorer:
    """See `LoadScorer`."""
    grey = array_of(arrays, "grey", (2,))
    if not np.isfinite(grey).all() or grey[1] <= 0:
        raise BundleError("statistics grey.npy hold no mean and deviation; recompile the bundle")
    return BaselineScorer(float(grey[0]), float(grey[1]))
