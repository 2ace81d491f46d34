"""Good images once more, changed as the recipe says good parts may differ."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kenpin.config.augment import AugmentSpec
from kenpin.runtime.judging.tiling import reflect

__all__ = ["variants"]

U8 = NDArray[np.uint8]


def variants(pixels: U8, file: Path, spec: AugmentSpec | None, seed: int) -> Iterator[U8]:
    """The image itself, and then its changed copies; the same ones every time.

    Parameters
    ----------
    pixels : (H, W) or (H, W, C) uint8
    file
        Whose image it is: each draws changes of its own, whatever is read before it.
    """
    yield pixels
    if spec is None:
        return
    for copy in range(spec.copies):
        own = zlib.crc32(os.fsencode(file.name))
        yield _changed(pixels, spec, np.random.default_rng([seed, own, copy]))


def _changed(pixels: U8, spec: AugmentSpec, rng: np.random.Generator) -> U8:
    # Every number is drawn, used or not, so that one setting does not change another's draw.
    across, along = rng.random(2) < 0.5
    # A copy that changed nothing would count the same pixels twice.
    mirrored = pixels
    if spec.flip == "across" or (spec.flip == "both" and (across or not along)):
        mirrored = mirrored[:, ::-1]
    if spec.flip == "along" or (spec.flip == "both" and along):
        mirrored = mirrored[::-1]
    height, width = pixels.shape[:2]
    down, right = rng.integers(-spec.shift_px, spec.shift_px + 1, 2)
    rows = reflect(np.arange(height) + down, height)
    cols = reflect(np.arange(width) + right, width)
    moved = mirrored[rows][:, cols]
    gain = 1 + spec.brightness * rng.uniform(-1, 1)
    table = np.rint(np.arange(256) * gain).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(table[moved])
