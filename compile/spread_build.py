"""The long steps of a build in the workers of a cluster: features, and images left out in turn.

Workers see the good images and the folder that bundles are written into under the same paths
as the build does; only numbers of images go out, and features and maps come back. They are
taken in in the order of one machine, so that every sum is the same to its last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from kenpin.compile.good_images.parts import Parts
from kenpin.compile.methods.feature_reader import FeatureReader, Unit
from kenpin.compile.methods.fitting import FitTask, Forgetting, fitting_of
from kenpin.compile.methods.leave_out import LeftOut, Unseen
from kenpin.compile.operating_point.unseen_ways import unseen_ways
from kenpin.compile.progress import OnProgress, Steps
from kenpin.compile.workbench import NETWORK, Workbench
from kenpin.config.errors import ConfigError
from kenpin.config.recipe import Recipe
from kenpin.processes.cluster import Sent, Workers, threads_here
from kenpin.runtime.bundles.manifest import FeatureRecord, GreyRange
from kenpin.runtime.judging.blend import Look
from kenpin.runtime.judging.engine import Engine

__all__ = ["SpreadReader", "spread_unseen"]

Index = NDArray[np.intp]

# Features that a worker holds for one piece of work, and images that it reads for it at most.
PIECE_BYTES = 32 << 20
PIECE_IMAGES = 32
# Good images that are judged in one piece of work: neighbours, which mostly share their part.
LOOKED_AT_ONCE = 8


@dataclass(frozen=True)
class _BenchAt:
    """Where a worker finds what it needs: a `Workbench`, described."""

    recipe: Recipe
    features: FeatureRecord
    grey: GreyRange
    folder: Path

    @classmethod
    def of(cls, bench: Workbench) -> _BenchAt:
        return cls(bench.recipe, bench.features, bench.grey, bench.folder.absolute())

    def bench(self) -> Workbench:
        """The same at work in this worker; the one that was opened last is kept."""
        engine = _engine(self.folder, threads_here())
        return Workbench(self.recipe, self.features, self.grey, engine, self.folder)


@lru_cache(maxsize=1)
def _engine(folder: Path, threads: int) -> Engine:
    network = folder / NETWORK
    if not network.is_file():
        raise ConfigError(
            f"{network}: is not there for a worker; with --dask, images and the folder of -o must "
            "lie on storage that all workers see under the same path"
        )
    return Engine(network, threads=threads)


class SpreadReader(FeatureReader):
    """See `FeatureReader`: images are read by workers, and come in the same order.

    Of files that are one web each line needs those before it, so they are read here.
    """

    def __init__(self, bench: Workbench, cluster: Workers) -> None:
        images, frame = bench.recipe.images, bench.recipe.frame
        super().__init__(bench.engine, bench.grid, frame, images, bench.lamp, bench.places)
        self._cluster, self._place = cluster, _BenchAt.of(bench)
        self._joined = frame.geometry == "continuous" and images.joined
        # Of a web nobody knows how long it is.
        self._each_bytes = 4 * len(bench.grid) * self.cells**2 * self.dimensions
        self._each_bytes *= 1 if images.augment is None else 1 + images.augment.copies
        self._most = 1 if frame.geometry == "continuous" else PIECE_IMAGES

    def units(
        self,
        files: Iterable[Path],
        tiles: Index | None = None,
        progress: OnProgress | None = None,
    ) -> Iterator[Unit]:
        """See `FeatureReader`."""
        files = [file.absolute() for file in files]
        if self._joined:
            yield from super().units(files, tiles, progress)
            return
        size = max(1, min(self._most, PIECE_BYTES // self._each_bytes))
        starts = range(0, len(files), size)
        pieces = ((files[start : start + size], tiles) for start in starts)
        sent = self._cluster.send(self._place)
        for start, found in zip(starts, self._cluster.in_order(_read, sent, pieces), strict=True):
            for unit in found:
                yield replace(unit, web=start + unit.web)
            if progress:
                progress(min(start + size, len(files)), len(files))


def _read(place: _BenchAt, piece: tuple[list[Path], Index | None]) -> list[Unit]:
    files, tiles = piece
    return list(place.bench().reader().units(files, tiles))


@dataclass(frozen=True)
class _FittedThere:
    """What a worker needs to leave parts out of fitted statistics."""

    place: _BenchAt
    files: list[Path]
    webs: list[list[Path]]
    ways: list[Parts]
    scratch: Path
    look: Look


@dataclass(frozen=True)
class _SpreadUnseen(Unseen):
    """See `Unseen`: images are judged by workers, and come in the same order.

    way  which of the ways to leave parts out
    """

    cluster: Workers
    sent: Sent[_FittedThere]
    way: int

    def in_turn(
        self, order: Sequence[int], progress: Callable[[int, int], None]
    ) -> Iterator[LeftOut]:
        """See `Unseen`."""
        starts = range(0, len(order), LOOKED_AT_ONCE)
        pieces = ((self.way, list(order[start : start + LOOKED_AT_ONCE])) for start in starts)
        found = self.cluster.in_order(_judge, self.sent, pieces)
        for start, some in zip(starts, found, strict=True):
            yield from some
            progress(min(start + LOOKED_AT_ONCE, len(order)), len(order))


def spread_unseen(
    cluster: Workers, bench: Workbench, fitted: FitTask, webs: list[list[Path]], look: Look
) -> list[Unseen]:
    """As `unseen_ways`, with the images judged by workers.

    A method that cannot forget parts is fitted anew for them, which is done here.
    """
    here = unseen_ways(bench, fitted, webs, look)
    if not isinstance(fitting_of(bench.recipe.method), Forgetting):
        return here
    sent = cluster.send(
        _FittedThere(
            _BenchAt.of(bench),
            [file.absolute() for file in fitted.files],
            [[file.absolute() for file in web] for web in webs],
            list(fitted.ways),
            fitted.scratch.absolute(),
            look,
        )
    )
    return [
        _SpreadUnseen(
            one.stages, one.leave, one.parts, one.webs, one.load, one.infer, cluster, sent, way
        )
        for way, one in enumerate(here)
    ]


def _judge(fitted: _FittedThere, piece: tuple[int, list[int]]) -> list[LeftOut]:
    way, webs = piece
    unseen = _opened(fitted.scratch, fitted)[way]
    return list(unseen.in_turn(webs, lambda _done, _total: None))


# The last one, by its scratch folder: what is fitted there does not change while it is used.
_OPENED: dict[Path, list[Unseen]] = {}


def _opened(scratch: Path, fitted: _FittedThere) -> list[Unseen]:
    if scratch not in _OPENED:
        _OPENED.clear()
        bench = fitted.place.bench()
        work = FitTask(
            bench.reader(),
            fitted.files,
            bench.grid,
            bench.folder,
            Steps(Console(quiet=True)),
            fitted.ways,
            scratch,
            bench.recipe.threshold,
        )
        _OPENED[scratch] = unseen_ways(bench, work, fitted.webs, fitted.look)
    return _OPENED[scratch]
