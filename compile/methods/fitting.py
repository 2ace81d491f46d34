"""What a method is where bundles are compiled: features in, and a bundle's statistics out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from kenpin.compile.backbones import Tap
from kenpin.compile.good_images.parts import Parts
from kenpin.compile.methods.feature_reader import FeatureReader, ReaderOfSome
from kenpin.compile.methods.leave_out import LeaveOut
from kenpin.compile.progress import Steps
from kenpin.config.methods import METHODS, MethodSettings
from kenpin.config.registry import load_object
from kenpin.config.threshold import ThresholdSpec
from kenpin.runtime.judging.scoring import Scorer
from kenpin.runtime.judging.tiling import TileGrid

__all__ = [
    "Embedding",
    "FitTask",
    "Fitting",
    "Forgetting",
    "LoadArrays",
    "arrays_in",
    "fitting_of",
    "leave_outs",
]

F32 = NDArray[np.float32]
# Makes a scorer of statistics, by the names that they have in a bundle.
LoadArrays = Callable[[Mapping[str, F32]], Scorer]

# How often a method that cannot forget is fitted anew.
ANEW_FOLDS = 5


class Embedding(nn.Module):
    """The last part of the network: the taps' maps to one map of patch features.

    forward: taps (N, C_i, h_i, w_i), shallow to deep, to (N, dimensions, h, w) float32,
    the core of the grid. It stays in float where the rest runs in INT8.
    """

    dimensions: int

    def forward(self, taps: list[Tensor]) -> Tensor:
        """See the class."""
        raise NotImplementedError


@dataclass(frozen=True)
class FitTask:
    """What there is to fit from.

    reader  reads the good images' features, one image at a time
    files   the good images
    grid    of tiles in a frame
    folder  where the statistics are written: float32 arrays, as `.npy`
    steps   to tell a person how far it is
    ways    in which parts of the images will be left out, one after the other
    scratch a folder for what is needed until the bundle is sealed
    threshold
            what is asked of it, for methods whose statistics it is part of
    """

    reader: FeatureReader
    files: list[Path]
    grid: TileGrid
    folder: Path
    steps: Steps
    ways: Sequence[Parts]
    scratch: Path
    threshold: ThresholdSpec


class Fitting(Protocol):
    """The half of a method that runs on the workstation; what `Method.fitting` names."""

    def embedding(self, taps: Sequence[Tap], grid_px: int, spec: Any, margin: int) -> Embedding:
        """The part of the network that makes patch features of the taps.

        Parameters
        ----------
        grid_px
            Pixels from one patch to the next.
        spec
            The recipe's settings, of the method's own class.
        margin
            Patches at each border of a tile that are not wanted: its halo.

        Raises
        ------
        ConfigError
            If the settings do not fit the layers.
        """
        ...

    def fit(self, spec: Any, task: FitTask) -> dict[str, int]:
        """Write the arrays of which the method's other half makes a scorer.

        Returns
        -------
        What the report says about how much the statistics rest on.

        Raises
        ------
        ConfigError
            If the settings do not fit the images.
        """
        ...

    def probe(self, spec: Any, features: F32, rng: np.random.Generator) -> Scorer:
        """A small scorer of one tile, to compare two precisions of a network by.

        Parameters
        ----------
        features : (N, cells, cells, D) float32, of N normal tiles
        """
        ...


@runtime_checkable
class Forgetting(Fitting, Protocol):
    """A fitting that can leave a part of the images out without fitting anew."""

    def leave_outs(self, spec: Any, task: FitTask, load: LoadArrays) -> list[LeaveOut]:
        """For each of the task's ways; called after `fit`.

        Parameters
        ----------
        load
            Makes a scorer of arrays such as `fit` writes.
        """
        ...


def leave_outs(
    fitting: Fitting, spec: MethodSettings, task: FitTask, load: LoadArrays
) -> list[LeaveOut]:
    """What can forget parts, for each of the task's ways; called after the fit.

    A method that cannot do it by itself is fitted anew, a few times, on some of the parts.
    """
    if isinstance(fitting, Forgetting):
        return fitting.leave_outs(spec, task, load)
    return [
        _FittedAnew(fitting, spec, task, parts, task.scratch / f"way-{number}", load)
        for number, parts in enumerate(task.ways)
    ]


class _FittedAnew:
    """See `LeaveOut`: by fitting on the images of all other folds of parts."""

    def __init__(
        self,
        fitting: Fitting,
        spec: MethodSettings,
        task: FitTask,
        parts: Parts,
        folder: Path,
        load: LoadArrays,
    ) -> None:
        self._fitting, self._spec, self._task, self._parts = fitting, spec, task, parts
        self._folder, self._load = folder, load
        self._fold_of = parts.folds(min(ANEW_FOLDS, len(parts)))
        self._last: tuple[int, Scorer] | None = None

    def without(self, part: int) -> Scorer:
        """See `LeaveOut`."""
        fold = int(self._fold_of[part])
        if self._last is None or self._last[0] != fold:
            self._last = fold, self._fitted(fold)
        return self._last[1]

    def _fitted(self, fold: int) -> Scorer:
        folder = self._folder / str(fold)
        if not folder.is_dir():
            folder.mkdir(parents=True)
            self._fitting.fit(self._spec, replace(self._less(fold), folder=folder, ways=()))
        return self._load(arrays_in(folder))

    def _less(self, fold: int) -> FitTask:
        """What there is to fit from without a fold."""
        task, parts = self._task, self._parts
        if parts.how == "lines":
            # A file shows several parts, or several files are one web.
            wanted = self._fold_of != fold
            reader = ReaderOfSome(task.reader, lambda web, row: bool(wanted[parts.of(web, row)]))
            return replace(task, reader=reader)
        kept = [
            file
            for number, file in enumerate(task.files)
            if self._fold_of[parts.of(number)] != fold
        ]
        return replace(task, files=kept)


def arrays_in(folder: Path) -> dict[str, F32]:
    """The arrays that a method has written, by name."""
    return {file.stem: np.load(file, mmap_mode="r") for file in sorted(folder.glob("*.npy"))}


def fitting_of(spec: MethodSettings) -> Fitting:
    """The fitting half of the method with these settings.

    Raises
    ------
    ConfigError
        If its code cannot be loaded.
    """
    fitting: Fitting = load_object(METHODS.find(spec.name).fitting)
    return fitting
