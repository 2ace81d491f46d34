"""STFPM: a student that says of good material what its teacher says, and elsewhere does not.

Wang, Han, Ding and Huang, Student-Teacher Feature Pyramid Matching for Anomaly Detection, BMVC
2021 (arXiv:2103.04257). Teacher is the recipe's backbone, with the weights it comes with; the
student is the same network, drawn at random, and for an analytic backbone a plain one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from kenpin.compile.backbones import Tap
from kenpin.compile.training.fitting import MapFitting
from kenpin.compile.training.head import HeadPlan, TrainedHead, descend, on_one_grid
from kenpin.config.trained import StfpmSpec

__all__ = ["STFPM", "StudentHead"]

# Section 3.3 of the paper.
MOMENTUM, DECAY = 0.9, 1e-4


class _Apart(nn.Module):
    """How far two networks' features are apart, layer by layer, on one grid."""

    def __init__(self, taps: Sequence[Tap], grid_px: int) -> None:
        super().__init__()
        self._taps, self._grid_px = tuple(taps), grid_px

    def forward(self, taught: list[Tensor], learned: list[Tensor]) -> Tensor:
        """(N, 1, cells, cells): the product of all layers' distances, eq. 5."""
        joint: Tensor | None = None
        for found in on_one_grid(self.layers(taught, learned), self._taps, self._grid_px):
            joint = found if joint is None else joint * found
        assert joint is not None, "a backbone has a tap"
        return joint

    def layers(self, taught: list[Tensor], learned: list[Tensor]) -> list[Tensor]:
        """Half the squared distance of unit vectors, (N, 1, h_i, w_i) each, 0 to 2: eq. 1 and 2."""
        return [
            0.5 * (_unit(one) - _unit(other)).square().sum(dim=1, keepdim=True)
            for one, other in zip(taught, learned, strict=True)
        ]


def _unit(maps: Tensor) -> Tensor:
    return functional.normalize(maps, dim=1)


class StudentHead(TrainedHead):
    """A student beside the backbone, which is its teacher."""

    def __init__(self, plan: HeadPlan, spec: StfpmSpec) -> None:
        super().__init__()
        self.student = plan.fresh()
        self.embedding = _Apart(plan.taps, plan.grid_px)
        self._rate = spec.rate

    def forward(self, tiles: Tensor, taps: list[Tensor]) -> Tensor:
        """See `TrainedHead`."""
        found: Tensor = self.embedding(taps, self.student(tiles))
        return found

    def learn(
        self,
        tiles: Tensor,
        taps: list[Tensor],
        optimizers: list[torch.optim.Optimizer],
        step: int,  # noqa: ARG002
    ) -> None:
        """See `TrainedHead`: eq. 3 and 4."""
        apart = self.embedding.layers(taps, self.student(tiles))
        descend(torch.stack([one.mean() for one in apart]).sum(), optimizers[0])

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """See `TrainedHead`."""
        return [
            torch.optim.SGD(
                self.student.parameters(), self._rate, momentum=MOMENTUM, weight_decay=DECAY
            )
        ]


# The workstation's half of the method `stfpm`.
STFPM = MapFitting(StudentHead)
