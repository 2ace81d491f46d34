"""MobileNetV2 in torchvision's layout, in plain torch.

Sandler et al., MobileNetV2, CVPR 2018 (arXiv:1801.04381), table 2.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from kenpin.compile.backbones.base import Backbone, Tap, centred
from kenpin.compile.backbones.family import TORCHVISION, Family, Weights

__all__ = ["MOBILENET_LAYERS", "MOBILENET_V2", "MobileNetV2"]

# Expansion, channels, repeats, stride of each group of blocks.
GROUPS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STEM_CHANNELS = 32


def _conv_norm(inside: int, outside: int, side: int, stride: int, groups: int) -> list[nn.Module]:
    conv = nn.Conv2d(inside, outside, side, stride, padding=side // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outside)]


class _Inverted(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inside * expansion
        parts: list[nn.Module] = []
        if expansion != 1:
            parts.append(nn.Sequential(*_conv_norm(inside, width, 1, 1, 1), nn.ReLU6()))
        parts.append(nn.Sequential(*_conv_norm(width, width, 3, stride, width), nn.ReLU6()))
        parts.extend(_conv_norm(width, outside, 1, 1, 1))
        self.conv = nn.Sequential(*parts)
        self._keeps = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self._keeps else y


def _plan() -> list[tuple[int, int, int, int, int]]:
    """(inside, outside, stride, expansion, stride from the input) of each block."""
    plan = []
    inside, total = STEM_CHANNELS, 2
    for expansion, outside, repeats, stride in GROUPS:
        for position in range(repeats):
            step = stride if position == 0 else 1
            total *= step
            plan.append((inside, outside, step, expansion, total))
            inside = outside
    return plan


# Layers that a recipe may name, as torchvision calls them.
MOBILENET_LAYERS = tuple(f"features.{n}" for n in range(1, len(_plan()) + 1))


class MobileNetV2(Backbone):
    """The network up to its last tapped block, `features.1` to `features.17`."""

    def __init__(self, layers: tuple[str, ...], channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv_norm(channels + 1, STEM_CHANNELS, 3, 2, 1))
        last = max(MOBILENET_LAYERS.index(name) for name in layers) + 1
        plan = _plan()[:last]
        self.blocks = nn.ModuleList(
            _Inverted(inside, outside, stride, expansion)
            for inside, outside, stride, expansion, _ in plan
        )
        self.taps = tuple(
            Tap(name, plan[n][4], plan[n][1])
            for n, name in enumerate(MOBILENET_LAYERS[:last])
            if name in layers
        )

    def forward(self, tiles: Tensor) -> list[Tensor]:
        """See `Backbone`."""
        x = functional.relu6(self.stem(centred(tiles)))
        tapped = {tap.layer for tap in self.taps}
        found = []
        for name, block in zip(MOBILENET_LAYERS, self.blocks, strict=False):
            x = block(x)
            if name in tapped:
                found.append(x)
        return found


# The backbone of the name `mobilenet_v2`.
MOBILENET_V2 = Family(
    MobileNetV2,
    MOBILENET_LAYERS,
    # The strides 4, 8, 16 of the residual networks' layers 1 to 3, each time
    # the last block before the next reduction.
    {4: "features.3", 8: "features.6", 16: "features.13"},
    Weights(
        "features.0.0.weight",
        TORCHVISION + "mobilenet_v2-b0353104.pth",
        {
            "features.0.0.": "stem.0.",
            "features.0.1.": "stem.1.",
            **{f"{name}.": f"blocks.{n}." for n, name in enumerate(MOBILENET_LAYERS)},
        },
    ),
)
