"""The networks as torchvision formulates them: normalised colour, float64, its own key names.

Written from torchvision's models/resnet.py and models/mobilenetv2.py, down to
the three colour channels that a mono image is repeated into.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
BATCH_NORM_EPSILON = 1e-5


@dataclass(frozen=True)
class Residual:
    """Blocks per stage; bottleneck blocks have that width in the first stage.

    groups, squeezes  ResNeXt's, and squeeze and excitation by the names of timm's files
    """

    blocks: tuple[int, ...]
    bottleneck: bool = False
    width: int = 64
    groups: int = 1
    squeezes: bool = False


RESIDUAL = {
    "resnet18": Residual((2, 2, 2, 2)),
    "resnet34": Residual((3, 4, 6, 3)),
    "resnet50": Residual((3, 4, 6, 3), bottleneck=True),
    "wide_resnet50_2": Residual((3, 4, 6, 3), bottleneck=True, width=128),
    "se_resnext101": Residual((3, 4, 23, 3), bottleneck=True, width=128, groups=32, squeezes=True),
}

# t, c, n, s of the paper's table 2.
INVERTED = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]


def normalised(tiles: NDArray[np.uint8]) -> Tensor:
    """(N, C, S, S) uint8 to (N, 3, S, S): ToTensor and Normalize."""
    colour = np.broadcast_to(tiles, (len(tiles), 3, *tiles.shape[2:])) / 255.0
    shape = (1, 3, 1, 1)
    return torch.from_numpy((colour - np.reshape(MEAN, shape)) / np.reshape(STD, shape))


class Weights:
    """A state dict that is either being made up, layer by layer, or being used."""

    def __init__(self, state: State | None = None, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._makes = state is None
        self.state: State = {} if state is None else state

    def convolve(
        self, x: Tensor, key: str, outside: int, side: int, stride: int = 1, groups: int = 1
    ) -> Tensor:
        shape = (outside, x.shape[1] // groups, side, side)
        if self._makes:
            scale = (2 / np.prod(shape[1:])) ** 0.5
            values = scale * self._rng.normal(size=shape)
            self.state[f"{key}.weight"] = torch.from_numpy(values).float()
        weight = self.state[f"{key}.weight"].double()
        assert weight.shape == shape
        return functional.conv2d(x, weight, None, stride, side // 2, groups=groups)

    def mix(self, x: Tensor, key: str, outside: int) -> Tensor:
        if self._makes:
            values = self._rng.uniform(-0.5, 0.5, size=outside)
            self.state[f"{key}.bias"] = torch.from_numpy(values).float()
        mixed = self.convolve(x, key, outside, 1)
        return mixed + self.state[f"{key}.bias"].double().view(1, -1, 1, 1)

    def normalise(self, x: Tensor, key: str) -> Tensor:
        names = {"running_mean": (-0.3, 0.3), "running_var": (0.5, 2), "weight": (0.5, 1.2)}
        for name, ends in (names | {"bias": (-0.3, 0.3)}).items():
            if self._makes:
                values = self._rng.uniform(*ends, size=x.shape[1])
                self.state[f"{key}.{name}"] = torch.from_numpy(values).float()
        mean, variance, weight, bias = (
            self.state[f"{key}.{name}"].double().view(1, -1, 1, 1)
            for name in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(variance + BATCH_NORM_EPSILON) * weight + bias


def resnet(name: str, weights: Weights, tiles: NDArray[np.uint8], last: int) -> dict[str, Tensor]:
    """The outputs of layer1 to layer<last>."""
    shape = RESIDUAL[name]
    x = weights.convolve(normalised(tiles), "conv1", 64, 7, 2)
    x = functional.relu(weights.normalise(x, "bn1"))
    x = functional.max_pool2d(x, kernel_size=3, stride=2, padding=1)
    found = {}
    for stage in range(1, last + 1):
        planes = 64 * 2 ** (stage - 1)
        for block in range(shape.blocks[stage - 1]):
            stride = 2 if stage > 1 and block == 0 else 1
            x = _block(shape, weights, x, f"layer{stage}.{block}", planes, stride)
        found[f"layer{stage}"] = x
    return found


def _block(
    shape: Residual, weights: Weights, x: Tensor, key: str, planes: int, stride: int
) -> Tensor:
    def step(
        y: Tensor, number: int, outside: int, side: int, stride: int, groups: int = 1
    ) -> Tensor:
        y = weights.convolve(y, f"{key}.conv{number}", outside, side, stride, groups)
        return weights.normalise(y, f"{key}.bn{number}")

    if shape.bottleneck:
        width, outside = planes * shape.width // 64, planes * 4
        y = functional.relu(step(x, 1, width, 1, 1))
        y = functional.relu(step(y, 2, width, 3, stride, shape.groups))
        y = step(y, 3, outside, 1, 1)
        if shape.squeezes:
            usual = y.mean(dim=(2, 3), keepdim=True)
            narrow = functional.relu(weights.mix(usual, f"{key}.se.fc1", outside // 16))
            y = y * torch.sigmoid(weights.mix(narrow, f"{key}.se.fc2", outside))
    else:
        outside = planes
        y = functional.relu(step(x, 1, planes, 3, stride))
        y = step(y, 2, planes, 3, 1)
    if stride != 1 or x.shape[1] != outside:
        x = weights.convolve(x, f"{key}.downsample.0", outside, 1, stride)
        x = weights.normalise(x, f"{key}.downsample.1")
    return functional.relu(x + y)


def mobilenet_v2(weights: Weights, tiles: NDArray[np.uint8], last: int) -> dict[str, Tensor]:
    """The outputs of features.1 to features.<last>."""
    x = weights.convolve(normalised(tiles), "features.0.0", 32, 3, 2)
    x = functional.relu6(weights.normalise(x, "features.0.1"))
    found: dict[str, Any] = {}
    number = 0
    for expansion, outside, repeats, stride in INVERTED:
        for repeat in range(repeats):
            number += 1
            if number > last:
                return found
            key = f"features.{number}"
            x = _inverted(weights, x, key, outside, stride if repeat == 0 else 1, expansion)
            found[key] = x
    return found


def _inverted(
    weights: Weights, x: Tensor, key: str, outside: int, stride: int, expansion: int
) -> Tensor:
    hidden = x.shape[1] * expansion
    y, place = x, 0
    if expansion != 1:
        y = weights.convolve(y, f"{key}.conv.0.0", hidden, 1)
        y = functional.relu6(weights.normalise(y, f"{key}.conv.0.1"))
        place = 1
    y = weights.convolve(y, f"{key}.conv.{place}.0", hidden, 3, stride, groups=hidden)
    y = functional.relu6(weights.normalise(y, f"{key}.conv.{place}.1"))
    y = weights.convolve(y, f"{key}.conv.{place + 1}", outside, 1)
    y = weights.normalise(y, f"{key}.conv.{place + 2}")
    return x + y if stride == 1 and x.shape[1] == outside else y
