"""What the network says of one frame, before anybody judges by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.runtime.judging.engine import Engine, FeatureBuffers
from kenpin.runtime.judging.lamp import Lamp
from kenpin.runtime.judging.tiling import TileGrid

__all__ = ["Inferred", "infer"]


@dataclass(frozen=True, slots=True, eq=False)
class Inferred:
    """A frame and the features of its tiles.

    pixels    (H, W) or (H, W, 3) uint8, as they came
    features  of its tiles, and the rows proposed for them
    filled    tiles that went through the network
    """

    pixels: NDArray[Any]
    features: FeatureBuffers
    filled: int


def infer(
    engine: Engine,
    grid: TileGrid,
    lamp: Lamp,
    pixels: NDArray[Any],
    buffers: FeatureBuffers | None = None,
    alive: Callable[[], None] = lambda: None,
) -> Inferred:
    """Run a frame's tiles through the network.

    Parameters
    ----------
    pixels : (H, W) or (H, W, 3) uint8
    buffers
        Memory for what the network says, written over; without it it gets its own.
    alive
        Called before each batch.
    """
    tiles = range(len(grid))
    even = lamp.even(pixels)

    def fill(first: int, batch: NDArray[np.uint8]) -> int:
        alive()
        return grid.fill(even, tiles[first:], batch)

    memory = buffers or engine.buffers(len(tiles))
    _, filled = engine.features(fill, len(tiles), memory)
    return Inferred(pixels, memory.tiles(0, len(tiles)), filled)
