"""The feature extractors, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kenpin.compile.backbones.base import Backbone, Tap
from kenpin.compile.backbones.family import Family, Packaged, Weights
from kenpin.compile.backbones.weights import load_into, obtain
from kenpin.config.backbone import BackboneSpec
from kenpin.config.errors import ConfigError
from kenpin.config.registry import Registry

__all__ = [
    "BACKBONES",
    "Backbone",
    "Built",
    "Family",
    "Packaged",
    "Tap",
    "Weights",
    "build_backbone",
]

# Each in a file of its own. Others come from installed packages.
BACKBONES: Registry[Family] = Registry(
    "kenpin.backbones",
    "backbone",
    Family,
    {
        "efficientnet_lite0": "kenpin.compile.backbones.efficientnet_lite:EFFICIENTNET_LITE0",
        "efficientnet_lite1": "kenpin.compile.backbones.efficientnet_lite:EFFICIENTNET_LITE1",
        "efficientnet_lite2": "kenpin.compile.backbones.efficientnet_lite:EFFICIENTNET_LITE2",
        "grey": "kenpin.compile.backbones.grey:GREY",
        "gabor": "kenpin.compile.backbones.gabor:GABOR",
        "mobilenet_v2": "kenpin.compile.backbones.mobilenet:MOBILENET_V2",
        "resnet18": "kenpin.compile.backbones.resnet:RESNET18",
        "resnet34": "kenpin.compile.backbones.resnet:RESNET34",
        "resnet50": "kenpin.compile.backbones.resnet:RESNET50",
        "se_resnext101": "kenpin.compile.backbones.resnet:SE_RESNEXT101",
        "wide_resnet50_2": "kenpin.compile.backbones.resnet:WIDE_RESNET50_2",
    },
)


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
    *,
    web: bool = False,
) -> Built:
    """The backbone that a recipe asks for, in evaluation mode.

    Parameters
    ----------
    strides
        Of the layers that the method taps, where the recipe names none.
    offline_weights
        Overrides the recipe's weights file.
    web
        Whether it is to look at an endless web.

    Raises
    ------
    ConfigError
        If the name or a layer is unknown, the weights cannot be had or do not
        fit, a mono backbone is asked to look at colour, or one that sees a tile
        as a whole at a web.
    """
    family = BACKBONES.find(spec.name)
    if channels > 1 and not family.colour:
        raise ConfigError(
            f"backbone {spec.name} looks at grey only and frame.channels is {channels}; "
            "use a mono camera or another backbone"
        )
    if web and family.whole_tile:
        raise ConfigError(
            f"backbone {spec.name} sees a tile as a whole, so a line's verdict would depend on "
            "where the tile rows happen to fall on the material; use a backbone whose features are "
            "of places: gabor, resnet18 or mobilenet_v2"
        )
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
    if family.weights is not None:
        file = obtain(spec.name, family.weights, weights)
        sha256 = load_into(network, file, channels, family.weights)
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
