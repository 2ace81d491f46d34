"""No network: the mean grey of every square of the grid, for the method `baseline`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from kenpin.compile.backbones.base import Backbone, Tap
from kenpin.compile.backbones.family import Family

__all__ = ["GREY", "Grey"]

STRIDE_PX = 8


class Grey(Backbone):
    """Squares of 8 px, averaged, all channels together."""

    def __init__(self) -> None:
        super().__init__()
        self.taps = (Tap("grey", STRIDE_PX, 1),)

    def forward(self, tiles: Tensor) -> list[Tensor]:
        """See `Backbone`."""
        grey = tiles.to(torch.float32).mean(dim=1, keepdim=True)
        return [functional.avg_pool2d(grey, STRIDE_PX)]


def _make(layers: tuple[str, ...], channels: int) -> Grey:  # noqa: ARG001
    return Grey()


# The backbone of the name `grey`.
GREY = Family(_make, ("grey",))
