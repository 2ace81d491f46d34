"""A network that was trained on good images, at work: its map is the distance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kenpin.config.methods import MethodSettings
from kenpin.runtime.bundles.manifest import FeatureRecord
from kenpin.runtime.judging.scoring import TileDistances
from kenpin.runtime.judging.tiling import TileGrid

__all__ = ["MapScorer", "load_trained"]

F32 = NDArray[np.float32]
Index = NDArray[np.intp]


@dataclass(frozen=True)
class MapScorer:
    """Takes one of the maps that a network gives; a bundle's has one.

    number  of the map: where good images are judged, each of several networks gives one
    """

    number: int = 0

    @property
    def search(self) -> None:
        """Nothing is searched for."""

    def distances(self, features: F32, rows: Index | None = None) -> TileDistances:  # noqa: ARG002
        """See `Scorer`."""
        found = features[..., self.number]
        # A maximum with NaN is NaN, and one with what is infinitely far below would be perfect.
        values = np.where(found > -np.inf, np.maximum(found, np.float32(0)), found)
        return TileDistances(values)


def load_trained(
    arrays: Mapping[str, F32],  # noqa: ARG001
    method: MethodSettings,  # noqa: ARG001
    features: FeatureRecord,  # noqa: ARG001
    grid: TileGrid,  # noqa: ARG001
    threads: int | None = None,  # noqa: ARG001
    *,
    exhaustive: bool = False,  # noqa: ARG001
) -> MapScorer:
    """See `LoadScorer`; all that was learned is in the network."""
    return MapScorer()
