"""Patches that a coreset is chosen from: a uniform sample of all, or a net over all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kenpin.compile.good_images.parts import Parts
from kenpin.compile.methods.feature_reader import FeatureReader
from kenpin.compile.methods.streamed_coreset import Net, StreamedPool, random_projection
from kenpin.compile.progress import OnProgress
from kenpin.config.methods import PatchCoreSpec

__all__ = ["Reservoir", "Sample", "mean_of", "sampled"]

F32 = NDArray[np.float32]
Index = NDArray[np.intp]

# Points of a net for each row of the coreset: the finer the net, the nearer to a choice from all.
NET_TIMES = 4
# Images by which the spread of features is measured before a net begins to grow.
SPREAD_IMAGES = 64


class Reservoir:
    """A uniform random sample of a stream of rows, at most `size` of them.

    Each row keeps the tag that it came with.

    References
    ----------
    Vitter, Random sampling with a reservoir, ACM TOMS 1985, algorithm R.
    """

    def __init__(self, size: int, dimensions: int, rng: np.random.Generator) -> None:
        self.seen = 0
        self._rows = np.empty((size, dimensions), np.float32)
        self._tags = np.empty(size, np.int32)
        self._rng = rng

    @property
    def rows(self) -> F32:
        """(min(seen, size), D) float32."""
        return self._rows[: self.seen]

    @property
    def tags(self) -> NDArray[np.int32]:
        """(min(seen, size),) whose each row is."""
        return self._tags[: self.seen]

    def add(self, rows: F32, tag: int = 0, part: int = 0) -> None:  # noqa: ARG002
        """Take in (N, D) rows; whose part they are makes no difference to a uniform sample."""
        size = len(self._rows)
        free = min(max(0, size - self.seen), len(rows))
        self._rows[self.seen : self.seen + free] = rows[:free]
        self._tags[self.seen : self.seen + free] = tag
        self.seen += free
        rest = rows[free:]
        if len(rest):
            # Row number i (from 1) of the stream stays with chance size / i.
            numbers = np.arange(self.seen + 1, self.seen + len(rest) + 1)
            slots = (self._rng.random(len(rest)) * numbers).astype(np.intp)
            for row in np.flatnonzero(slots < size):
                self._rows[slots[row]] = rest[row]
                self._tags[slots[row]] = tag
            self.seen += len(rest)


@dataclass(frozen=True, eq=False)
class Sample:
    """Patches of the good images, a pool for each model.

    origins  image or web, and tile row, of each unit that was read: the pools' tags count them
    place    what a patch's place is told by, scaled as in the pools' rows; None: it does not count
    """

    pools: list[StreamedPool]
    origins: list[tuple[int, int]]
    place: F32 | None

    def parts(self, parts: Parts) -> NDArray[np.int32]:
        """The part of each unit."""
        return np.array([parts.of(*origin) for origin in self.origins], np.int32)


def sampled(
    reader: FeatureReader,
    files: list[Path],
    members: Index,
    place: F32 | None,
    spec: PatchCoreSpec,
    rngs: list[np.random.Generator],
    ways: Sequence[Parts],
    progress: Callable[[str], OnProgress],
) -> Sample:
    """A pass over the images, with the places of their patches behind their features.

    Memory is bounded whatever their number: by `spec.candidates` rows that are drawn from all
    patches alike, or by nets of NET_TIMES as many points as the coreset has rows, and a witness
    for each, that all patches are near to.
    """
    width = reader.dimensions + (0 if place is None else place.shape[3])
    take = _Pass(reader, files, members, ways, progress)
    if spec.coreset == "streamed":
        assert spec.coreset_rows is not None, "the settings were validated"
        if place is not None:
            # A net measures distances as it grows, so it must know the scale before.
            step = -(-len(files) // SPREAD_IMAGES)
            some = [f.reshape(-1, f.shape[-1]) for f in reader.read(files[::step])]
            place = place * (spec.position_weight * _spread(some))
        size, fewer = NET_TIMES * spec.coreset_rows, spec.projection_dimensions
        nets = [Net(size, width, fewer, rng) for rng in rngs]
        origins = take.all(nets, place)
        return Sample([net.pool() for net in nets], origins, place)
    pools = [Reservoir(spec.candidates // len(rngs), width, rng) for rng in rngs]
    origins = take.all(pools, place)
    if place is not None:
        scale = spec.position_weight * _spread([p.rows[:, : reader.dimensions] for p in pools])
        for pool in pools:
            pool.rows[:, reader.dimensions :] *= scale
        place = place * scale
    fewer = spec.projection_dimensions
    drawn = [
        StreamedPool(pool.rows, random_projection(pool.rows, fewer, rng), pool.tags, pool.seen)
        for pool, rng in zip(pools, rngs, strict=True)
    ]
    return Sample(drawn, origins, place)


@dataclass(frozen=True)
class _Pass:
    """A pass over the images, whose patches go to whoever is their model's."""

    reader: FeatureReader
    files: list[Path]
    members: Index
    ways: Sequence[Parts]
    progress: Callable[[str], OnProgress]

    def all(self, takers: Sequence[Reservoir | Net], place: F32 | None) -> list[tuple[int, int]]:
        """Image or web, and tile row, of each unit that was read."""
        origins: list[tuple[int, int]] = []
        # What a model has seen first, whether it counts or not.
        spare: dict[int, F32] = {}
        for number, unit in enumerate(
            self.reader.units(self.files, progress=self.progress("features"))
        ):
            origins.append((unit.web, unit.row))
            part = self.ways[0].of(unit.web, unit.row) if self.ways else 0
            rows = unit.features
            rows = rows if place is None else np.concatenate([rows, place], axis=-1)
            for k, taker in enumerate(takers):
                mine = self.members == k
                own = rows[mine].reshape(-1, rows.shape[-1])
                spare.setdefault(k, own)
                if unit.counts is not None:
                    own = own[unit.counts[mine].reshape(-1)]
                if len(own):
                    taker.add(own, number, part)
        for k, taker in enumerate(takers):
            # None of its tiles are inspected: whatever its bank says is asked by nobody.
            if not taker.seen:
                taker.add(spare[k], 0, self.ways[0].of(*origins[0]) if self.ways else 0)
        return origins


def mean_of(parts: list[F32]) -> F32:
    """(D,) mean of all rows."""
    total = sum(part.sum(axis=0, dtype=np.float64) for part in parts)
    mean: F32 = (total / sum(len(part) for part in parts)).astype(np.float32)
    return mean


def _spread(parts: list[F32]) -> np.float32:
    """Standard deviation of all features together: the root of their summed variances."""
    mean = mean_of(parts)
    total = sum(float(np.square(part - mean, dtype=np.float64).sum()) for part in parts)
    return np.float32(math.sqrt(total / sum(len(part) for part in parts)))
