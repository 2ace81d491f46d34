"""A bundle as if its frames were wider: what the same recipe would cost at another width."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.config.frame import FrameSpec
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.manifest import GreyRange
from kenpin.runtime.judging.sharing import model_count
from kenpin.runtime.judging.tiling import TileGrid

__all__ = ["stretched"]

F32 = NDArray[np.float32]

# Statistics of places on the map, by their columns; all others belong to tiles or models.
OF_THE_MAP = ("mask", "network_mean", "network_gain", "band_mean", "band_gain")


def stretched(bundle: Bundle, width_px: int) -> Bundle:
    """The bundle for frames of another width, its statistics repeated across it.

    It costs what a bundle compiled for that width costs, and what it says of a frame
    means nothing. Lanes and edges of a web, which lie at pixels of the bundle's own width, are
    left out, and so are the limits of brightness, which hold for the whole of a frame of it.
    """
    m = bundle.manifest
    if width_px == m.frame.width_px:
        return bundle
    frame = m.frame.model_copy(update={"width_px": width_px})
    web = m.web
    if web is not None:
        web = web.model_copy(update={"lanes": (), "ignore": (), "edges": None})
    grey = GreyRange(mean_min=0, mean_max=255, contrast_min=0, even_to=m.grey.even_to)
    manifest = m.model_copy(update={"frame": frame, "web": web, "grey": grey})
    return replace(bundle, manifest=manifest, arrays=_repeated(bundle, frame))


def _repeated(bundle: Bundle, frame: FrameSpec) -> Mapping[str, F32]:
    m = bundle.manifest
    was, will = TileGrid.of(m.frame, m.tiles), TileGrid.of(frame, m.tiles)
    px = m.features.patch_stride_px
    columns = -(-was.width // px), -(-will.width // px)
    share: Any = getattr(m.method, "share", "frame")
    # How long a first axis becomes, by how long it is.
    lengths = {model_count(was, share): model_count(will, share), len(was): len(will)}
    found = {}
    for name, array in bundle.arrays.items():
        if name in OF_THE_MAP:
            wider = array.shape[-1] == columns[0]
            found[name] = _cycled(array, columns[1], -1) if wider else array
        elif name == "place" or share != "frame":
            found[name] = _cycled(array, lengths.get(len(array), len(array)), 0)
        else:
            found[name] = array
    return found


def _cycled(array: F32, length: int, axis: int) -> F32:
    """An array again and again along an axis, until it is so long."""
    longer: F32 = np.take(array, np.arange(length) % array.shape[axis], axis=axis)
    return longer
