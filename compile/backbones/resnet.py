"""Residual networks in torchvision's layout, in plain torch.

He et al., Deep Residual Learning, CVPR 2016 (arXiv:1512.03385); the wide
variant: Zagoruyko and Komodakis, BMVC 2016 (arXiv:1605.07146); in groups: Xie et al., ResNeXt,
CVPR 2017 (arXiv:1611.05431); with squeeze and excitation: Hu et al., CVPR 2018 (arXiv:1709.01507).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from kenpin.compile.backbones.base import Backbone, Tap, centred
from kenpin.compile.backbones.family import TORCHVISION, Family, Weights

__all__ = [
    "RESNET18",
    "RESNET34",
    "RESNET50",
    "RESNETS",
    "SE_RESNEXT101",
    "WIDE_RESNET50_2",
    "ResNet",
    "ResNetShape",
]


@dataclass(frozen=True, slots=True)
class ResNetShape:
    """Blocks per stage; `bottleneck` blocks are 4 times as wide outside as `width` inside.

    groups    that the middle convolution of a bottleneck falls into
    squeezes  each bottleneck ends with squeeze and excitation: channels are weighed by what
              the whole tile shows
    """

    blocks: tuple[int, int, int, int]
    bottleneck: bool
    width: int = 64
    groups: int = 1
    squeezes: bool = False


# The shape of each network, by its name.
RESNETS = {
    "resnet18": ResNetShape((2, 2, 2, 2), bottleneck=False),
    "resnet34": ResNetShape((3, 4, 6, 3), bottleneck=False),
    "resnet50": ResNetShape((3, 4, 6, 3), bottleneck=True),
    "wide_resnet50_2": ResNetShape((3, 4, 6, 3), bottleneck=True, width=128),
    "se_resnext101": ResNetShape(
        (3, 4, 23, 3), bottleneck=True, width=128, groups=32, squeezes=True
    ),
}

BOTTLENECK_EXPANSION = 4
# Of the channels that squeeze and excitation goes through.
REDUCTION = 16


def _conv(inside: int, outside: int, side: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, side, stride, padding=side // 2, groups=groups, bias=False)


class _Basic(nn.Module):
    def __init__(self, inside: int, width: int, stride: int, outside: int) -> None:
        super().__init__()
        self.conv1 = _conv(inside, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, outside, 3)
        self.bn2 = nn.BatchNorm2d(outside)
        self.downsample = _shortcut(inside, outside, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class _Squeeze(nn.Module):
    """Names as in timm's files."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // REDUCTION, 1)
        self.fc2 = nn.Conv2d(channels // REDUCTION, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        usual = x.mean(dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.fc2(functional.relu(self.fc1(usual))))


class _Bottleneck(nn.Module):
    def __init__(
        self,
        inside: int,
        width: int,
        stride: int,
        outside: int,
        groups: int = 1,
        *,
        squeezes: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = _conv(inside, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride, groups)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, outside, 1)
        self.bn3 = nn.BatchNorm2d(outside)
        self.se = _Squeeze(outside) if squeezes else None
        self.downsample = _shortcut(inside, outside, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y = y if self.se is None else self.se(y)
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


def _shortcut(inside: int, outside: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inside == outside:
        return None
    return nn.Sequential(_conv(inside, outside, 1, stride), nn.BatchNorm2d(outside))


class ResNet(Backbone):
    """The network up to its last tapped stage, `layer1` to `layer4`."""

    def __init__(self, shape: ResNetShape, layers: tuple[str, ...], channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels + 1, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        block = (
            partial(_Bottleneck, groups=shape.groups, squeezes=shape.squeezes)
            if shape.bottleneck
            else _Basic
        )
        inside = 64
        taps = []
        self._stages = []
        for number in range(1, max(int(name[-1]) for name in layers) + 1):
            base = 64 * 2 ** (number - 1)
            width = shape.width * 2 ** (number - 1) if shape.bottleneck else base
            outside = BOTTLENECK_EXPANSION * base if shape.bottleneck else base
            stages = []
            for position in range(shape.blocks[number - 1]):
                stride = 2 if position == 0 and number > 1 else 1
                stages.append(block(inside, width, stride, outside))
                inside = outside
            name = f"layer{number}"
            self.add_module(name, nn.Sequential(*stages))
            self._stages.append(name)
            if name in layers:
                taps.append(Tap(name, 2 ** (number + 1), outside))
        self.taps = tuple(taps)

    def forward(self, tiles: Tensor) -> list[Tensor]:
        """See `Backbone`."""
        x = functional.relu(self.bn1(self.conv1(centred(tiles))))
        x = functional.max_pool2d(x, 3, stride=2, padding=1)
        tapped = {tap.layer for tap in self.taps}
        found = []
        for name in self._stages:
            x = cast(Tensor, self.get_submodule(name)(x))
            if name in tapped:
                found.append(x)
        return found


def _family(name: str, digits: str | None) -> Family:
    return Family(
        partial(ResNet, RESNETS[name]),
        ("layer1", "layer2", "layer3", "layer4"),
        {4: "layer1", 8: "layer2", 16: "layer3", 32: "layer4"},
        Weights("conv1.weight", digits and f"{TORCHVISION}{name}-{digits}.pth"),
        whole_tile=RESNETS[name].squeezes,
    )


# With ImageNet's weights of torchvision, whose SHA-256 begins so.
RESNET18 = _family("resnet18", "f37072fd")
RESNET34 = _family("resnet34", "b627a593")
RESNET50 = _family("resnet50", "0676ba61")
WIDE_RESNET50_2 = _family("wide_resnet50_2", "95faca4d")
# Of timm's seresnext101_32x4d or a training of one's own with its names: nobody publishes a
# plain file with its hash.
SE_RESNEXT101 = _family("se_resnext101", None)
