"""Several backbones as one, and some layers of a backbone as one of their own."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from kenpin.compile.backbones.base import Backbone

__all__ = ["SideBySide", "SomeTaps"]


class SideBySide(Backbone):
    """Each sees the same tiles; the taps of the first come first."""

    def __init__(self, backbones: Sequence[Backbone]) -> None:
        super().__init__()
        self.backbones = nn.ModuleList(backbones)
        self.taps = tuple(tap for one in backbones for tap in one.taps)

    def forward(self, tiles: Tensor) -> list[Tensor]:
        """See `Backbone`."""
        return [tap for one in self.backbones for tap in one(tiles)]


class SomeTaps(Backbone):
    """What one method taps of a backbone that others tap, too.

    numbers  of the backbone's taps, rising
    """

    def __init__(self, backbone: Backbone, numbers: Sequence[int]) -> None:
        super().__init__()
        self.backbone = backbone
        self.numbers = tuple(numbers)
        self.taps = tuple(backbone.taps[number] for number in numbers)

    def forward(self, tiles: Tensor) -> list[Tensor]:
        """See `Backbone`."""
        found = self.backbone(tiles)
        return [found[number] for number in self.numbers]
