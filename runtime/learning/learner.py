"""What can tell a bundle's statistics of more good frames, without its network being touched."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kenpin.config.errors import ConfigError
from kenpin.config.methods import METHODS
from kenpin.config.registry import load_object
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.tiling import TileGrid

__all__ = ["CannotLearnError", "Learner", "LoadLearner", "load_learner"]

F32 = NDArray[np.float32]


class CannotLearnError(ConfigError):
    """This bundle cannot be updated, or not with these frames: says why, and what to do."""


class Learner(Protocol):
    """Statistics that are told of more good frames."""

    def take(self, frame: int, features: F32, counts: NDArray[np.bool_] | None = None) -> None:
        """Hear of some tiles of a frame.

        Parameters
        ----------
        frame
            Which one, counted from 0; several calls may be about the same.
        features : (tiles, cells, cells, D) float32, in the grid's order
            Of a web, a tile row at a time.
        counts : (tiles, cells, cells)
            Whether a place is inspected; None: all are.
        """
        ...

    def arrays(self, left_out: Collection[int] = ()) -> tuple[dict[str, F32], int]:
        """The bundle's arrays that are others now, and how much was added to them.

        Parameters
        ----------
        left_out
            Frames that are taken for unheard: to judge them as if never seen.
        """
        ...


class LoadLearner(Protocol):
    """What `Method.learner` names."""

    def __call__(self, bundle: Bundle, grid: TileGrid, scratch: Path) -> Learner:
        """The learner of a bundle's statistics.

        Parameters
        ----------
        scratch
            An empty folder, for what does not fit into memory.

        Raises
        ------
        CannotLearnError
            If they do not hold what is needed.
        """
        ...


def load_learner(bundle: Bundle, grid: TileGrid, scratch: Path) -> Learner:
    """The learner of a bundle's method.

    Raises
    ------
    CannotLearnError
        If the method has none, or the bundle's statistics do not hold what it needs.
    """
    name = bundle.manifest.method.name
    path = METHODS.find(name).learner
    if path is None:
        raise CannotLearnError(
            f"{bundle.label}: method {name} cannot be told of more frames; compile the bundle "
            "again, with them among the good images"
        )
    load: LoadLearner = load_object(path)
    return load(bundle, grid, scratch)
