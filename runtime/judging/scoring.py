"""The two methods at work: features of a frame's tiles to distances."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kenpin.config.recipe import Granularity
from kenpin.runtime.judging.crew import Crew
from kenpin.runtime.judging.distance import mahalanobis, nearest_rows, reweighting, to_rows
from kenpin.runtime.judging.proposals import BankSearch, Proposer
from kenpin.runtime.judging.sharing import Strip, group_patches, strips, ungroup_patches

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
    """A fitted method."""

    @property
    def search(self) -> BankSearch | None:
        """What the feature network may be joined with, so that it proposes bank rows."""
        ...

    def distances(self, features: F32, rows: Index | None = None) -> TileDistances:
        """Distances of some tiles' patches.

        Parameters
        ----------
        features : (tiles, cells, cells, D) float32, in the grid's order
        rows : (tiles, cells, cells)
            What a network that was joined with `search` proposes; None: not proposed yet.
        """
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
    crew           who shares the measuring
    """

    centre: F32
    bank: F32
    bank_sq: F32
    model_of_tile: Index
    reweight_neighbours: int = 0
    place: F32 | None = None
    proposer: Proposer | None = None
    crew: Crew = field(default_factory=Crew)

    @cached_property
    def rows(self) -> F32:
        """The banks as the patches lie, not centred: patches are measured as they come."""
        return self.bank + self.centre

    @property
    def search(self) -> BankSearch | None:
        """See `Scorer`. One bank for all tiles, and patches as the network makes them."""
        if self.proposer is None or len(self.bank) > 1 or self.place is not None:
            return None
        return self.proposer.banks[0]

    def distances(self, features: F32, rows: Index | None = None) -> TileDistances:
        """See `Scorer`."""
        rows = self._searched(features) if rows is None else rows
        values = np.empty(rows.shape, np.float32)

        def measure(first: int, last: int) -> None:
            # The fewer the pieces, the less often two threads wait for the interpreter.
            step = last - first if len(self.bank) == 1 else 1
            for start in range(first, last, step):
                part = slice(start, start + step)
                bank = self.rows[self.model_of_tile[start]]
                found = to_rows(self._patches(features, part), bank, rows[part].reshape(-1))
                values[part] = found.reshape(values[part].shape)

        self.crew.share(measure, len(features))
        if not self.reweight_neighbours:
            return TileDistances(values)
        # argmax takes NaN for the largest, so no other tile's score hides it.
        tile, patch = divmod(int(values.argmax()), rows[0].size)
        k, row = int(self.model_of_tile[tile]), int(rows[tile].reshape(-1)[patch])
        query = self._patches(features, slice(tile, tile + 1))[patch] - self.centre
        weight = reweighting(query, self.bank[k], self.bank_sq[k], row, self.reweight_neighbours)
        return TileDistances(values, weight * float(values[tile].reshape(-1)[patch]))

    def _searched(self, features: F32) -> Index:
        """(tiles, cells, cells) bank rows."""
        tiles = [
            (int(k), self._patches(features, slice(tile, tile + 1)))
            for tile, k in enumerate(self.model_of_tile)
        ]
        if self.proposer is not None:
            found = self.proposer.propose(tiles)
        else:
            found = [
                nearest_rows(patches - self.centre, self.bank[k], self.bank_sq[k])
                for k, patches in tiles
            ]
        return np.reshape(found, features.shape[:3])

    def _patches(self, features: F32, tiles: slice) -> F32:
        """(patches, D) float32 of some tiles, as the bank's rows are, not centred."""
        found = features[tiles]
        if self.place is not None:
            found = np.concatenate([found, self.place[tiles]], axis=-1)
        patches: F32 = found.reshape(-1, found.shape[-1])
        return patches


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
