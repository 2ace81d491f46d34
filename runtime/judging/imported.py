"""A network that somebody else made at work: what it says is the distance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kenpin.config.imported import ImportedSpec
from kenpin.runtime.bundles.manifest import FeatureRecord
from kenpin.runtime.judging.scoring import TileDistances
from kenpin.runtime.judging.tiling import TileGrid

__all__ = ["ImportedScorer", "load_imported"]

F32 = NDArray[np.float32]
Index = NDArray[np.intp]


@dataclass(frozen=True)
class ImportedScorer:
    """Takes the worst of the network's values in each cell.

    The network gives for each cell all its values of the map within, and last its score of
    the tile where `own_score` says so. They are chosen from here and not in the network:
    there a value that is no number could get lost in a maximum.
    """

    spec: ImportedSpec

    @property
    def search(self) -> None:
        """Nothing is searched for."""

    def distances(self, features: F32, rows: Index | None = None) -> TileDistances:  # noqa: ARG002
        """See `Scorer`."""
        if not self.spec.own_score:
            return TileDistances(self._worst(features))
        score = float(self._worst(features[:, 0, 0, -1:]).max())
        return TileDistances(self._worst(features[..., :-1]), score)

    def _worst(self, values: F32) -> F32:
        """(..., n) to (...): the worst of each, counted from `zero`."""
        if self.spec.worse == "higher":
            worst = values.max(axis=-1) - np.float32(self.spec.zero)
        else:
            worst = np.float32(self.spec.zero) - values.min(axis=-1)
        # A maximum with what is no number is none.
        found: F32 = np.maximum(worst, np.float32(0))
        return found


def load_imported(
    arrays: Mapping[str, F32],  # noqa: ARG001
    method: ImportedSpec,
    features: FeatureRecord,  # noqa: ARG001
    grid: TileGrid,  # noqa: ARG001
    threads: int | None = None,  # noqa: ARG001
    *,
    exhaustive: bool = False,  # noqa: ARG001
) -> ImportedScorer:
    """See `LoadScorer`; all there is to know is in the network and the settings."""
    return ImportedScorer(method)
