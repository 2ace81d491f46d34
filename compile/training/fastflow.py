"""FastFlow: how unlikely a backbone's features are, by a flow that keeps their places.

Yu et al., FastFlow: Unsupervised Anomaly Detection and Localization via 2D Normalizing Flows,
2021 (arXiv:2111.07677).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kenpin.compile.backbones import Tap
from kenpin.compile.training.fitting import MapFitting
from kenpin.compile.training.flow import (
    Flow,
    Standardized,
    Subnet,
    joined_by_likelihood,
    negative_log_likelihood,
)
from kenpin.compile.training.head import HeadPlan, TrainedHead, descend, on_one_grid
from kenpin.compile.training.no_number import at_least_zero
from kenpin.config.trained import FastflowSpec

__all__ = ["FASTFLOW", "FastflowHead"]

# Section 4.2 of the paper.
DECAY = 1e-5


def _subnet(side: int, ratio: float) -> Subnet:
    """Two convolutions; the last begins at zero, so that a flow begins as it is."""

    def make(inside: int, outside: int) -> nn.Module:
        hidden = max(1, int(ratio * inside))
        last = nn.Conv2d(hidden, outside, side, padding=side // 2)
        nn.init.zeros_(last.weight)
        assert last.bias is not None, "it has one by default"
        nn.init.zeros_(last.bias)
        first = nn.Conv2d(inside, hidden, side, padding=side // 2)
        return nn.Sequential(first, nn.ReLU(), last)

    return make


def _norm(tap: Tap, size_px: int, spec: FastflowSpec) -> nn.Module:
    """As the recipe wants it; a tile's own ends in a scale and a shift that are learned."""
    if spec.norm == "channel":
        return Standardized(tap.channels)
    side = size_px // tap.stride_px
    return nn.LayerNorm([tap.channels, side, side])


class _Flows(nn.Module):
    """A flow for each tap."""

    def __init__(self, plan: HeadPlan, spec: FastflowSpec) -> None:
        super().__init__()
        taps: Sequence[Tap] = plan.taps
        self._taps, self._grid_px = tuple(taps), plan.grid_px
        # Large and small kernels in turn, as the paper has it for residual networks.
        kernels = [
            _subnet(3 if n % 2 == 0 else 1, spec.hidden_ratio) for n in range(spec.couplings)
        ]
        self.norms = nn.ModuleList(_norm(tap, plan.size_px, spec) for tap in taps)
        self.flows = nn.ModuleList(Flow(tap.channels, kernels) for tap in taps)

    def noise(self, maps: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Of each tap the noise and the logarithm of the determinant."""
        return [
            flow(norm(one)) for one, norm, flow in zip(maps, self.norms, self.flows, strict=True)
        ]

    def forward(self, maps: list[Tensor]) -> Tensor:
        """(N, 1, cells, cells): half the mean square of the noise, all taps by their likelihood.

        The paper ranks by the mean of exp of its negative, whose negative logarithm this is.
        """
        found = [0.5 * noise.square().mean(dim=1, keepdim=True) for noise, _ in self.noise(maps)]
        each = on_one_grid(found, self._taps, self._grid_px)
        # By rounding it may lie below.
        return at_least_zero(joined_by_likelihood(each))


class FastflowHead(TrainedHead):
    """Flows over a backbone's features; in float, for they compute exponentials."""

    def __init__(self, plan: HeadPlan, spec: FastflowSpec) -> None:
        super().__init__()
        self.embedding = _Flows(plan, spec)
        self._rate = spec.rate

    def forward(self, tiles: Tensor, taps: list[Tensor]) -> Tensor:  # noqa: ARG002
        """See `TrainedHead`."""
        found: Tensor = self.embedding(taps)
        return found

    def learn(
        self,
        tiles: Tensor,  # noqa: ARG002
        taps: list[Tensor],
        optimizers: list[torch.optim.Optimizer],
        step: int,  # noqa: ARG002
    ) -> None:
        """See `TrainedHead`: eq. 2, the likelihood of good features."""
        each = [negative_log_likelihood(*one).mean() for one in self.embedding.noise(taps)]
        descend(torch.stack(each).sum(), optimizers[0])

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """See `TrainedHead`."""
        return [torch.optim.Adam(self.parameters(), self._rate, weight_decay=DECAY)]


# The workstation's half of the method `fastflow`.
FASTFLOW = MapFitting(FastflowHead)
