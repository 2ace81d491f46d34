"""Fitting PaDiM: streamed means and covariances, turned into whitening matrices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from kenpin.compile.backbones import Tap
from kenpin.compile.good_images.parts import Parts
from kenpin.compile.good_images.places import NOTHING_INSPECTED
from kenpin.compile.methods.extractor import PadimEmbedding
from kenpin.compile.methods.feature_reader import FeatureReader, Unit
from kenpin.compile.methods.fitting import Embedding, FitTask, LoadArrays
from kenpin.compile.methods.leave_out import LeaveOut
from kenpin.config.errors import ConfigError
from kenpin.config.methods import Granularity, PadimSpec, Share
from kenpin.runtime.judging.crew import Crew
from kenpin.runtime.judging.gaussian_sums import GaussianSums
from kenpin.runtime.judging.padim import PadimScorer
from kenpin.runtime.judging.scoring import Scorer
from kenpin.runtime.judging.sharing import group_count, group_patches, model_count, model_of_tile
from kenpin.runtime.judging.tiling import TileGrid

__all__ = [
    "PADIM",
    "Folds",
    "GaussianFitting",
    "GaussianSpec",
    "PadimLeaveOut",
    "Whiten",
    "fit_gaussians",
    "fit_padim",
    "foldings_of",
    "make_folds",
]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Index = NDArray[np.intp]
# Of some of the groups, from the first to before the last: (groups, D, D).
Whiten = Callable[[GaussianSums, int, int], F64]

ARRAYS = ("mean", "whitening")

# Accumulated covariances held at once; more models mean more passes, not more memory.
SUMS_BYTES = 1 << 30
# Features gathered before they are added: one product of many patches is far
# faster than many products of one.
BATCH_BYTES = 64 << 20
# Statistics without each fold, on disk while a bundle is compiled.
FOLD_BYTES = 2 << 30
FEWEST_FOLDS, MOST_FOLDS = 3, 20
# Matrices inverted at once, by all hands together.
WHITENING_BLOCK = 256


@dataclass(frozen=True)
class Folds:
    """Parts of the good images, in folds that are left out together.

    folder   where each fold's statistics go, without the fold's own patches, each to a
             folder of its number
    parts    what shows what
    of_part  (parts,) the fold of each part
    """

    folder: Path
    parts: Parts
    of_part: Index

    @property
    def count(self) -> int:
        """How many."""
        return int(self.of_part.max()) + 1


class GaussianSpec(Protocol):
    """Settings of a method that rests on means and covariances."""

    @property
    def share(self) -> Share:
        """Which tiles have the same."""
        ...

    @property
    def granularity(self) -> Granularity:
        """Which patches of a tile have the same."""
        ...


def make_folds(
    folder: Path, parts: Parts, grid: TileGrid, reader: FeatureReader, spec: GaussianSpec
) -> Folds:
    """Parts dealt into as many folds as memory and disk allow; see `Parts.folds`.

    One part a fold is the best: the fewer folds, the more is left out at once, and the
    higher an image scores without its own. Matrices that are inverted for each fold set
    the limit.
    """
    size = 8 * _groups(reader, spec) * reader.dimensions**2
    most = min(SUMS_BYTES // size, FOLD_BYTES // (size * model_count(grid, spec.share)))
    count = min(len(parts), max(FEWEST_FOLDS, min(MOST_FOLDS, most)))
    return Folds(folder, parts, parts.folds(count))


class PadimLeaveOut:
    """See `LeaveOut`: from the sums, those of a fold taken away; nothing is read again."""

    def __init__(self, folds: Folds, load: LoadArrays) -> None:
        """`load` makes a scorer of the arrays of a fold."""
        self._folds, self._load = folds, load
        self._last: tuple[int, Scorer] | None = None

    def without(self, part: int) -> Scorer:
        """See `LeaveOut`."""
        fold = int(self._folds.of_part[part])
        if self._last is None or self._last[0] != fold:
            folder = self._folds.folder / str(fold)
            arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
            self._last = fold, self._load(arrays)
        return self._last[1]


def fit_padim(
    reader: FeatureReader,
    files: list[Path],
    grid: TileGrid,
    spec: PadimSpec,
    folder: Path,
    progress: Callable[[int, int], None],
    foldings: Sequence[Folds] = (),
) -> int:
    """See `fit_gaussians`; the matrices whiten."""
    whiten = partial(GaussianSums.whitening, shrinkage=spec.shrinkage)
    return fit_gaussians(reader, files, grid, spec, whiten, folder, progress, foldings)


def fit_gaussians(
    reader: FeatureReader,
    files: list[Path],
    grid: TileGrid,
    spec: GaussianSpec,
    whiten: Whiten,
    folder: Path,
    progress: Callable[[int, int], None],
    foldings: Sequence[Folds] = (),
) -> int:
    """Write `mean.npy`, `whitening.npy` and `support.npy`, the patches behind each Gaussian.

    Gives how many these are.

    The arrays have the shapes that `PadimScorer` states. Images are read one
    at a time, once for every group of models whose sums fit in memory.

    Parameters
    ----------
    whiten
        Makes the matrices.
    foldings
        Ways to leave parts out, each with statistics of its own; see `Folds`.

    Raises
    ------
    ConfigError
        If the granularity does not fit the tile, or a Gaussian would have
        fewer than two patches.
    """
    groups, dims = _groups(reader, spec), reader.dimensions
    models = model_count(grid, spec.share)
    members = model_of_tile(grid, spec.share)
    shape = (models, groups, dims)
    crew = Crew()
    whole = _Statistics(folder, shape, whiten, crew)
    less = [
        [_Statistics(one.folder / str(n), shape, whiten, crew) for n in range(one.count)]
        for one in foldings
    ]
    held = 1 + sum(one.count for one in foldings)
    at_once = max(1, SUMS_BYTES // (8 * groups * dims * dims * held))
    passes = -(-models // at_once)
    fewest = 0
    for turn in range(passes):
        chosen = list(range(turn * at_once, min(models, (turn + 1) * at_once)))
        tiles = np.flatnonzero(np.isin(members, chosen))

        def step(done: int, total: int, turn: int = turn) -> None:
            progress(turn * total + done, passes * total)

        gatherer = _Gatherer(chosen, members[tiles], groups, dims, spec.granularity, foldings)
        for unit in reader.units(files, tiles, step):
            gatherer.add(unit)
        for place, k in enumerate(chosen):
            total, folds = gatherer.sums(place)
            fewest = total.count if not fewest else min(fewest, total.count)
            whole.write(k, total)
            for written, sums in zip(less, folds, strict=False):
                for statistics, own in zip(written, sums, strict=True):
                    statistics.write(k, total.without(own))
    # With it the finished statistics can be told of more patches.
    np.save(folder / "support.npy", np.array([fewest], np.float32))
    return fewest


def _groups(reader: FeatureReader, spec: GaussianSpec) -> int:
    try:
        return group_count(reader.cells, spec.granularity)
    except ValueError as error:
        raise ConfigError(f"method.granularity: {error}") from None


class _Statistics:
    """`mean.npy` and `whitening.npy` of a folder, being written."""

    def __init__(
        self, folder: Path, shape: tuple[int, int, int], whiten: Whiten, crew: Crew
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        square = (*shape, shape[2])
        self._mean = open_memmap(folder / "mean.npy", "w+", np.float32, shape)
        self._white = open_memmap(folder / "whitening.npy", "w+", np.float32, square)
        self._whiten, self._crew = whiten, crew

    def write(self, k: int, sums: GaussianSums) -> None:
        """Model k, from its sums."""
        if sums.count < 2:
            raise ConfigError(
                f"each Gaussian would rest on {sums.count} patch; expected at least 2, also "
                "without one part: add good images, or use a coarser granularity or share"
            )
        self._mean[k] = sums.mean()
        step = max(1, WHITENING_BLOCK // self._crew.hands)

        def whiten(first: int, last: int) -> None:
            for start in range(first, last, step):
                stop = min(last, start + step)
                self._white[k, start:stop] = self._whiten(sums, start, stop)

        self._crew.share(whiten, self._mean.shape[1])
        self._mean.flush()
        self._white.flush()


class _Gatherer:
    """Sums of some models, apart for each fold of each folding."""

    def __init__(
        self,
        chosen: list[int],
        model_of: Index,
        groups: int,
        dimensions: int,
        granularity: Granularity,
        foldings: Sequence[Folds],
    ) -> None:
        self._chosen, self._model_of = chosen, model_of
        self._shape = (groups, dimensions)
        self._granularity = granularity
        self._foldings = foldings
        counts = [one.count for one in foldings] or [1]
        # For each folding and fold: what waits to be added, and a sum for each model.
        self._waiting: list[list[list[F32]]] = [[[] for _ in range(n)] for n in counts]
        self._sums: list[list[list[GaussianSums]]] = [[[] for _ in range(n)] for n in counts]
        self._batch = BATCH_BYTES // sum(counts)
        self._origins: list[F64] = []

    def add(self, unit: Unit) -> None:
        """Take in the features of the chosen models' tiles, unless nothing there is inspected."""
        if unit.counts is not None and not unit.counts.any():
            return
        for number, waiting in enumerate(self._waiting):
            fold = 0
            if self._foldings:
                one = self._foldings[number]
                fold = int(one.of_part[one.parts.of(unit.web, unit.row)])
            waiting[fold].append(unit.features)
            if len(waiting[fold]) * unit.features.nbytes >= self._batch:
                self._flush(number, fold)

    def sums(self, place: int) -> tuple[GaussianSums, list[list[GaussianSums]]]:
        """Of one of the chosen: all patches, and those of each fold of each folding."""
        for number, waiting in enumerate(self._waiting):
            for fold, features in enumerate(waiting):
                if features:
                    self._flush(number, fold)
        if not self._origins:
            raise ConfigError(NOTHING_INSPECTED)
        # A fold may be empty: a web that is too short for the last of its pieces.
        empty = GaussianSums(*self._shape, self._origins[place])
        apart = [[fold[place] if fold else empty for fold in folds] for folds in self._sums]
        return reduce(GaussianSums.plus, apart[0]), apart

    def _flush(self, number: int, fold: int) -> None:
        features, self._waiting[number][fold] = self._waiting[number][fold], []
        patches = [
            group_patches(
                np.concatenate([f[self._model_of == k] for f in features]), self._granularity
            )
            for k in self._chosen
        ]
        if not self._origins:
            self._origins = [found.mean(axis=1, dtype=np.float64) for found in patches]
        sums = self._sums[number][fold]
        if not sums:
            sums += [GaussianSums(*self._shape, origin) for origin in self._origins]
        for found, gathered in zip(patches, sums, strict=True):
            gathered.add(found)


def foldings_of(spec: GaussianSpec, task: FitTask) -> list[Folds]:
    """One for each of the task's ways."""
    return [
        make_folds(task.scratch / str(number), parts, task.grid, task.reader, spec)
        for number, parts in enumerate(task.ways)
    ]


def one_gaussian(features: F32, whiten: Whiten) -> PadimScorer:
    """One Gaussian of all patches, whatever their places: what a probe measures by.

    Parameters
    ----------
    features : (..., D) float32
    whiten
        See `fit_gaussians`.
    """
    rows = features.reshape(-1, features.shape[-1])
    sums = GaussianSums(1, rows.shape[1])
    sums.add(rows[None])
    mean = sums.mean()[None].astype(np.float32)
    matrix = whiten(sums, 0, 1)[None].astype(np.float32)
    return PadimScorer(mean, matrix, np.zeros(1, np.intp), "single")


class GaussianFitting(ABC):
    """What methods of Gaussians share: they forget a part by taking it out of the sums."""

    @abstractmethod
    def embedding(self, taps: Sequence[Tap], grid_px: int, spec: Any, margin: int) -> Embedding:
        """See `Fitting`."""

    @abstractmethod
    def whiten(self, spec: Any) -> Whiten:
        """What makes the matrices by these settings."""

    def probe(self, spec: Any, features: F32, rng: np.random.Generator) -> PadimScorer:  # noqa: ARG002
        """See `Fitting`: one Gaussian of all patches."""
        return one_gaussian(features, self.whiten(spec))

    def leave_outs(self, spec: GaussianSpec, task: FitTask, load: LoadArrays) -> list[LeaveOut]:
        """See `Forgetting`."""
        return [PadimLeaveOut(folds, load) for folds in foldings_of(spec, task)]


class _PadimFitting(GaussianFitting):
    """See `Forgetting`."""

    def embedding(
        self, taps: Sequence[Tap], grid_px: int, spec: PadimSpec, margin: int
    ) -> PadimEmbedding:
        """See `Fitting`."""
        return PadimEmbedding(taps, grid_px, spec, margin)

    def fit(self, spec: PadimSpec, task: FitTask) -> dict[str, int]:
        """See `Fitting`."""
        with task.steps.step("fit PaDiM") as progress:
            fewest = fit_padim(
                task.reader,
                task.files,
                task.grid,
                spec,
                task.folder,
                progress,
                foldings_of(spec, task),
            )
        return {"patches_per_gaussian": fewest}

    def whiten(self, spec: PadimSpec) -> Whiten:
        """See `GaussianFitting`."""
        return partial(GaussianSums.whitening, shrinkage=spec.shrinkage)


# The workstation's half of the method `padim`.
PADIM = _PadimFitting()
