"""PaDiM told of more good frames: their patches are added to the sums behind its Gaussians."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kenpin.config.methods import PadimSpec
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.gaussian_sums import GaussianSums
from kenpin.runtime.judging.scoring import array_of
from kenpin.runtime.judging.sharing import group_count, group_patches, model_count, model_of_tile
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.learning.learner import CannotLearnError

__all__ = ["PadimLearner", "learn_padim"]

F32 = NDArray[np.float32]

# Gaussians whose sums are held at once: 256 of 100 dimensions are 20 MB, a few times over.
AT_ONCE = 256


class PadimLearner:
    """See `Learner`. The sums come back from mean, whitening and the count behind them."""

    def __init__(
        self, mean: F32, whitening: F32, count: int, spec: PadimSpec, grid: TileGrid, scratch: Path
    ) -> None:
        """Keep what the Gaussians were.

        Parameters
        ----------
        mean : (K, G, D) float32
        whitening : (K, G, D, D) float32
        count
            Patches behind each Gaussian.
        """
        self._mean, self._whitening, self._count = mean, whitening, count
        self._spec = spec
        self._members = model_of_tile(grid, spec.share)
        self._scratch = scratch
        # Whose features lie in which files.
        self._files: list[tuple[int, Path]] = []

    def take(
        self,
        frame: int,
        features: F32,
        counts: NDArray[np.bool_] | None = None,  # noqa: ARG002
    ) -> None:
        """See `Learner`; as in a build, each Gaussian is told of all its places."""
        file = self._scratch / f"{len(self._files)}.npy"
        np.save(file, features)
        self._files.append((frame, file))

    def arrays(self, left_out: Collection[int] = ()) -> tuple[dict[str, F32], int]:
        """See `Learner`; what is added are patches of each Gaussian."""
        files = [file for frame, file in self._files if frame not in left_out]
        if not files:
            return {}, 0
        mean, whitening = np.empty_like(self._mean), np.empty_like(self._whitening)
        added = 0
        for k in range(len(mean)):
            features = [np.load(file, mmap_mode="r")[self._members == k] for file in files]
            patches = group_patches(np.concatenate(features), self._spec.granularity)
            added = patches.shape[1]
            for start in range(0, len(patches), AT_ONCE):
                own = slice(start, start + AT_ONCE)
                sums = GaussianSums.of(
                    self._mean[k, own], self._whitening[k, own], self._spec.shrinkage, self._count
                )
                sums.add(patches[own])
                mean[k, own] = sums.mean()
                groups = len(mean[k, own])
                whitening[k, own] = sums.whitening(0, groups, self._spec.shrinkage)
        support = np.array([self._count + added], np.float32)
        return {"mean": mean, "whitening": whitening, "support": support}, added


def learn_padim(bundle: Bundle, grid: TileGrid, scratch: Path) -> PadimLearner:
    """See `LoadLearner`.

    Raises
    ------
    CannotLearnError
        If the bundle does not say how many patches are behind its Gaussians.
    """
    manifest, arrays = bundle.manifest, bundle.arrays
    spec, dims = manifest.method, manifest.features.dimensions
    assert isinstance(spec, PadimSpec)
    if "support" not in arrays:
        raise CannotLearnError(
            f"{bundle.label}: does not hold support.npy, the number of patches behind its "
            "Gaussians, and was compiled before there was one; compile it again"
        )
    models, groups = (
        model_count(grid, spec.share),
        group_count(manifest.features.cells, spec.granularity),
    )
    mean = array_of(arrays, "mean", (models, groups, dims))
    whitening = array_of(arrays, "whitening", (models, groups, dims, dims))
    count = int(array_of(arrays, "support", (1,))[0])
    return PadimLearner(mean, whitening, count, spec, grid, scratch)
