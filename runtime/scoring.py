"""The two methods at work: features of a frame's tiles to distances."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kenpin.config.recipe import Granularity
from kenpin.runtime.crew import Crew
from kenpin.runtime.distance import mahalanobis, nearest, reweighting, to_rows
from kenpin.runtime.proposals import Proposer
from kenpin.runtime.sharing import Strip, group_patches, strips, ungroup_patches

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
    crew           who shares the work
    """

    mean: F32
    whitening: F32
    model_of_tile: Index
    granularity: Granularity
    crew: Crew = field(default_factory=Crew)

    @cached_property
    def _members(self) -> list[Index | slice]:
        return _tiles_of_models(self.model_of_tile, len(self.mean))

    def distances(self, features: F32) -> TileDistances:
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

    def _judge(self, features: F32, values: F32, k: int, strip: Strip) -> None:
        where = (self._members[k], strip.rows, strip.columns)
        patches = features[where]
        grouped = group_patches(patches, self.granularity)
        mean, whitening = self.mean[k, strip.groups], self.whitening[k, strip.groups]
        found = mahalanobis(grouped, mean, whitening)
        values[where] = ungroup_patches(found, patches.shape[:3], self.granularity)


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
    proposer       of all banks; None: every row is measured against every patch
    """

    centre: F32
    bank: F32
    bank_sq: F32
    model_of_tile: Index
    reweight_neighbours: int = 0
    place: F32 | None = None
    proposer: Proposer | None = None

    @cached_property
    def _members(self) -> list[Index | slice]:
        return _tiles_of_models(self.model_of_tile, len(self.bank))

    @cached_property
    def _rows(self) -> F32:
        """The banks as the patches lie, not centred: patches are measured as they come."""
        return self.bank + self.centre

    def distances(self, features: F32) -> TileDistances:
        """See `Scorer`."""
        if self.place is not None:
            features = np.concatenate([features, self.place], axis=-1)
        cells, dims = features.shape[1], features.shape[3]
        values = np.empty(features.shape[:3], np.float32)
        queries = [features[members].reshape(-1, dims) for members in self._members]
        found = [np.empty(len(patches), np.float32) for patches in queries]
        rows = [np.empty(len(patches), np.intp) for patches in queries]
        for k, part, chosen, distances in self._nearest(queries):
            found[k][part], rows[k][part] = distances, chosen
        for members, distances in zip(self._members, found, strict=True):
            values[members] = distances.reshape(-1, cells, cells)
        if not self.reweight_neighbours:
            return TileDistances(values)
        # argmax takes NaN for the largest, so no other model's score hides it.
        tops = [int(distances.argmax()) for distances in found]
        k = int(np.argmax([distances[top] for distances, top in zip(found, tops, strict=True)]))
        top = tops[k]
        query, row = queries[k][top] - self.centre, int(rows[k][top])
        weight = reweighting(query, self.bank[k], self.bank_sq[k], row, self.reweight_neighbours)
        return TileDistances(values, weight * float(found[k][top]))

    def _nearest(self, queries: Sequence[F32]) -> Iterator[tuple[int, slice, Index, F32]]:
        """For the (N, D) patches of each bank: bank, part of them, and its rows and distances."""
        searched = self.proposer.propose(queries) if self.proposer else self._searched(queries)
        for k, part, rows in searched:
            yield k, part, rows, to_rows(queries[k][part], self._rows[k], rows)

    def _searched(self, queries: Sequence[F32]) -> Iterator[tuple[int, slice, Index]]:
        for k, patches in enumerate(queries):
            _, rows = nearest(patches - self.centre, self.bank[k], self.bank_sq[k])
            yield k, slice(0, len(patches)), rows


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
