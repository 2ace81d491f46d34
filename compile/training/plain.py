"""A plain residual network with any taps: the student of a backbone that is not learned itself."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from kenpin.compile.backbones import Backbone, Tap
from kenpin.compile.backbones.base import centred

__all__ = ["PlainNetwork", "Residual"]

WIDTH, WIDEST = 32, 128


class Residual(nn.Module):
    """Two convolutions around which the input goes, too.

    References
    ----------
    He et al., Deep Residual Learning, CVPR 2016 (arXiv:1512.03385), figure 2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """The same channels once more."""
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + x)


def _halved(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(),
        Residual(outside),
    )


class PlainNetwork(Backbone):
    """Halved again and again, a residual block each time, and read out at the taps' strides."""

    def __init__(self, taps: Sequence[Tap], channels: int) -> None:
        super().__init__()
        self.taps = tuple(taps)
        coarsest = max(tap.stride_px for tap in taps)
        inside = channels + 1
        stages: list[nn.Module] = []
        widths: list[int] = []
        while 2 ** len(stages) < coarsest:
            outside = min(WIDEST, WIDTH * 2 ** len(stages))
            stages.append(_halved(inside, outside))
            widths.append(outside)
            inside = outside
        self.stages = nn.ModuleList(stages)
        self.reads = nn.ModuleList(
            nn.Conv2d(widths[tap.stride_px.bit_length() - 2], tap.channels, 1) for tap in taps
        )

    def forward(self, tiles: Tensor) -> list[Tensor]:
        """See `Backbone`."""
        x = centred(tiles)
        found: dict[int, Tensor] = {}
        for number, stage in enumerate(self.stages, 1):
            x = stage(x)
            found[2**number] = x
        return [read(found[tap.stride_px]) for tap, read in zip(self.taps, self.reads, strict=True)]
