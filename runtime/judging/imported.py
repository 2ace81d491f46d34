"""A network that somebody else made at work: what it says is the distance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kenpin.config.imported import ImportedSpec
from kenpin.runtime.bundles.manifest import FeatureRecord
from kenpin.runtime.judging.scoring import TileDistances, array_of
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

    tile_gain  (tiles,) what each tile's values are multiplied by, where each has a threshold
               of its own; None: they are as the network gives them
    """

    spec: ImportedSpec
    tile_gain: F32 | None = None

    @property
    def search(self) -> None:
        """Nothing is searched for."""

    def distances(self, features: F32, rows: Index | None = None) -> TileDistances:  # noqa: ARG002
        """See `Scorer`."""
        values, scores = self._tiles(features)
        if self.tile_gain is not None:
            values = values * self.tile_gain[:, None, None]
            scores = scores * self.tile_gain
        return TileDistances(values, float(scores.max()) if self.spec.own_score else None)

    def peaks(self, features: F32) -> F32:
        """(tiles,) what each tile is judged by, as the network gives it."""
        return self._tiles(features)[1]

    def _tiles(self, features: F32) -> tuple[F32, F32]:
        """(tiles, cells, cells) values and (tiles,) scores, of a map alone the highest."""
        if self.spec.own_score:
            return self._worst(features[..., :-1]), self._worst(features[:, 0, 0, -1:])
        values = self._worst(features)
        return values, values.max(axis=(1, 2))

    def _worst(self, values: F32) -> F32:
        """(..., n) to (...): the worst of each, counted from `zero`."""
        if self.spec.worse == "higher":
            worst = values.max(axis=-1) - np.float32(self.spec.zero)
        else:
            worst = np.float32(self.spec.zero) - values.min(axis=-1)
        # Nor is one infinite value among finite ones a proof, whichever side it is on.
        proven = np.isfinite(values).all(axis=-1)
        found: F32 = np.where(proven, np.maximum(worst, np.float32(0)), np.float32(np.nan))
        return found


def load_imported(
    arrays: Mapping[str, F32],
    method: ImportedSpec,
    features: FeatureRecord,  # noqa: ARG001
    grid: TileGrid,
    threads: int | None = None,  # noqa: ARG001
    *,
    exhaustive: bool = False,  # noqa: ARG001
) -> ImportedScorer:
    """See `LoadScorer`; but for tiles' own thresholds all is in the network and the settings."""
    if "tile_gain" not in arrays:
        return ImportedScorer(method)
    return ImportedScorer(method, array_of(arrays, "tile_gain", (len(grid),)))
