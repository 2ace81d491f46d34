"""The two methods at work: features of a frame's tiles to distances."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from kenpin.config.recipe import Granularity
from kenpin.runtime.crew import Crew
from kenpin.runtime.distance import mahalanobis, nearest_rows, reweighting, to_rows
from kenpin.runtime.proposals import Proposer, Search
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
    """A fitted method."""

    def distances(self, features: F32) -> TileDistances:
        """Distances of (tiles, cells, cells, D) float32 features, in the grid's order."""
        ...

    def start(self, features: F32) -> Scoring:
        """The same for features that are only just being written, tile by tile."""
        ...


class Scoring(ABC):
    """A frame's distances while its features come. Closed, it no longer reads them."""

    @abstractmethod
    def ready(self, first: int, last: int) -> None:
        """Features of the tiles first to last - 1 are there; the next to be ready follow."""

    @abstractmethod
    def finish(self) -> TileDistances:
        """The distances, once all tiles are ready."""

    @abstractmethod
    def close(self) -> None:
        """Give up whatever is not finished."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Afterwards(Scoring):
    """Of a method that wants all tiles at once."""

    def __init__(self, features: F32, judge: Callable[[F32], TileDistances]) -> None:
        self._features, self._judge = features, judge

    def ready(self, first: int, last: int) -> None:
        """See `Scoring`."""

    def finish(self) -> TileDistances:
        """See `Scoring`."""
        return self._judge(self._features)

    def close(self) -> None:
        """See `Scoring`."""


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

    def start(self, features: F32) -> Scoring:
        """See `Scorer`."""
        return Afterwards(features, self.distances)

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
    def rows(self) -> F32:
        """The banks as the patches lie, not centred: patches are measured as they come."""
        return self.bank + self.centre

    def distances(self, features: F32) -> TileDistances:
        """See `Scorer`."""
        with self.start(features) as scoring:
            scoring.ready(0, len(features))
            return scoring.finish()

    def start(self, features: F32) -> PatchCoreScoring:
        """See `Scorer`."""
        return PatchCoreScoring(self, features)


class PatchCoreScoring(Scoring):
    """PatchCore on one frame: while one tile is measured, the next ones are searched."""

    def __init__(self, scorer: PatchCoreScorer, features: F32) -> None:
        tiles, cells, _, _ = features.shape
        self._scorer, self._features = scorer, features
        self._distances = np.empty((tiles, cells * cells), np.float32)
        self._rows = np.empty((tiles, cells * cells), np.intp)
        self._patches: dict[int, F32] = {}
        self._search = scorer.proposer.search() if scorer.proposer else None

    def ready(self, first: int, last: int) -> None:
        """See `Scoring`."""
        scorer = self._scorer
        for tile in range(first, last):
            k, patches = int(scorer.model_of_tile[tile]), self._of_tile(tile)
            if self._search is None:
                centred = patches - scorer.centre
                rows = nearest_rows(centred, scorer.bank[k], scorer.bank_sq[k])
                self._measure(tile, patches, rows)
                continue
            if self._search.full:
                self._take(self._search)
            self._patches[tile] = patches
            self._search.ask(tile, k, patches)

    def _of_tile(self, tile: int) -> F32:
        features, place = self._features[tile], self._scorer.place
        if place is not None:
            features = np.concatenate([features, place[tile]], axis=-1)
        patches: F32 = features.reshape(-1, features.shape[-1])
        return patches

    def _take(self, search: Search) -> None:
        tile, rows = search.answer()
        self._measure(tile, self._patches.pop(tile), rows)

    def _measure(self, tile: int, patches: F32, rows: Index) -> None:
        bank = self._scorer.rows[self._scorer.model_of_tile[tile]]
        self._distances[tile] = to_rows(patches, bank, rows)
        self._rows[tile] = rows

    def finish(self) -> TileDistances:
        """See `Scoring`."""
        while self._search:
            self._take(self._search)
        values = self._distances.reshape(self._features.shape[:3])
        scorer = self._scorer
        if not scorer.reweight_neighbours:
            return TileDistances(values)
        # argmax takes NaN for the largest, so no other tile's score hides it.
        tile, patch = divmod(int(self._distances.argmax()), self._distances.shape[1])
        k, row = int(scorer.model_of_tile[tile]), int(self._rows[tile, patch])
        query = self._of_tile(tile)[patch] - scorer.centre
        weight = reweighting(
            query, scorer.bank[k], scorer.bank_sq[k], row, scorer.reweight_neighbours
        )
        return TileDistances(values, weight * float(self._distances[tile, patch]))

    def close(self) -> None:
        """See `Scoring`."""
        if self._search is not None:
            self._search.close()


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
