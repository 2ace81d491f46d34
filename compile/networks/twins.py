"""Anomaly twins: good tiles with a defect pasted in, for what must not saturate."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["TWIN_KINDS", "twin"]

U8 = NDArray[np.uint8]

# What is drawn into tiles, each so strong that any network must see it.
TWIN_KINDS = ("black", "white", "noise", "line", "spot")

# Sides and widths as shares of the image's shorter side.
PATCH_SHARE = (0.08, 0.2)
LINE_SHARE = (0.008, 0.02)
SPOT_SHARE = (0.02, 0.06)


def twin(pixels: NDArray[Any], kind: str, rng: np.random.Generator, margin: int = 0) -> U8:
    """A copy with one defect of a kind pasted at a random place.

    Parameters
    ----------
    pixels : (H, W) or (H, W, C) uint8
    kind
        One of `TWIN_KINDS`: a black, white or noise patch, a line, a spot.
    margin
        Pixels at the border that stay free: the halo, which is not scored.
    """
    out = np.ascontiguousarray(pixels).copy()
    # Lines may be longer than the room they have: a view cuts them off at the margin.
    core = out[margin : out.shape[0] - margin, margin : out.shape[1] - margin]
    height, width = core.shape[:2]
    short = min(height, width)
    # The grey that the surroundings are not: what a person would see.
    loud = 255 if float(pixels.mean()) < 128 else 0
    if kind in ("black", "white", "noise"):
        h, w = (max(4, int(short * rng.uniform(*PATCH_SHARE))) for _ in range(2))
        y = int(rng.integers(height - h + 1))
        x = int(rng.integers(width - w + 1))
        patch = core[y : y + h, x : x + w]
        if kind == "noise":
            patch[...] = rng.integers(0, 256, patch.shape, np.uint8)
        else:
            patch[...] = 255 if kind == "white" else 0
        return out
    colour = (loud,) * 3
    centre = (
        int(rng.integers(short // 8, width - short // 8)),
        int(rng.integers(short // 8, height - short // 8)),
    )
    if kind == "spot":
        cv2.circle(core, centre, max(2, int(short * rng.uniform(*SPOT_SHARE))), colour, -1)
        return out
    if kind != "line":
        raise ValueError(f"twin kind {kind!r}, expected one of {TWIN_KINDS}")
    angle = rng.uniform(0, np.pi)
    reach = short * rng.uniform(0.15, 0.4)
    step = np.array([np.cos(angle), np.sin(angle)]) * reach
    ends = [tuple(int(v) for v in np.add(centre, sign * step)) for sign in (-1, 1)]
    cv2.line(core, ends[0], ends[1], colour, max(1, int(short * rng.uniform(*LINE_SHARE))))
    return out
