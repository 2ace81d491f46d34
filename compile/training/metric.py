"""Deep metric learning with anomaly twins: good tiles lie together, drawn defects apart.

A small network over a frozen backbone learns to tell good tiles from twins of them, each kind a
class of its own, by one of the losses in `margins`. What counts afterwards is not the class but
how far a tile is from the nearest good one, by cosine: so defects of no kind that was drawn are
far, too. Where in the tile, Grad-CAM says.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kenpin.compile.methods.extractor import onto_grid
from kenpin.compile.training.drawn import drawn_into
from kenpin.compile.training.fitting import MapFitting
from kenpin.compile.training.head import (
    SETTLED_TILES,
    HeadPlan,
    Shown,
    TrainedHead,
    descend,
    filled,
)
from kenpin.compile.training.margins import MarginLoss
from kenpin.compile.training.no_number import at_least_zero, at_most
from kenpin.compile.training.plain import Residual
from kenpin.config.errors import ConfigError
from kenpin.config.trained import MetricSpec

__all__ = ["METRIC", "MetricHead", "spread_out"]

# Of what a step draws at random.
TWINS = 7
SMALLEST = 1e-6
# A place is told from the others by this share of the usual length of features at least.
STANDS_OUT = 1e-3


def spread_out(rows: Tensor, count: int) -> Tensor:
    """At most `count` of (N, E) unit rows: each the farthest from those before it, by cosine."""
    chosen = [0]
    nearest = rows @ rows[0]
    while len(chosen) < min(count, len(rows)):
        farthest = int(nearest.argmin())
        chosen.append(farthest)
        nearest = torch.maximum(nearest, rows @ rows[farthest])
    return rows[chosen]


class _Nearest(nn.Module):
    """The distance to the nearest good embedding, and where in the tile it comes from."""

    bank: Tensor

    def __init__(self, plan: HeadPlan, dimensions: int, prototypes: int) -> None:
        super().__init__()
        stride = plan.taps[-1].stride_px
        self._factor = stride / plan.grid_px
        self._margin = -(-plan.halo_px // stride)
        if plan.size_px // stride <= 2 * self._margin:
            raise ConfigError(
                f"tiles of {plan.size_px} px with a halo of {plan.halo_px} px leave no place of "
                f"{plan.taps[-1].layer}, which has one every {stride} px, to method metric: "
                f"set tiles.size_px to {stride * (2 * self._margin + 1)} or more, or shrink "
                "tiles.halo_px"
            )
        self.register_buffer("bank", torch.zeros(prototypes, dimensions))

    def embedded(self, maps: Tensor) -> Tensor:
        """(N, E, h, w) to (N, E): the mean over the core."""
        m = self._margin
        core = maps[:, :, m : maps.shape[2] - m, m : maps.shape[3] - m]
        return core.mean(dim=(2, 3))

    def forward(self, maps: Tensor) -> Tensor:
        """(N, E, h, w) to (N, 1, cells, cells), whose highest place in the core is the distance.

        Between unit embeddings: the root of 2 - 2 cosine, so that it grows evenly with the angle.

        References
        ----------
        Selvaraju et al., Grad-CAM, ICCV 2017 (arXiv:1610.02391), eq. 1 and 2: of a mean over
        places the gradient is the same everywhere, and here it is known in closed form.
        """
        embedded = self.embedded(maps)
        length = embedded.square().sum(dim=1, keepdim=True).sqrt() + SMALLEST
        unit = embedded / length
        likeness = unit @ self.bank.T
        cosine = likeness.amax(dim=1, keepdim=True)
        # The nearest row, as a product: what gathers rows by number is not the same everywhere.
        nearest = (likeness == cosine).to(torch.float32) @ self.bank
        nearest = nearest / (nearest.square().sum(dim=1, keepdim=True).sqrt() + SMALLEST)
        slope = (cosine * unit - nearest) / length
        found = at_least_zero((maps * slope[:, :, None, None]).sum(dim=1, keepdim=True))
        m = self._margin
        core = found[:, :, m : found.shape[2] - m, m : found.shape[3] - m]
        # Where no place stands out, as in a core of one place, all of them are it.
        usual = maps.square().sum(dim=1, keepdim=True).sqrt().mean(dim=(2, 3), keepdim=True)
        floor = STANDS_OUT * usual / length[:, :, None, None]
        highest = core.amax(dim=(2, 3), keepdim=True)
        shares = at_most((found + floor) / (highest + floor), 1)
        # From the difference: near each other the cosine has no digits left.
        distance = (unit - nearest).square().sum(dim=1).sqrt()[:, None, None, None]
        return onto_grid(shares * distance, self._factor, "nearest")


class MetricHead(TrainedHead):
    """Layers that learn the measure, behind the backbone's coarsest tap.

    spec  what it was made by
    """

    def __init__(self, plan: HeadPlan, spec: MetricSpec) -> None:
        super().__init__()
        # Not a module of its own: it is the backbone that everything shares.
        self._backbone = (plan.backbone,)
        self._halo_px, self.spec = plan.halo_px, spec
        inside = plan.taps[-1].channels
        self.layers = nn.Sequential(
            nn.Conv2d(inside, spec.dimensions, 1, bias=False),
            nn.BatchNorm2d(spec.dimensions),
            nn.ReLU(),
            Residual(spec.dimensions),
            nn.Conv2d(spec.dimensions, spec.dimensions, 1),
        )
        self.embedding = _Nearest(plan, spec.dimensions, spec.prototypes)
        classes = 1 + len(spec.twins.kinds)
        self.loss = MarginLoss(spec.loss, spec.dimensions, classes, spec.margin, spec.scale)

    def forward(self, tiles: Tensor, taps: list[Tensor]) -> Tensor:  # noqa: ARG002
        """See `TrainedHead`."""
        found: Tensor = self.embedding(self.layers(taps[-1]))
        return found

    def embedded(self, taps: list[Tensor]) -> Tensor:
        """(N, E) unit embeddings of tiles."""
        return functional.normalize(self.embedding.embedded(self.layers(taps[-1])), dim=1)

    def learn(
        self,
        tiles: Tensor,
        taps: list[Tensor],
        optimizers: list[torch.optim.Optimizer],
        step: int,
    ) -> None:
        """See `TrainedHead`: the good tiles and as many twins of them."""
        spec = self.spec
        rng = np.random.default_rng([spec.seed, TWINS, step])
        drawn = torch.from_numpy(drawn_into(tiles.numpy(), spec.twins, self._halo_px, rng))
        with torch.no_grad():
            twins = self._backbone[0](drawn)[-1]
        maps = self.layers(torch.cat([taps[-1], twins]))
        kinds = torch.arange(len(tiles)) % len(spec.twins.kinds) + 1
        classes = torch.cat([torch.zeros(len(tiles), dtype=torch.int64), kinds])
        descend(self.loss(self.embedding.embedded(maps), classes), optimizers[0])

    def settle(self, shown: Shown) -> None:
        """See `TrainedHead`: good embeddings that stand for all."""
        with torch.no_grad():
            rows = torch.cat([self.embedded(taps) for _, taps in shown(SETTLED_TILES)])
            chosen = spread_out(rows, len(self.embedding.bank))
            self.embedding.bank.copy_(filled(chosen, len(self.embedding.bank)))

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """See `TrainedHead`."""
        return [torch.optim.Adam(self.parameters(), self.spec.rate)]


# The workstation's half of the method `metric`.
METRIC = MapFitting(MetricHead)
