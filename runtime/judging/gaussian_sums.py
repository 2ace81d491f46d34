"""Sums behind PaDiM's Gaussians, which more patches can be added to."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from kenpin.config.errors import ConfigError

__all__ = ["GaussianSums"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


class GaussianSums:
    """Mean and covariance of each of G groups, from batches, in bounded memory.

    Sums are float64 and taken about the first batch's mean, so that the large
    common part of the features does not cancel against itself. Sums that are to be
    added up share a shift: `origin` is the (G, D) to use.
    """

    def __init__(self, groups: int, dimensions: int, origin: F64 | None = None) -> None:
        self.count = 0
        self._shift = origin
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

    @classmethod
    def of(cls, mean: F32, whitening: F32, shrinkage: float, count: int) -> Self:
        """The sums behind finished statistics: `mean` and `whitening` hold them all.

        With W.T @ W the inverse of Σ + shrinkage I, what is Σ is (1/W) (1/W).T less the
        shrinkage; of float32 it comes back to six digits or so.

        Parameters
        ----------
        mean : (G, D) float32
        whitening : (G, D, D) float32
        count
            Patches behind each Gaussian.
        """
        groups, dimensions = mean.shape
        made = cls(groups, dimensions, mean.astype(np.float64))
        root = np.linalg.inv(whitening.astype(np.float64))
        covariance = root @ root.transpose(0, 2, 1) - shrinkage * np.eye(dimensions)
        made._products = covariance * (count - 1)
        made.count = count
        return made

    def without(self, other: GaussianSums) -> GaussianSums:
        """The sums less those of some of their own patches, gathered about the same origin."""
        return self._combined(other, -1)

    def plus(self, other: GaussianSums) -> GaussianSums:
        """The sums of both, gathered about the same origin."""
        return self._combined(other, 1)

    def _combined(self, other: GaussianSums, sign: int) -> GaussianSums:
        groups, dimensions = self._sum.shape
        made = GaussianSums(groups, dimensions, self._shift)
        made._sum = self._sum + sign * other._sum
        made._products = self._products + sign * other._products
        made.count = self.count + sign * other.count
        return made

    def mean(self) -> F64:
        """(G, D) mean.

        Raises
        ------
        ValueError
            If no patches were added.
        """
        if self._shift is None:
            raise ValueError("no patches were added")
        return self._shift + self._sum / self.count

    def covariance(self, start: int, stop: int) -> F64:
        """(stop - start, D, D) unbiased covariance of some of the groups.

        Raises
        ------
        ValueError
            If there is but one patch for each Gaussian.
        """
        if self.count < 2:
            raise ValueError(f"{self.count} patch for each Gaussian, expected at least 2")
        offset = self._sum[start:stop] / self.count
        outer = offset[:, :, None] * offset[:, None, :]
        return (self._products[start:stop] - self.count * outer) / (self.count - 1)

    def whitening(self, start: int, stop: int, shrinkage: float) -> F64:
        """(stop - start, D, D) lower-triangular W, W.T @ W = inverse(covariance + shrinkage I).

        Raises
        ------
        ConfigError
            If the shrinkage is lost beside the covariance, which has no inverse then.
        ValueError
            As `covariance`.
        """
        covariance = self.covariance(start, stop)
        covariance += shrinkage * np.eye(covariance.shape[-1])
        # With covariance = L L.T, the inverse is (1/L).T (1/L).
        try:
            return np.tril(np.linalg.inv(np.linalg.cholesky(covariance)))
        except np.linalg.LinAlgError as error:
            most = float(np.sqrt(np.diagonal(covariance, axis1=1, axis2=2).max()))
            raise ConfigError(
                f"features deviate by up to {most:.1e}, beside which method.shrinkage "
                f"{shrinkage:g} is lost and their covariance has no inverse; set a larger "
                "method.shrinkage, or scale what the network gives"
            ) from error
