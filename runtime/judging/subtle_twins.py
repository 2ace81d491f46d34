"""Good images with faint defects drawn in, of known kind, size and contrast.

`twins` are loud, for what must not saturate. These go down to what hardly anybody sees,
and say which size and contrast of defect is still found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CONTRASTS", "KINDS", "MANY", "SIZES_PX", "Drawn", "Subtle", "draw", "subtle_kinds"]

F32 = NDArray[np.float32]

# A grain is as bright as what surrounds it: only its texture is torn up.
KINDS = ("spot", "scratch", "stain", "band", "grain")
# What several are called.
MANY = dict(zip(KINDS, ("spots", "scratches", "stains", "bands", "grains"), strict=True))
# Grey levels of 255. A few levels are lost in the noise of most cameras.
CONTRASTS = (3, 6, 12, 25, 50, 100)
# Diameter of a spot, a stain and a grain, width of a scratch and a band.
SIZES_PX = {
    "spot": (3, 6, 12, 24),
    "scratch": (1, 2, 4),
    "stain": (16, 32, 64),
    "band": (8, 16, 32),
    "grain": (16, 32),
}
# A scratch is so much longer than wide, a band crosses its field.
SCRATCH_TIMES = 16
# A grain's squares, four of which, two of them bright and two dark, lie together.
GRAIN_PX = 2
# Of a field's side that the largest defect may take.
MOST_OF_FIELD = 0.5


@dataclass(frozen=True, slots=True)
class Subtle:
    """What is drawn: its kind, its size (see `SIZES_PX`) and its contrast in grey levels."""

    kind: str
    size_px: int
    contrast: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """Where something was drawn: rows and columns of the box around it."""

    top: int
    left: int
    bottom: int
    right: int


def subtle_kinds(field_px: int) -> list[Subtle]:
    """All kinds, sizes and contrasts that fit into a field of that side."""
    return [
        Subtle(kind, size, contrast)
        for kind in KINDS
        for size in SIZES_PX[kind]
        if size <= MOST_OF_FIELD * field_px
        for contrast in CONTRASTS
    ]


def draw(
    pixels: NDArray[Any], what: Subtle, field: tuple[slice, slice], rng: np.random.Generator
) -> Drawn:
    """Draw a defect at a random place within a field of the image, brighter or darker.

    Parameters
    ----------
    pixels : (H, W) or (H, W, C) uint8, changed in place
    field
        Rows and columns to stay within.

    Returns
    -------
    Where it can be seen, within the field.
    """
    part = pixels[field]
    height, width = part.shape[:2]
    angle = rng.uniform(0, np.pi)
    # Away from the border, so that most of it is seen.
    free = min(what.size_px, min(height, width) // 4)
    y = rng.uniform(free, height - free)
    x = rng.uniform(free, width - free)
    rows = np.arange(height, dtype=np.float32)[:, None] + 0.5 - np.float32(y)
    cols = np.arange(width, dtype=np.float32)[None, :] + 0.5 - np.float32(x)
    shape = _shape(what, rows, cols, np.float32(angle))
    # Towards the side that has room, where the whole change would be cut off otherwise.
    grey = part.mean(axis=2) if part.ndim == 3 else part
    level = float(grey[shape >= 0.5 * shape.max()].mean())
    sign = 1.0 if rng.random() < 0.5 else -1.0
    if not 0 <= level + sign * what.contrast <= 255:
        sign = -sign
    change = np.float32(sign * what.contrast) * shape
    if what.kind == "grain":
        change *= _grain(change.shape, rng)
    changed = part + (change if part.ndim == 2 else change[..., None])
    part[...] = np.clip(np.rint(changed), 0, 255).astype(np.uint8)
    seen = shape > 0.1
    ys, xs = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    top, left = field[0].start, field[1].start
    return Drawn(top + int(ys[0]), left + int(xs[0]), top + int(ys[-1]) + 1, left + int(xs[-1]) + 1)


def _shape(what: Subtle, rows: F32, cols: F32, angle: np.float32) -> F32:
    """(H, W) how much of the contrast each pixel gets, 0 to 1, about a place at (0, 0)."""
    half = np.float32(what.size_px / 2)
    shape: F32
    if what.kind == "stain":
        # Soft: half of its contrast is left a third of the way out.
        shape = np.exp(-(rows**2 + cols**2) / (2 * (half / 2) ** 2))
        return shape
    if what.kind in ("spot", "grain"):
        shape = np.clip(half + np.float32(0.5) - np.hypot(rows, cols), 0, 1)
        return shape
    along = rows * np.sin(angle) + cols * np.cos(angle)
    across = np.abs(rows * np.cos(angle) - cols * np.sin(angle))
    shape = np.clip(half + np.float32(0.5) - across, 0, 1)
    if what.kind == "scratch":
        reach = np.float32(SCRATCH_TIMES * half)
        shape *= np.clip(reach + np.float32(0.5) - np.abs(along), 0, 1)
    elif what.kind != "band":
        raise ValueError(f"kind {what.kind!r}, expected one of {KINDS}")
    return shape


def _grain(shape: tuple[int, ...], rng: np.random.Generator) -> F32:
    """(H, W) of 1 and -1 in squares, as many of either in each four: no brighter, no darker."""
    high, wide = (-(-side // (2 * GRAIN_PX)) for side in shape[:2])
    fours = rng.permuted(np.tile(np.array([1, 1, -1, -1], np.float32), (high, wide, 1)), axis=2)
    squares = fours.reshape(high, wide, 2, 2).transpose(0, 2, 1, 3).reshape(2 * high, 2 * wide)
    grain: F32 = squares.repeat(GRAIN_PX, axis=0).repeat(GRAIN_PX, axis=1)
    return grain[: shape[0], : shape[1]]
