"""CFLOW: how unlikely a feature is at its place, by flows that are told the place.

Gudovskiy, Ishizaka and Kozuka, CFLOW-AD: Real-Time Unsupervised Anomaly Detection with
Localization via Conditional Normalizing Flows, WACV 2022 (arXiv:2107.12571).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from kenpin.compile.backbones import Tap
from kenpin.compile.training.fitting import MapFitting
from kenpin.compile.training.flow import (
    Flow,
    Standardized,
    Subnet,
    joined_by_likelihood,
    negative_log_likelihood,
)
from kenpin.compile.training.head import (
    SETTLED_TILES,
    HeadPlan,
    Shown,
    TrainedHead,
    descend,
    on_one_grid,
)
from kenpin.config.trained import CflowSpec

__all__ = ["CFLOW", "CflowHead", "places"]


def places(channels: int, side: int) -> Tensor:
    """(1, channels, side, side) what tells places of a grid apart: sines and cosines.

    Half of the channels are of the row and half of the column.

    References
    ----------
    Vaswani et al., Attention Is All You Need, 2017 (arXiv:1706.03762), 3.5, in two dimensions as in
    section 3.4 of the paper.
    """
    half = channels // 2
    rate = torch.exp(torch.arange(0, half, 2) * (-math.log(10_000.0) / half))
    angle = torch.arange(side)[None, :] * rate[:, None]
    one = torch.cat([torch.sin(angle), torch.cos(angle)])
    rows = one[:, :, None].expand(-1, -1, side)
    cols = one[:, None, :].expand(-1, side, -1)
    return torch.cat([rows, cols])[None]


def _subnet(ratio: float) -> Subnet:
    """Two layers on each place alone; the last begins at zero."""

    def make(inside: int, outside: int) -> nn.Module:
        hidden = max(1, int(ratio * inside))
        last = nn.Conv2d(hidden, outside, 1)
        nn.init.zeros_(last.weight)
        assert last.bias is not None, "it has one by default"
        nn.init.zeros_(last.bias)
        return nn.Sequential(nn.Conv2d(inside, hidden, 1), nn.ReLU(), last)

    return make


class _ConditionalFlows(nn.Module):
    """A flow for each tap, told the place or not, and what it usually says of good features."""

    usual: Tensor

    def __init__(self, plan: HeadPlan, spec: CflowSpec) -> None:
        super().__init__()
        taps: Sequence[Tap] = plan.taps
        self._taps, self._grid_px = tuple(taps), plan.grid_px
        place_channels = spec.place_channels if spec.place == "tile" else 0
        subnets = [_subnet(spec.hidden_ratio)] * spec.couplings
        self.norms = nn.ModuleList(Standardized(tap.channels) for tap in taps)
        self.flows = nn.ModuleList(Flow(tap.channels, subnets, place_channels) for tap in taps)
        self._places = [
            places(place_channels, plan.size_px // tap.stride_px) if place_channels else None
            for tap in taps
        ]
        self.register_buffer("usual", torch.zeros(len(taps)))

    def unlikely(self, maps: list[Tensor]) -> list[Tensor]:
        """(N, 1, h_i, w_i) negative logarithm of the likelihood, for each channel, of each tap."""
        found = []
        for one, norm, flow, place in zip(maps, self.norms, self.flows, self._places, strict=True):
            condition = None if place is None else place.expand(len(one), -1, -1, -1)
            found.append(negative_log_likelihood(*flow(norm(one), condition)))
        return found

    def forward(self, maps: list[Tensor]) -> Tensor:
        """(N, 1, cells, cells): how much less likely than usual, all taps by their likelihood.

        The paper, eq. 8, makes probabilities by the highest likelihood of a whole test set, which a
        box does not know, and adds them up.
        """
        less = [one - self.usual[number] for number, one in enumerate(self.unlikely(maps))]
        each = on_one_grid(less, self._taps, self._grid_px)
        return functional.softplus(joined_by_likelihood(each))


class CflowHead(TrainedHead):
    """Flows over a backbone's features, place by place; in float."""

    def __init__(self, plan: HeadPlan, spec: CflowSpec) -> None:
        super().__init__()
        self.embedding = _ConditionalFlows(plan, spec)
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
        """See `TrainedHead`: eq. 6."""
        each = [one.mean() for one in self.embedding.unlikely(taps)]
        descend(torch.stack(each).sum(), optimizers[0])

    def settle(self, shown: Shown) -> None:
        """See `TrainedHead`: the mean of good features is what is usual."""
        with torch.no_grad():
            means = [
                torch.stack([one.mean() for one in self.embedding.unlikely(taps)])
                for _, taps in shown(SETTLED_TILES)
            ]
            self.embedding.usual.copy_(torch.stack(means).mean(dim=0))

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """See `TrainedHead`."""
        return [torch.optim.Adam(self.parameters(), self._rate)]


# The workstation's half of the method `cflow`.
CFLOW = MapFitting(CflowHead)
