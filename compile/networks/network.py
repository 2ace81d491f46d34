"""What a build needs of a network: one of ours with a method's embedding, or an imported one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from kenpin.compile.backbones import build_backbone
from kenpin.compile.methods.extractor import Extractor
from kenpin.compile.networks.quantize import convert
from kenpin.config.errors import ConfigError
from kenpin.config.methods import MethodSettings
from kenpin.config.recipe import Recipe

__all__ = ["FeatureNetwork", "OwnNetwork"]


class FeatureNetwork(Protocol):
    """Tiles to features of their cores, as OpenVINO's model.

    name, layers, weights_sha256
                     for the manifest
    patch_stride_px  pixels from one feature position to the next
    dimensions       of the features
    method           the recipe's, with what only the network could tell
    """

    name: str
    layers: tuple[str, ...]
    weights_sha256: str | None
    patch_stride_px: int
    dimensions: int
    method: MethodSettings

    def fitting_batch(self, wanted: int) -> int:
        """Tiles per inference: so many, or fewer where it takes no other number."""
        ...

    def model(self, batch: int) -> Any:
        """(batch, C, S, S) uint8 to (batch, cells, cells, D) float32, in FP32, its shape static."""
        ...


class OwnNetwork:
    """A backbone in torch with the method's embedding; see `FeatureNetwork`.

    Raises
    ------
    ConfigError
        If tiles, layers and method do not fit each other, or the weights cannot be had.
    """

    def __init__(self, recipe: Recipe, weights: Path | None) -> None:
        self._channels, self._size = recipe.frame.channels, recipe.tiles.size_px
        self.method = recipe.method
        backbone = build_backbone(
            recipe.backbone, recipe.method.tap_strides, self._channels, weights,
            web=recipe.frame.geometry == "continuous",
        )  # fmt: skip
        coarsest = backbone.network.taps[-1]
        if self._size % coarsest.stride_px:
            raise ConfigError(
                f"tiles.size_px {self._size} is not a multiple of {coarsest.stride_px}, the stride "
                f"of {coarsest.layer}, whose map would be stretched; use a multiple of it"
            )
        extractor = Extractor(
            backbone.network, backbone.grid_px, recipe.method, recipe.tiles.halo_px
        )
        self._extractor = extractor.eval()
        self.name = recipe.backbone.name
        self.layers = tuple(tap.layer for tap in backbone.network.taps)
        self.weights_sha256 = backbone.weights_sha256
        self.patch_stride_px = extractor.patch_stride_px
        self.dimensions = extractor.dimensions

    def fitting_batch(self, wanted: int) -> int:
        """See `FeatureNetwork`: any."""
        return wanted

    def model(self, batch: int) -> Any:
        """See `FeatureNetwork`."""
        return convert(self._extractor, batch, self._channels, self._size)
