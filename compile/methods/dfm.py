"""DFM: the directions in which good features vary, and how far a feature lies beside them.

Ahuja et al., Probabilistic Modeling of Deep Features for Out-of-Distribution and Adversarial
Detection, 2019 (arXiv:1909.11786): a Gaussian in the kept directions. Ndiour et al., Subspace
Modeling for Fast Out-Of-Distribution and Anomaly Detection, 2022 (arXiv:2203.10422): the error of
reconstruction from them, eq. 2. Both are lengths of a matrix times a feature less its mean, which
is what PaDiM's half on the box measures; the matrix is another. Patch by patch, where the papers
pool the whole image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kenpin.compile.backbones import Tap
from kenpin.compile.methods.extractor import PatchCoreEmbedding
from kenpin.compile.methods.fitting import FitTask
from kenpin.compile.methods.padim import GaussianFitting, Whiten, fit_gaussians, foldings_of
from kenpin.config.dfm import DfmSpec
from kenpin.config.methods import PatchCoreSpec

__all__ = ["DFM", "beside", "within"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

# Directions in which good features hardly vary at all have no likelihood.
SMALLEST = 1e-9


def beside(covariance: F64, variance: float) -> F64:
    """(G, D, D) onto what the kept directions leave out: 1 - V V.T.

    Parameters
    ----------
    covariance : (G, D, D)
    variance
        That the kept directions hold, as a share.
    """
    _, vectors, kept = _directions(covariance, variance)
    left = vectors * ~kept[:, None, :]
    found: F64 = left @ left.transpose(0, 2, 1)
    return found


def within(covariance: F64, variance: float) -> F64:
    """(G, D, D) whose product with a difference has Mahalanobis's length in the kept directions."""
    values, vectors, kept = _directions(covariance, variance)
    weights = np.where(kept, 1 / np.sqrt(np.maximum(values, SMALLEST)), 0.0)
    found: F64 = (vectors * weights[:, None, :]) @ vectors.transpose(0, 2, 1)
    return found


def _directions(covariance: F64, variance: float) -> tuple[F64, F64, NDArray[np.bool_]]:
    """Variances from small to large, their directions as columns, and which are kept."""
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, 0)
    # What a direction and all smaller ones hold together: those are left out that hold little.
    below = np.cumsum(values, axis=1)
    kept = below > (1 - variance) * below[:, -1:]
    return values, vectors, kept


class _DfmFitting(GaussianFitting):
    """See `Forgetting`."""

    def embedding(
        self, taps: Sequence[Tap], grid_px: int, spec: DfmSpec, margin: int
    ) -> PatchCoreEmbedding:
        """See `Fitting`."""
        averaged = PatchCoreSpec(name="patchcore", neighbourhood=spec.neighbourhood)
        return PatchCoreEmbedding(taps, grid_px, averaged, margin)

    def fit(self, spec: DfmSpec, task: FitTask) -> dict[str, int]:
        """See `Fitting`."""
        whiten = self.whiten(spec)
        foldings = foldings_of(spec, task)
        with task.steps.step("fit DFM") as progress:
            patches = fit_gaussians(
                task.reader, task.files, task.grid, spec, whiten, task.folder, progress, foldings
            )
        return {"patches_per_model": patches}

    def whiten(self, spec: DfmSpec) -> Whiten:
        """See `GaussianFitting`."""
        make = beside if spec.score == "reconstruction" else within
        return lambda sums, start, stop: make(sums.covariance(start, stop), spec.variance)


# The workstation's half of the method `dfm`.
DFM = _DfmFitting()
