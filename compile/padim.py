"""Fitting PaDiM: streamed means and covariances, turned into whitening matrices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from kenpin.compile.backbones import Tap
from kenpin.compile.extractor import PadimEmbedding
from kenpin.compile.fitting import FitTask
from kenpin.compile.images import FeatureReader
from kenpin.config.errors import ConfigError
from kenpin.config.methods import PadimSpec
from kenpin.runtime.judging.padim import PadimScorer
from kenpin.runtime.judging.sharing import group_count, group_patches, model_count, model_of_tile
from kenpin.runtime.judging.tiling import TileGrid

__all__ = ["PADIM", "GaussianSums", "fit_padim"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

# Accumulated covariances held at once; more models mean more passes, not more memory.
SUMS_BYTES = 1 << 30
# Features gathered before they are added: one product of many patches is far
# faster than many products of one.
BATCH_BYTES = 64 << 20
# Matrices inverted at once.
WHITENING_BLOCK = 256


class GaussianSums:
    """Mean and covariance of each of G groups, from batches, in bounded memory.

    Sums are float64 and taken about the first batch's mean, so that the large
    common part of the features does not cancel against itself.
    """

    def __init__(self, groups: int, dimensions: int) -> None:
        self.count = 0
        self._shift: F64 | None = None
        self._sum = np.zeros((groups, dimensions))
        self._products = np.zeros((groups, dimensions, dimensions))

    def add(self, patches: F32) -> None:
        """Take in (G, N, D) patches, N more for each group."""
        if self._shift is None:
            self._shift = patches.mean(axis=1, dtype=np.float64)
        centred = patches - self._shift[:, None, :]
        self._sum += centred.sum(axis=1)
        self._products += centred.transpose(0, 2, 1) @ centred
        self.count += patches.shape[1]

    def mean(self) -> F64:
        """(G, D) mean."""
        if self._shift is None:
            raise ValueError("no patches were added")
        return self._shift + self._sum / self.count

    def covariance(self, start: int, stop: int) -> F64:
        """(stop - start, D, D) unbiased covariance of some of the groups."""
        if self.count < 2:
            raise ValueError(f"{self.count} patch for each Gaussian, expected at least 2")
        offset = self._sum[start:stop] / self.count
        outer = offset[:, :, None] * offset[:, None, :]
        return (self._products[start:stop] - self.count * outer) / (self.count - 1)

    def whitening(self, start: int, stop: int, shrinkage: float) -> F64:
        """Lower-triangular W with W.T @ W = inverse(covariance + shrinkage I)."""
        covariance = self.covariance(start, stop)
        covariance += shrinkage * np.eye(covariance.shape[-1])
        # With covariance = L L.T, the inverse is (1/L).T (1/L).
        return np.tril(np.linalg.inv(np.linalg.cholesky(covariance)))


def fit_padim(
    reader: FeatureReader,
    files: list[Path],
    grid: TileGrid,
    spec: PadimSpec,
    folder: Path,
    progress: Callable[[int, int], None],
) -> int:
    """Write `mean.npy` and `whitening.npy`; gives the patches behind each Gaussian.

    The arrays have the shapes that `PadimScorer` states. Images are read one
    at a time, once for every group of models whose sums fit in memory.

    Raises
    ------
    ConfigError
        If the granularity does not fit the tile, or a Gaussian would have
        fewer than two patches.
    """
    cells, dims = reader.cells, reader.dimensions
    try:
        groups = group_count(cells, spec.granularity)
    except ValueError as error:
        raise ConfigError(f"method.granularity: {error}") from None
    models = model_count(grid, spec.share)
    members = model_of_tile(grid, spec.share)
    mean = open_memmap(folder / "mean.npy", "w+", np.float32, (models, groups, dims))
    white = open_memmap(folder / "whitening.npy", "w+", np.float32, (models, groups, dims, dims))
    at_once = max(1, SUMS_BYTES // (8 * groups * dims * dims))
    passes = -(-models // at_once)
    fewest = 0
    for turn in range(passes):
        chosen = list(range(turn * at_once, min(models, (turn + 1) * at_once)))
        tiles = np.flatnonzero(np.isin(members, chosen))

        def step(done: int, total: int, turn: int = turn) -> None:
            progress(turn * total + done, passes * total)

        sums = _sums(reader, files, tiles, members[tiles], chosen, groups, spec, step)
        for k, gathered in zip(chosen, sums, strict=True):
            if gathered.count < 2:
                raise ConfigError(
                    f"each Gaussian would rest on {gathered.count} patch; expected at least 2: "
                    "add good images, or use a coarser granularity or share"
                )
            fewest = gathered.count if not fewest else min(fewest, gathered.count)
            mean[k] = gathered.mean()
            for start in range(0, groups, WHITENING_BLOCK):
                stop = min(groups, start + WHITENING_BLOCK)
                white[k, start:stop] = gathered.whitening(start, stop, spec.shrinkage)
    mean.flush()
    white.flush()
    return fewest


def _sums(
    reader: FeatureReader,
    files: list[Path],
    tiles: NDArray[np.intp],
    model_of: NDArray[np.intp],
    chosen: list[int],
    groups: int,
    spec: PadimSpec,
    progress: Callable[[int, int], None],
) -> list[GaussianSums]:
    sums = [GaussianSums(groups, reader.dimensions) for _ in chosen]
    waiting: list[F32] = []

    def flush() -> None:
        for k, gathered in zip(chosen, sums, strict=True):
            mine = np.concatenate([features[model_of == k] for features in waiting])
            gathered.add(group_patches(mine, spec.granularity))
        waiting.clear()

    for features in reader.read(files, tiles, progress):
        waiting.append(features)
        if len(waiting) * features.nbytes >= BATCH_BYTES:
            flush()
    if waiting:
        flush()
    return sums


class _PadimFitting:
    """See `Fitting`."""

    def embedding(
        self, taps: Sequence[Tap], grid_px: int, spec: PadimSpec, margin: int
    ) -> PadimEmbedding:
        """See `Fitting`."""
        return PadimEmbedding(taps, grid_px, spec, margin)

    def fit(self, spec: PadimSpec, task: FitTask) -> dict[str, int]:
        """See `Fitting`."""
        with task.steps.step("fit PaDiM") as told:
            fewest = fit_padim(task.reader, task.files, task.grid, spec, task.folder, told)
        return {"patches_per_gaussian": fewest}

    def probe(self, spec: PadimSpec, features: F32, rng: np.random.Generator) -> PadimScorer:  # noqa: ARG002
        """See `Fitting`: one Gaussian of all patches."""
        rows = features.reshape(-1, features.shape[-1])
        sums = GaussianSums(1, rows.shape[1])
        sums.add(rows[None])
        mean = sums.mean()[None].astype(np.float32)
        whitening = sums.whitening(0, 1, spec.shrinkage)[None].astype(np.float32)
        return PadimScorer(mean, whitening, np.zeros(1, np.intp), "single")


PADIM = _PadimFitting()
