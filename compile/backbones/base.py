"""What every backbone is: tiles in, feature maps at rising strides out."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Backbone", "Tap", "centred", "without_normalisation"]

# torchvision's constants, for red, green, blue in 0..1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

GREY_ZERO = 128
# The constant channel's grey level before it is centred, and its value after that.
GREY_CONSTANT = 255
CONSTANT = (GREY_CONSTANT - GREY_ZERO) / 255


@dataclass(frozen=True, slots=True)
class Tap:
    """A layer whose output is used: `stride_px` input pixels from value to value."""

    layer: str
    stride_px: int
    channels: int


class Backbone(nn.Module):
    """A network without a head, tapped at named layers, shallow to deep.

    forward: (N, C, S, S) uint8 to one (N, channels, S / stride, S / stride)
    float32 per tap.
    """

    taps: tuple[Tap, ...]

    @abstractmethod
    def forward(self, tiles: Tensor) -> list[Tensor]:
        """The taps' maps of (N, C, S, S) uint8 tiles."""


def centred(tiles: Tensor) -> Tensor:
    """(N, C, S, S) uint8 tiles as float32 around zero, and a constant channel after them.

    All values are whole multiples of 1 / 255 between -128 and 127 of them, so
    that INT8 holds the image without loss; and around zero, because what
    rounding does to a filter's weights is multiplied by the grey level.
    """
    # Padding, not concatenation: NNCF does not quantise a constant branch, and
    # the first convolution would then run in float. Before centring, because OpenVINO's INT8
    # passes take centring for dequantisation, move it behind the padding and pad uint8: of
    # 127 / 255 they made 0.
    grey = functional.pad(tiles.to(torch.float32), (0, 0, 0, 0, 0, 1), value=GREY_CONSTANT)
    return (grey - GREY_ZERO) * (1 / 255)


def without_normalisation(weight: Tensor, channels: int) -> Tensor:
    """First-layer weights that take `centred` instead of normalised colour.

    The network was trained on (x - mean) / std with zero padding, so beyond
    the border it sees the mean colour. A bias alone would be wrong there; the
    weights of the constant channel are right everywhere, because the padding
    makes that channel zero too.

    Parameters
    ----------
    weight : (M, 3, k, k)
    channels
        3 for colour; 1 for mono, whose value stands for all three colours.

    Returns
    -------
    (M, channels + 1, k, k)
    """
    mean = torch.tensor(IMAGENET_MEAN, dtype=torch.float64).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, dtype=torch.float64).view(1, 3, 1, 1)
    scaled = weight.double() / std
    shift = (scaled * (GREY_ZERO / 255 - mean)).sum(dim=1, keepdim=True) / CONSTANT
    colour = scaled if channels == 3 else scaled.sum(dim=1, keepdim=True)
    return torch.cat([colour, shift], dim=1).float()
