"""PaDiM and DFM as members of an ensemble: their Gaussians lie within the network, and give a map.

As `kenpin.compile.methods.padim` and `kenpin.compile.methods.dfm`: the same features, the same
matrices, the length of their product with how far a feature is from the mean. What they are made
from are features in float, and the same ones serve all tiles; they are measured in float, whatever
the rest runs in.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kenpin.compile.methods.fitting import fitting_of
from kenpin.compile.methods.padim import GaussianFitting
from kenpin.compile.training.head import HeadPlan, Shown
from kenpin.compile.training.one_look import LOOKED_AT_TILES, OneLookHead
from kenpin.config.dfm import DfmSpec
from kenpin.config.errors import ConfigError
from kenpin.config.methods import PadimSpec
from kenpin.runtime.judging.gaussian_sums import GaussianSums
from kenpin.runtime.judging.sharing import group_count, group_patches

__all__ = ["GaussianHead"]

# Of a member's matrices: they lie in the bundle's network, and as often again in that of the folds
# while it is built.
MATRIX_BYTES = 256 << 20
# Made at once: each takes some ten times its size meanwhile.
MATRICES_AT_ONCE = 64


class GaussianHead(OneLookHead):
    """Knows how features of good tiles vary, place by place or everywhere alike."""

    embedding: _Lengths

    def __init__(self, plan: HeadPlan, spec: PadimSpec | DfmSpec) -> None:
        """For these settings, and a tile of this plan.

        Raises
        ------
        ConfigError
            If the granularity does not fit the tile, or the matrices are too large for a network.
        """
        super().__init__(plan)
        self._spec = spec
        fitting = fitting_of(spec)
        assert isinstance(fitting, GaussianFitting), "padim and dfm rest on Gaussians"
        self._whiten = fitting.whiten(spec)
        self.embedding = _Lengths(plan, spec, fitting)

    def fit(self, shown: Shown) -> None:
        """See `OneLookHead`."""
        own = self.embedding
        sums = GaussianSums(*own.mean.shape)
        for _, taps in shown(LOOKED_AT_TILES):
            core = own.features(taps).permute(0, 2, 3, 1).numpy()
            sums.add(group_patches(core, self._spec.granularity))
        if sums.count < 2:
            raise ConfigError(
                f"each Gaussian would rest on {sums.count} patch, expected at least 2: add good "
                "images, or use a coarser granularity"
            )
        own.mean.copy_(torch.from_numpy(sums.mean()))
        for start in range(0, len(own.mean), MATRICES_AT_ONCE):
            stop = min(len(own.mean), start + MATRICES_AT_ONCE)
            own.matrices[start:stop] = torch.from_numpy(self._whiten(sums, start, stop))


class _Lengths(nn.Module):
    """Taps to the length of each patch's product with the matrix of its place.

    mean      (G, D)
    matrices  (G, D, D)
    places    of a core, those of each Gaussian together
    back      where among these each place is
    """

    mean: Tensor
    matrices: Tensor
    places: Tensor
    back: Tensor

    def __init__(self, plan: HeadPlan, spec: PadimSpec | DfmSpec, fitting: GaussianFitting) -> None:
        super().__init__()
        self._margin = plan.margin
        self.features = fitting.embedding(plan.taps, plan.grid_px, spec, plan.margin)
        dimensions = self.features.dimensions
        cells = plan.cells - 2 * plan.margin
        try:
            groups = group_count(cells, spec.granularity)
        except ValueError as error:
            raise ConfigError(f"granularity: {error}") from None
        size = 4 * groups * dimensions**2
        if size > MATRIX_BYTES:
            raise ConfigError(
                f"{groups} Gaussians of {dimensions} channels are {size >> 20} MiB of matrices, "
                f"and a member may have {MATRIX_BYTES >> 20}; use a coarser granularity, fewer "
                f"{'dimensions' if isinstance(spec, PadimSpec) else 'layers'}, or {spec.name} alone"
            )
        numbers = np.arange(cells**2, dtype=np.float32).reshape(1, cells, cells, 1)
        places = torch.from_numpy(group_patches(numbers, spec.granularity)).long().flatten()
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("back", places.argsort(), persistent=False)
        self.register_buffer("mean", torch.zeros(groups, dimensions))
        self.register_buffer("matrices", torch.zeros(groups, dimensions, dimensions))

    def forward(self, taps: list[Tensor]) -> Tensor:
        """(N, 1, cells, cells); what is not wanted of it is as its nearest place."""
        found: Tensor = self.features(taps)
        tiles, dimensions, rows, columns = found.shape
        patches = found.flatten(2).permute(2, 0, 1)[self.places]
        apart = patches.reshape(len(self.mean), -1, dimensions) - self.mean[:, None]
        products = apart @ self.matrices.transpose(1, 2)
        lengths = products.square().sum(dim=2).sqrt().reshape(-1, tiles)[self.back]
        maps = lengths.T.reshape(tiles, 1, rows, columns)
        return functional.pad(maps, [self._margin] * 4, mode="replicate")
