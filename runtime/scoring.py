"""The two methods at work: features of a frame's tiles to distances."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kenpin.config.recipe import Granularity
from kenpin.runtime.distance import mahalanobis, nearest, reweighting
from kenpin.runtime.sharing import group_patches, ungroup_patches

__all__ = ["PadimScorer", "PatchCoreScorer", "Scorer", "TileDistances"]

F32 = NDArray[np.float32]
Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class TileDistances:
    """What a method says about one frame.

    values  (tiles, cells, cells) float32, dimensionless
    score   the method's own image score, None where it is the map's maximum
    """

    values: F32
    score: float | None = None


class Scorer(Protocol):
    """A fitted method. It may be asked about all tiles of a frame at once."""

    def distances(self, features: F32) -> TileDistances:
        """Distances of (tiles, cells, cells, D) float32 features, in the grid's order."""
        ...


@dataclass(frozen=True)
class PadimScorer:
    """Gaussians per model and position group.

    mean           (K, G, D) float32
    whitening      (K, G, D, D) float32, lower-triangular
    model_of_tile  (tiles,) which of the K models judges each tile
    """

    mean: F32
    whitening: F32
    model_of_tile: Index
    granularity: Granularity

    @cached_property
    def _tiles_of_model(self) -> list[Index]:
        return [np.flatnonzero(self.model_of_tile == k) for k in range(len(self.mean))]

    def distances(self, features: F32) -> TileDistances:
        """See `Scorer`. Tiles that share a model go through it together, so that its
        statistics are read from memory once a frame."""
        tiles, cells = features.shape[:2]
        values = np.empty((tiles, cells, cells), np.float32)
        for k, members in enumerate(self._tiles_of_model):
            grouped = group_patches(_take(features, members), self.granularity)
            found = mahalanobis(grouped, self.mean[k], self.whitening[k])
            values[members] = ungroup_patches(found, len(members), cells, self.granularity)
        return TileDistances(values)


@dataclass(frozen=True)
class PatchCoreScorer:
    """A memory bank per model.

    Where patches are told apart by their place, D counts its two columns too.

    centre         (D,) float32, subtracted from bank and features alike
    bank           (K, M, D) float32, centred
    bank_sq        (K, M) float32, squared norms of its rows
    model_of_tile  (tiles,) which of the K banks judges each tile
    reweight_neighbours  b of eq. 7; 0: the image score is the map's maximum
    place          (tiles, cells, cells, 2) float32, weighted columns to append to
                   the features; None where place does not matter
    """

    centre: F32
    bank: F32
    bank_sq: F32
    model_of_tile: Index
    reweight_neighbours: int = 0
    place: F32 | None = None

    @cached_property
    def _tiles_of_model(self) -> list[Index]:
        return [np.flatnonzero(self.model_of_tile == k) for k in range(len(self.bank))]

    def distances(self, features: F32) -> TileDistances:
        """See `Scorer`."""
        if self.place is not None:
            features = np.concatenate([features, self.place], axis=-1)
        tiles, cells, _, dims = features.shape
        values = np.empty((tiles, cells, cells), np.float32)
        peaks: list[tuple[float, F32, int]] = []
        for k, members in enumerate(self._tiles_of_model):
            queries = _take(features, members).reshape(-1, dims) - self.centre
            found, rows = nearest(queries, self.bank[k], self.bank_sq[k])
            values[members] = found.reshape(len(members), cells, cells)
            top = int(found.argmax())
            peaks.append((float(found[top]), queries[top], int(rows[top])))
        if not self.reweight_neighbours:
            return TileDistances(values)
        # argmax takes NaN for the largest, so no other model's score hides it.
        k = int(np.argmax([distance for distance, _, _ in peaks]))
        distance, query, row = peaks[k]
        weight = reweighting(query, self.bank[k], self.bank_sq[k], row, self.reweight_neighbours)
        return TileDistances(values, weight * distance)


def _take(features: F32, members: Index) -> F32:
    return features if len(members) == len(features) else features[members]
