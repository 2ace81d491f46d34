"""The feature extractors, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kenpin.compile.backbones.base import Backbone, Tap
from kenpin.compile.backbones.gabor import GABOR_LAYERS, Gabor
from kenpin.compile.backbones.mobilenet import MOBILENET_LAYERS, MobileNetV2
from kenpin.compile.backbones.resnet import RESNETS, ResNet
from kenpin.compile.backbones.weights import load_into, obtain
from kenpin.config.errors import ConfigError
from kenpin.config.recipe import BackboneSpec

__all__ = ["BACKBONES", "Backbone", "Built", "Family", "Tap", "build_backbone"]

STAGES = ("layer1", "layer2", "layer3", "layer4")


@dataclass(frozen=True, slots=True)
class Family:
    """How to make a backbone, and which layers are tapped by default.

    layers   all that may be tapped, shallow to deep
    best_of_stride
             the layer to tap of each stride, for a method that asks for strides;
             empty: all layers, whatever the method
    stem     the weights file's key of the first convolution; empty: no weights
    rename   starts of keys in the weights file, and the network's names for them
    grid_px  the default for `backbone.grid_px`; None: the finest tapped layer's own
    """

    make: Callable[[tuple[str, ...], int], Backbone]
    layers: tuple[str, ...]
    best_of_stride: dict[int, str]
    stem: str
    rename: dict[str, str]
    grid_px: int | None = None

    def default_layers(self, strides: Sequence[int]) -> tuple[str, ...]:
        """What a method taps that asks for these strides."""
        if not self.best_of_stride:
            return self.layers
        return tuple(self.best_of_stride[s] for s in strides if s in self.best_of_stride)


def _mobilenet_names() -> dict[str, str]:
    blocks = {f"{name}.": f"blocks.{n}." for n, name in enumerate(MOBILENET_LAYERS)}
    return {"features.0.0.": "stem.0.", "features.0.1.": "stem.1.", **blocks}


BACKBONES: dict[str, Family] = {
    "gabor": Family(Gabor, GABOR_LAYERS, {}, "", {}, grid_px=8),
    # The strides 4, 8, 16 of the residual networks' layers 1 to 3, each time
    # the last block before the next reduction.
    "mobilenet_v2": Family(
        MobileNetV2,
        MOBILENET_LAYERS,
        {4: "features.3", 8: "features.6", 16: "features.13"},
        "features.0.0.weight",
        _mobilenet_names(),
    ),
    **{
        name: Family(
            partial(ResNet, shape),
            STAGES,
            {4: "layer1", 8: "layer2", 16: "layer3"},
            "conv1.weight",
            {"": ""},
        )
        for name, shape in RESNETS.items()
    },
}


@dataclass(frozen=True, slots=True)
class Built:
    """A backbone ready to use.

    grid_px         pixels from one feature position to the next
    weights_sha256  of the weights it was given, None if it needs none
    """

    network: Backbone
    grid_px: int
    weights_sha256: str | None


def build_backbone(
    spec: BackboneSpec,
    strides: Sequence[int],
    channels: int,
    offline_weights: Path | None = None,
) -> Built:
    """The backbone that a recipe asks for, in evaluation mode.

    Parameters
    ----------
    strides
        Of the layers that the method taps, where the recipe names none.
    offline_weights
        Overrides the recipe's weights file.

    Raises
    ------
    ConfigError
        If the name or a layer is unknown, the weights cannot be had or do not
        fit, or a mono backbone is asked to look at colour.
    """
    family = BACKBONES.get(spec.name)
    if family is None:
        known = ", ".join(sorted(BACKBONES))
        raise ConfigError(f"backbone {spec.name!r} is not known; expected one of: {known}")
    asked = spec.layers or family.default_layers(strides)
    if not asked:
        raise ConfigError(
            f"backbone {spec.name} has no layer of the strides {', '.join(map(str, strides))} that "
            f"the method taps; set backbone.layers to some of: {', '.join(family.layers)}"
        )
    for layer in asked:
        if layer not in family.layers:
            raise ConfigError(
                f"backbone {spec.name} has no layer {layer!r}; expected some of: "
                f"{', '.join(family.layers)}"
            )
    # Shallow to deep, whatever the order in the recipe.
    layers = tuple(layer for layer in family.layers if layer in asked)
    network = family.make(layers, channels)
    weights = offline_weights or spec.weights
    sha256 = None
    if family.stem:
        file = obtain(spec.name, weights)
        sha256 = load_into(network, file, family.stem, channels, family.rename)
    elif weights is not None:
        raise ConfigError(f"backbone {spec.name} is analytic and takes no weights; drop {weights}")
    network.eval()
    grid_px = spec.grid_px or family.grid_px or network.taps[0].stride_px
    coarsest = network.taps[-1].stride_px
    if coarsest % grid_px and grid_px % coarsest:
        raise ConfigError(
            f"backbone.grid_px {grid_px} does not fit layers of stride {coarsest}; use a power of 2"
        )
    return Built(network, grid_px, sha256)
