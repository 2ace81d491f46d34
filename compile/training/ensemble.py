"""Several trained methods on one backbone, as one network with one map."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from kenpin.compile.fitting import fitting_of
from kenpin.compile.training.fitting import MapFitting
from kenpin.compile.training.head import HeadPlan, TrainedHead
from kenpin.config.trained import EnsembleSpec

__all__ = ["ENSEMBLE", "EnsembleHead"]

# What so many of a member's places of good tiles stay below counts as 1.
MEASURE_QUANTILE = 0.99
Shown = list[tuple[Tensor, list[Tensor]]]


class _Joined(nn.Module):
    """The members' maps, each in the measure of good tiles, as one."""

    factors: Tensor

    def __init__(self, members: int, join: str) -> None:
        super().__init__()
        self._join = join
        self.register_buffer("factors", torch.ones(members))

    def forward(self, maps: list[Tensor]) -> Tensor:
        scaled = torch.cat(maps, dim=1) * self.factors.view(1, -1, 1, 1)
        if self._join == "max":
            return scaled.amax(dim=1, keepdim=True)
        return scaled.sum(dim=1, keepdim=True)


class EnsembleHead(TrainedHead):
    """Each member learns by itself, from the same tiles; the box runs all of them."""

    def __init__(self, plan: HeadPlan, spec: EnsembleSpec) -> None:
        super().__init__()
        heads = [_head_of(member)(plan, member) for member in spec.members]
        self.warm_up = max(head.warm_up for head in heads)
        self.members = nn.ModuleList(heads)
        self.embedding = _Joined(len(heads), spec.join)
        self._margin = plan.margin
        self._counts = [len(head.optimizers()) for head in heads]

    def _heads(self) -> list[TrainedHead]:
        return [cast(TrainedHead, one) for one in self.members]

    def forward(self, tiles: Tensor, taps: list[Tensor]) -> Tensor:
        """See `TrainedHead`."""
        found: Tensor = self.embedding([head(tiles, taps) for head in self.members])
        return found

    def learn(
        self,
        tiles: Tensor,
        taps: list[Tensor],
        optimizers: list[torch.optim.Optimizer],
        step: int,
    ) -> None:
        """See `TrainedHead`."""
        first = 0
        for head, count in zip(self._heads(), self._counts, strict=True):
            head.learn(tiles, taps, optimizers[first : first + count], step)
            first += count

    def settle(self, shown: Iterator[tuple[Tensor, list[Tensor]]]) -> None:
        """See `TrainedHead`: first each member, then what each one's map is worth."""
        held: Shown = list(shown)
        m = self._margin
        for number, head in enumerate(self._heads()):
            head.settle(iter(held))
            with torch.no_grad():
                maps = [head(tiles, taps).numpy() for tiles, taps in held]
            core = np.concatenate(
                [one[:, :, m : one.shape[2] - m, m : one.shape[3] - m] for one in maps]
            )
            usual = float(np.quantile(core, MEASURE_QUANTILE))
            self.embedding.factors[number] = 1 / usual if usual > 0 else 1.0

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """See `TrainedHead`: those of all members."""
        return [one for head in self._heads() for one in head.optimizers()]


def _head_of(member: Any) -> Callable[[HeadPlan, Any], TrainedHead]:
    fitting = fitting_of(member)
    assert isinstance(fitting, MapFitting), "a member is a TrainedSpec"
    return fitting.head


ENSEMBLE = MapFitting(EnsembleHead)
