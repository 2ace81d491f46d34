"""How far a frame's features lie from those of good material, whatever lamp and focus do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kenpin.runtime.bundles.manifest import BundleError
from kenpin.runtime.judging.scoring import array_of

__all__ = ["Material"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

# Directions with a spread of their own; for each, so many good images at least.
_MOST_AXES = 16
_IMAGES_EACH = 4
# A feature that hardly varies among few good images is not taken for a constant.
_LEAST_SCALE = 0.05
# Below this share of the largest, a direction that a change of light or focus takes is noise.
_LEAST_KNOWN = 0.05
_NAMES = ("mean", "scale", "known", "axes", "spread")


@dataclass(frozen=True, eq=False)
class Material:
    """The mean features of good frames as a Gaussian, probabilistic principal components.

    mean, scale  (D,): each feature in its own deviations
    known        (Q, D): directions that lamp and focus move features in, orthonormal; what
                 lies along them is no material
    axes         (K, D): directions in which good frames vary, orthonormal
    spread       (K + 1,): deviations along them; the last one's of every other direction

    References
    ----------
    Tipping & Bishop, Probabilistic Principal Component Analysis, 1999, eq. 12.
    """

    mean: F32
    scale: F32
    known: F32
    axes: F32
    spread: F32

    @classmethod
    def fitted(cls, features: F32, moved: F32) -> Self:
        """From mean features of good frames.

        Parameters
        ----------
        features : (n, D) float32, n at least 3
        moved : (Q, D) float32
            How they are displaced by a change of lamp and of focus.
        """
        values = features.astype(np.float64)
        mean, scale = values.mean(axis=0), values.std(axis=0)
        scale = np.maximum(scale, _LEAST_SCALE * np.median(scale) + 1e-6)
        known = _orthonormal(moved / scale)
        deltas = (values - mean) / scale
        deltas -= deltas @ known.T @ known
        _, lengths, axes = np.linalg.svd(deltas, full_matrices=False)
        variances = lengths**2 / (len(values) - 1)
        count = max(1, min(_MOST_AXES, len(values) // _IMAGES_EACH, len(axes)))
        others = max(1, len(mean) - len(known) - count)
        rest = max(float(variances[count:].sum()) / others, 1e-6)
        spread = np.sqrt([*np.maximum(variances[:count], rest), rest])
        parts = mean, scale, known, axes[:count], spread
        return cls(*(np.ascontiguousarray(part, np.float32) for part in parts))

    @classmethod
    def of(cls, arrays: Mapping[str, F32], dimensions: int) -> Self:
        """From a bundle's arrays.

        Raises
        ------
        BundleError
            If one is missing or does not fit the others.
        """
        found = {name: arrays.get(f"drift_{name}") for name in _NAMES}
        axes, known = found["axes"], found["known"]
        rows = 0 if axes is None else len(axes)
        shapes = {
            "mean": (dimensions,),
            "scale": (dimensions,),
            "known": (0 if known is None else len(known), dimensions),
            "axes": (rows, dimensions),
            "spread": (rows + 1,),
        }
        parts = [array_of(arrays, f"drift_{name}", shapes[name]) for name in _NAMES]
        if (
            not all(np.isfinite(part).all() for part in parts)
            or min(parts[1].min(), parts[4].min()) <= 0
        ):
            raise BundleError(
                "statistics drift_*.npy hold no spread of good material; recompile the bundle"
            )
        return cls(*parts)

    @property
    def arrays(self) -> dict[str, F32]:
        """For a bundle."""
        return {f"drift_{name}": getattr(self, name) for name in _NAMES}

    @cached_property
    def _blind(self) -> bool:
        """Whether lamp and focus move every direction that there is."""
        return bool(np.count_nonzero(self.known.any(axis=1)) == len(self.mean))

    def distance(self, features: F32) -> float:
        """Of a frame's mean features, (D,), from good material: dimensionless, usually about 1.

        0 where lamp and focus move all that there is, as of a network whose one feature is a map.
        """
        if self._blind:
            return 0.0
        delta = (features - self.mean) / self.scale
        delta -= (self.known @ delta) @ self.known
        along = self.axes @ delta
        within, beside = self.spread[:-1], float(self.spread[-1])
        rest = max(0.0, float(delta @ delta) - float(along @ along))
        return float(np.sqrt((np.square(along / within).sum() + rest / beside**2) / len(delta)))


def _orthonormal(rows: F64) -> F64:
    """An orthonormal basis of what some rows span, without the directions that are noise."""
    _, lengths, axes = np.linalg.svd(rows, full_matrices=False)
    kept: F64 = axes[lengths > max(_LEAST_KNOWN * lengths[0], 1e-9)]
    # A bundle holds no empty array: then one direction of no length.
    return kept if len(kept) else np.zeros((1, rows.shape[1]))
