"""What is measured in a picture that shows whether lamp, focus or lens have changed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["BOTH_SIDES", "DETAIL", "LIGHT", "QUANTITIES", "PictureLook", "look_at", "mean_features"]

F32 = NDArray[np.float32]

# What is measured of a frame's light.
LIGHT = (
    "brightness",
    "contrast",
    "light_left",
    "light_middle_left",
    "light_middle_right",
    "light_right",
)
# What is measured of its detail, across the line and along it.
DETAIL = ("detail_across", "detail_along")
# All that is measured of a frame.
QUANTITIES = LIGHT + DETAIL
# More detail than ever is no loss of focus.
BOTH_SIDES = frozenset(LIGHT)

_QUARTERS = 4
# Fine detail is what differs from one pixel to the next, coarse what differs over so many.
_COARSE_PX = 4
# Grey levels squared, so that flat and black pictures have a logarithm.
_FLAT = 0.05
# A column is compared with this share of the frame's width around it: wider than any dirt,
# narrower than the lamp's own fall-off.
_AROUND = 1 / 16
# Positions of a frame whose features are averaged; on 16 tiles of 1,024 positions all of them
# would cost 3 ms, and tell no more of what a material is.
_POSITIONS = 256


@dataclass(frozen=True, slots=True, eq=False)
class PictureLook:
    """One picture, as it came from the camera.

    values   (len(QUANTITIES),) float32, natural logarithms: of grey levels, of the deviation
             over the mean, of each quarter's light over all of it, and of fine detail over
             coarse, which a lamp does not change and a blur does
    columns  (W,) float32, how far each column lies above those around it, as a share
    """

    values: F32
    columns: F32


def look_at(pixels: NDArray[Any]) -> PictureLook:
    """Measure a picture.

    Parameters
    ----------
    pixels : (H, W) or (H, W, 3) uint8, at least 8 lines and 16 columns
    """
    profile = cv2.reduce(pixels, 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F).reshape(pixels.shape[1], -1)
    columns = np.asarray(profile.mean(axis=1), np.float32)
    # Medians: a streak of dirt is no lamp.
    quarters = [float(np.median(part)) + _FLAT for part in np.array_split(columns, _QUARTERS)]
    light = sum(quarters) / _QUARTERS
    deviation = float(cv2.meanStdDev(pixels)[1].mean())
    values = [
        math.log(light),
        math.log((deviation + _FLAT) / light),
        *(math.log(quarter / light) for quarter in quarters),
        _detail(pixels[:, 1:], pixels[:, :-1], pixels[:, _COARSE_PX:], pixels[:, :-_COARSE_PX]),
        _detail(pixels[1:], pixels[:-1], pixels[_COARSE_PX:], pixels[:-_COARSE_PX]),
    ]
    width = max(3, round(len(columns) * _AROUND) | 1)
    around = cv2.blur(columns[None], (width, 1), borderType=cv2.BORDER_REFLECT_101)[0]
    beside = np.asarray(columns / np.maximum(around, 1) - 1, np.float32)
    return PictureLook(np.array(values, np.float32), beside)


def _detail(a: NDArray[Any], b: NDArray[Any], far: NDArray[Any], from_: NDArray[Any]) -> float:
    """Logarithm of the share that fine differences have of coarse ones."""
    fine, coarse = (
        cv2.norm(one, other, cv2.NORM_L2SQR) / one.size + _FLAT
        for one, other in ((a, b), (far, from_))
    )
    return 0.5 * math.log(fine / coarse)


def mean_features(features: F32) -> F32:
    """(D,) float32: the mean over some positions, the same ones of every frame.

    Parameters
    ----------
    features : (tiles, cells, cells, D) float32
    """
    flat = features.reshape(-1, features.shape[-1])
    # Odd, so that it does not meet the same column of every tile.
    step = max(1, len(flat) // _POSITIONS) | 1
    mean: F32 = flat[::step].mean(axis=0, dtype=np.float32)
    return mean
