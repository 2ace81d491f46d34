"""What a method is where bundles are compiled: features in, and a bundle's statistics out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from kenpin.compile.backbones import Tap
from kenpin.compile.images import FeatureReader
from kenpin.compile.progress import Steps
from kenpin.config.methods import METHODS, MethodSettings
from kenpin.config.registry import load_object
from kenpin.runtime.judging.scoring import Scorer
from kenpin.runtime.judging.tiling import TileGrid

__all__ = ["Embedding", "FitTask", "Fitting", "fitting_of"]

F32 = NDArray[np.float32]


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
    """

    reader: FeatureReader
    files: list[Path]
    grid: TileGrid
    folder: Path
    steps: Steps


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


def fitting_of(spec: MethodSettings) -> Fitting:
    """The fitting half of the method with these settings.

    Raises
    ------
    ConfigError
        If its code cannot be loaded.
    """
    fitting: Fitting = load_object(METHODS.find(spec.name).fitting)
    return fitting
