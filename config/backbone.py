"""The table [backbone]: the network whose features methods look at."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from kenpin.config.settings import Settings

__all__ = ["BackboneSpec"]


class BackboneSpec(Settings):
    """The feature extractor.

    name     built in, or of an installed package
    weights  the published file, where it is not to be fetched, or the same weights as
             .safetensors or .onnx; gabor needs none
    layers   which to tap; by default the method's usual ones
    grid_px  pixels from one feature position to the next: finer layers are
             averaged down, coarser ones interpolated; by default the finest
             layer's own stride, and 8 for gabor
    """

    name: str = "gabor"
    weights: Path | None = None
    layers: tuple[str, ...] | None = None
    grid_px: Literal[4, 8, 16, 32] | None = None
