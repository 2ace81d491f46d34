"""Members of an ensemble that learn nothing by steps: one look at good tiles is all they need."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from kenpin.compile.training.head import Batches, HeadPlan, Shown, TrainedHead
from kenpin.config.errors import ConfigError

__all__ = ["LOOKED_AT_TILES", "OneLookHead"]

# Good tiles that are looked at: each takes some tens of milliseconds of a backbone.
LOOKED_AT_TILES = 1024


class OneLookHead(TrainedHead):
    """Sees features of good tiles once: a backbone that does not learn gives the same again.

    What it judges by lies in `embedding`, whose forward takes the taps to the map.
    """

    learns = False
    embedding: nn.Module
    settled: Tensor

    def __init__(self, plan: HeadPlan) -> None:
        super().__init__()
        self.plan = plan
        # In a checkpoint, too.
        self.register_buffer("settled", torch.zeros((), dtype=torch.bool))

    @abstractmethod
    def fit(self, shown: Shown) -> None:
        """Take from good tiles what they are judged by."""

    def forward(self, tiles: Tensor, taps: list[Tensor]) -> Tensor:  # noqa: ARG002
        """See `TrainedHead`."""
        found: Tensor = self.embedding(taps)
        return found

    def learn(
        self,
        tiles: Tensor,
        taps: list[Tensor],
        optimizers: list[torch.optim.Optimizer],
        step: int,
    ) -> None:
        """See `TrainedHead`: there are no steps in it."""

    def settle(self, shown: Shown) -> None:
        """See `TrainedHead`."""
        if not self.settled:
            with torch.no_grad():
                self.fit(lambda tiles: _of_numbers(shown(tiles)))
            self.settled.fill_(value=True)

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """See `TrainedHead`: none."""
        return []


def _of_numbers(batches: Batches) -> Batches:
    for tiles, taps in batches:
        if not all(bool(torch.isfinite(tap).all()) for tap in taps):
            raise ConfigError(
                "its backbone gives values that are no numbers (NaN or infinite) for good tiles; "
                "give other weights, or use another backbone"
            )
        yield tiles, taps
