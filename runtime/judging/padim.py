"""PaDiM at work: the distance of every patch to its own Gaussian."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kenpin.config.methods import Granularity, PadimSpec
from kenpin.runtime.bundles.manifest import FeatureRecord
from kenpin.runtime.judging.crew import Crew
from kenpin.runtime.judging.distance import fast_whitening, mahalanobis
from kenpin.runtime.judging.scoring import TileDistances, array_of
from kenpin.runtime.judging.sharing import (
    PatchStrip,
    group_count,
    group_patches,
    model_count,
    model_of_tile,
    strips,
    ungroup_patches,
)
from kenpin.runtime.judging.tiling import TileGrid

__all__ = ["PadimScorer", "load_padim"]

F32 = NDArray[np.float32]
Index = NDArray[np.intp]


@dataclass(frozen=True)
class PadimScorer:
    """Gaussians per model and position group.

    mean           (K, G, D) float32
    whitening      (K, G, D, D) float32, lower-triangular
    model_of_tile  (tiles,) which of the K models judges each tile
    crew           who shares the work
    """

    mean: F32
    whitening: F32
    model_of_tile: Index
    granularity: Granularity
    crew: Crew = field(default_factory=Crew)

    @property
    def search(self) -> None:
        """Nothing is searched for."""

    @cached_property
    def _members(self) -> list[Index | slice]:
        return _tiles_of_models(self.model_of_tile, len(self.mean))

    def distances(
        self,
        features: F32,
        rows: Index | None = None,  # noqa: ARG002
    ) -> TileDistances:
        """See `Scorer`. Tiles that share a model go through it together, so that its
        statistics are read from memory once a frame."""
        cells = features.shape[1]
        values = np.empty(features.shape[:3], np.float32)
        parts = strips(cells, self.granularity)

        def judge(first: int, last: int) -> None:
            for number in range(first, last):
                k, strip = divmod(number, len(parts))
                self._judge(features, values, k, parts[strip])

        self.crew.share(judge, len(self.mean) * len(parts))
        return TileDistances(values)

    def _judge(self, features: F32, values: F32, k: int, strip: PatchStrip) -> None:
        where = (self._members[k], strip.rows, strip.columns)
        patches = features[where]
        grouped = group_patches(patches, self.granularity)
        mean, whitening = self.mean[k, strip.groups], self.whitening[k, strip.groups]
        found = mahalanobis(grouped, mean, whitening)
        values[where] = ungroup_patches(found, patches.shape[:3], self.granularity)


def load_padim(
    arrays: Mapping[str, F32],
    method: PadimSpec,
    features: FeatureRecord,
    grid: TileGrid,
    threads: int | None = None,
    *,
    exhaustive: bool = False,  # noqa: ARG001
) -> PadimScorer:
    """See `LoadScorer`; PaDiM has no shortcuts."""
    models = model_count(grid, method.share)
    members = model_of_tile(grid, method.share)
    d = features.dimensions
    groups = group_count(features.cells, method.granularity)
    mean = array_of(arrays, "mean", (models, groups, d))
    whitening = array_of(arrays, "whitening", (models, groups, d, d))
    return PadimScorer(mean, fast_whitening(whitening), members, method.granularity, Crew(threads))


def _tiles_of_models(model_of_tile: Index, models: int) -> list[Index | slice]:
    """Which tiles each model judges; a slice, and so a view, where they are evenly spaced."""
    found: list[Index | slice] = []
    for k in range(models):
        tiles = np.flatnonzero(model_of_tile == k)
        steps = np.unique(np.diff(tiles))
        if len(steps) > 1 or not len(tiles):
            found.append(tiles)
        else:
            step = int(steps[0]) if len(steps) else 1
            found.append(slice(int(tiles[0]), int(tiles[-1]) + 1, step))
    return found
