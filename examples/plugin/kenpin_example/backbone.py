"""A backbone of the simplest kind: brightness, and edges across and along, at two strides."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from kenpin.compile.backbones import Backbone, Family, Tap

LAYERS = ("fine", "coarse")
STRIDES = {"fine": 4, "coarse": 8}
# Sobel's filters, to be turned by transposing.
SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


class Edges(Backbone):
    """Channels: mean brightness, and mean strength of both kinds of edge."""

    def __init__(self, layers: tuple[str, ...], channels: int) -> None:
        super().__init__()
        self.taps = tuple(Tap(name, STRIDES[name], 3) for name in layers)
        sobel = torch.tensor(SOBEL) / 8
        filters = torch.stack([sobel, sobel.T])[:, None].repeat(1, channels, 1, 1) / channels
        # A constant layer: nothing here is learned.
        self.filters = nn.Conv2d(channels, 2, 3, padding=1, bias=False)
        self.filters.weight = nn.Parameter(filters, requires_grad=False)

    def forward(self, tiles: Tensor) -> list[Tensor]:
        """(N, C, S, S) uint8 to one (N, 3, S / stride, S / stride) float32 per tap."""
        grey = tiles.to(torch.float32) * (1 / 255)
        seen = torch.cat([grey.mean(dim=1, keepdim=True), self.filters(grey).abs()], dim=1)
        return [functional.avg_pool2d(seen, tap.stride_px) for tap in self.taps]


EDGES = Family(Edges, LAYERS, {4: "fine", 8: "coarse"})
