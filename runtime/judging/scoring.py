"""What a method is on the box: statistics in, and then features of a frame's tiles to distances."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kenpin.config.errors import ConfigError
from kenpin.config.methods import METHODS, MethodSettings
from kenpin.config.registry import load_object
from kenpin.runtime.bundles.manifest import BundleError, FeatureRecord
from kenpin.runtime.judging.proposals import BankSearch
from kenpin.runtime.judging.tiling import TileGrid

__all__ = [
    "LoadScorer",
    "OnFeatures",
    "OnPixels",
    "Scorer",
    "TileDistances",
    "array_of",
    "load_scorer",
]

F32 = NDArray[np.float32]
Index = NDArray[np.intp]
# Called with (tiles, cells, cells, D) features, which belong to the network again afterwards, and
# (tiles, cells, cells) bool, which of their places are inspected; None: all.
OnFeatures = Callable[[F32, NDArray[np.bool_] | None], None]
# Called with (H, W) or (H, W, 3) uint8 pixels of a whole frame, in the light that it came in.
OnPixels = Callable[[NDArray[Any]], None]


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


class LoadScorer(Protocol):
    """The half of a method that runs on the box; what `Method.scorer` names."""

    def __call__(
        self,
        arrays: Mapping[str, F32],
        method: Any,
        features: FeatureRecord,
        grid: TileGrid,
        threads: int | None = None,
        *,
        exhaustive: bool = False,
    ) -> Scorer:
        """A scorer made of the arrays that the method's other half has written.

        Parameters
        ----------
        method
            The recipe's settings, of the method's own class.
        features
            What the network gives for a tile.
        threads
            Cores for the distances; None: all that this process may use.
        exhaustive
            Measure everything, without shortcuts: what shortcuts are compared with.

        Raises
        ------
        BundleError
            If an array is missing or its shape does not fit the geometry.
        """
        ...


def load_scorer(
    arrays: Mapping[str, F32],
    method: MethodSettings,
    features: FeatureRecord,
    grid: TileGrid,
    threads: int | None = None,
    *,
    exhaustive: bool = False,
) -> Scorer:
    """The fitted method that a set of arrays makes; see `LoadScorer`.

    Raises
    ------
    BundleError
        If an array is missing or its shape does not fit the geometry, or holds numbers
        that the method cannot use; or if the method's code cannot be loaded. A SearchError
        where it would do without its shortcut.
    """
    try:
        load: LoadScorer = load_object(METHODS.find(method.name).scorer)
    except ConfigError as error:
        raise BundleError(f"method {method.name}: {error}") from error
    return load(arrays, method, features, grid, threads, exhaustive=exhaustive)


def array_of(arrays: Mapping[str, F32], name: str, shape: tuple[int, ...]) -> F32:
    """One of a bundle's arrays.

    Raises
    ------
    BundleError
        If it is missing or its shape does not fit the geometry.
    """
    found = arrays.get(name)
    if found is None or found.shape != shape:
        raise BundleError(
            f"statistics {name}.npy are {'missing' if found is None else found.shape}, "
            f"the geometry needs {shape}; recompile the bundle"
        )
    return np.asarray(found)
