"""PatchCore as a member of an ensemble: its memory lies within the network, and gives a map.

Roth et al., CVPR 2022 (arXiv:2106.08265), as `kenpin.compile.methods.patchcore`: the same patches,
the same greedy choice, the distance to the nearest. What is chosen from are features in float, and
one memory serves all places; it is measured in float, whatever the rest runs in.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from kenpin.compile.methods.extractor import PatchCoreEmbedding
from kenpin.compile.methods.patch_sample import Reservoir
from kenpin.compile.methods.patchcore import DEFAULT_ROWS, k_centre_greedy
from kenpin.compile.methods.streamed_coreset import random_projection
from kenpin.compile.training.head import HeadPlan, Shown, filled
from kenpin.compile.training.no_number import at_least_zero
from kenpin.compile.training.one_look import LOOKED_AT_TILES, OneLookHead
from kenpin.config.methods import PatchCoreSpec

__all__ = ["MemoryHead"]

# Rows that all patches of a batch are measured against at once: 8 tiles of 1,024 places and 512
# rows are 16 MiB.
ROWS_AT_ONCE = 512


class _NearestRows(nn.Module):
    """Taps to the distance of each patch to the nearest of the memory's.

    bank     (M, D) rows, less the centre
    bank_sq  (M,) their squared lengths
    centre   (D,) of all rows: around it products lose fewer digits
    """

    bank: Tensor
    bank_sq: Tensor
    centre: Tensor

    def __init__(self, plan: HeadPlan, spec: PatchCoreSpec) -> None:
        super().__init__()
        self.features = PatchCoreEmbedding(plan.taps, plan.grid_px, spec)
        rows, dimensions = spec.coreset_rows or DEFAULT_ROWS, self.features.dimensions
        self.register_buffer("bank", torch.zeros(rows, dimensions))
        self.register_buffer("bank_sq", torch.zeros(rows))
        self.register_buffer("centre", torch.zeros(dimensions))

    def forward(self, taps: list[Tensor]) -> Tensor:
        """(N, 1, h, w)."""
        found = self.features(taps)
        patches = found.permute(0, 2, 3, 1) - self.centre
        parts = []
        for start in range(0, len(self.bank), ROWS_AT_ONCE):
            rows = self.bank[start : start + ROWS_AT_ONCE]
            squares = self.bank_sq[start : start + ROWS_AT_ONCE]
            # |x - y|^2 less |x|^2, which is the same for every row.
            parts.append((squares - 2 * (patches @ rows.T)).amin(dim=3))
        nearest = torch.stack(parts).amin(dim=0) + patches.square().sum(dim=3)
        return at_least_zero(nearest).sqrt().unsqueeze(1)

    def remember(self, rows: Tensor) -> None:
        """Take (m, D) rows, of as many as the bank has or fewer."""
        rows = filled(rows, len(self.bank))
        self.centre.copy_(rows.mean(dim=0))
        self.bank.copy_(rows - self.centre)
        self.bank_sq.copy_(self.bank.square().sum(dim=1))


class MemoryHead(OneLookHead):
    """Remembers patches of good tiles."""

    embedding: _NearestRows

    def __init__(self, plan: HeadPlan, spec: PatchCoreSpec) -> None:
        super().__init__(plan)
        self.embedding = _NearestRows(plan, spec)
        self._spec = spec

    def fit(self, shown: Shown) -> None:
        """See `OneLookHead`."""
        spec, rng = self._spec, np.random.default_rng(self._spec.seed)
        sample = Reservoir(spec.candidates, self.embedding.features.dimensions, rng)
        for _, taps in shown(LOOKED_AT_TILES):
            core = self.plan.core(self.embedding.features(taps))
            sample.add(core.permute(0, 2, 3, 1).flatten(0, 2).numpy())
        points = random_projection(sample.rows, spec.projection_dimensions, rng)
        first = int(rng.integers(len(points)))
        chosen = k_centre_greedy(points, len(self.embedding.bank), first)
        self.embedding.remember(torch.from_numpy(sample.rows[chosen]))
