"""Images of any size, depth and colour to the frame that a recipe describes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from kenpin.camera.files.images import fit_to
from kenpin.config.frame import FrameSpec, ToGrey
from kenpin.runtime.judging.join import ScoreMap
from kenpin.runtime.judging.tiling import reflect

__all__ = ["at_depth", "fitted", "in_grey_levels", "misfit", "placed", "wrong_size"]

U8 = NDArray[np.uint8]

# Trimmed and padded images begin at a whole number of these, which is a whole number
# of patches at every distance that patches may have: the map can be laid back exactly.
STEP_PX = 32
_CHANNEL = {"red": 0, "green": 1, "blue": 2}


def misfit(pixels: NDArray[Any], expected: FrameSpec) -> str:
    """Why an image is not, and cannot be made, the frame of a recipe; empty if it can."""
    height, width = pixels.shape[:2]
    return (
        _wrong_depth(pixels, expected)
        or _wrong_colour(pixels, expected)
        or wrong_size(height, width, expected)
    )


def in_grey_levels(pixels: NDArray[Any], expected: FrameSpec) -> U8:
    """An image that fits, in 8 bits and the recipe's channels; the same array if it is so.

    Grey comes first, so that nothing is rounded twice. Integers and tables only:
    the same bits on every processor.

    Parameters
    ----------
    pixels : (H, W) or (H, W, 3) uint8 or uint16
    """
    if expected.channels == 1 and pixels.ndim == 3 and expected.to_grey is not None:
        pixels = _grey(pixels, expected.to_grey)
    if pixels.dtype == np.uint8:
        return cast(U8, pixels)
    if expected.white is None:
        # As `to_8_bit` of the camera: rounded down.
        return (pixels >> (expected.bits - 8)).astype(np.uint8)
    values = np.arange(1 << 16)
    table = np.minimum((values * 255 * 2 + expected.white) // (2 * expected.white), 255)
    return cast(U8, table.astype(np.uint8)[pixels])


def at_depth(pixels: U8, expected: FrameSpec) -> NDArray[Any]:
    """An image in grey levels as its camera gives it: `in_grey_levels` makes the same of it.

    Returns
    -------
    uint16 where the recipe says which value is white, and else the same array.
    """
    if expected.white is None:
        return pixels
    return ((pixels.astype(np.uint32) * expected.white + 127) // 255).astype(np.uint16)


def fitted(pixels: U8, expected: FrameSpec) -> U8:
    """An image in grey levels, brought to the frame's size; the same array if it has it."""
    if expected.fit == "resize":
        return cast(U8, fit_to(pixels, expected.height_px, expected.width_px))
    if expected.fit == "exact":
        return pixels
    height, width = pixels.shape[:2]
    rows = np.arange(expected.height_px) + _start(height, expected.height_px)
    cols = np.arange(expected.width_px) + _start(width, expected.width_px)
    return np.ascontiguousarray(pixels[reflect(rows, height)][:, reflect(cols, width)])


def placed(score_map: ScoreMap, expected: FrameSpec, height: int, width: int) -> ScoreMap:
    """The map of a fitted image, laid back onto the image; 0 where nothing was inspected.

    A resized image's map is left as it is: whoever shows it stretches it.
    """
    if expected.fit not in ("trim", "pad"):
        return score_map
    stride = score_map.stride_px
    rows, cols = score_map.values.shape
    whole = np.zeros((-(-height // stride), -(-width // stride)), np.float32)
    top, left = (
        _start(size, frame) // stride
        for size, frame in ((height, expected.height_px), (width, expected.width_px))
    )
    there = whole[max(top, 0) : top + rows, max(left, 0) : left + cols]
    first_row, first_col = max(-top, 0), max(-left, 0)
    there[:] = score_map.values[
        first_row : first_row + there.shape[0], first_col : first_col + there.shape[1]
    ]
    return replace(score_map, values=whole, frame_size=(height, width))


def _start(size: int, frame: int) -> int:
    """The image's row, or column, at which the frame begins; negative where it is padded."""
    if size >= frame:
        return (size - frame) // 2 // STEP_PX * STEP_PX
    return -((frame - size) // 2 // STEP_PX * STEP_PX)


def _grey(pixels: NDArray[Any], how: ToGrey) -> NDArray[Any]:
    if how == "luma":
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    if how == "mean":
        total = pixels.sum(axis=2, dtype=np.uint32)
        return np.asarray((total + 1) // 3, pixels.dtype)
    return np.ascontiguousarray(pixels[..., _CHANNEL[how]])


def _wrong_depth(pixels: NDArray[Any], expected: FrameSpec) -> str:
    if pixels.dtype == np.uint8:
        if expected.white is None:
            return ""
        return (
            f"frame has 8 bits a pixel, expected {expected.bits} with white at {expected.white}; "
            'set camera.bits = "all", or take frame.white out of the recipe'
        )
    if pixels.dtype != np.uint16:
        return f"frame holds {pixels.dtype}, expected whole numbers of 8 or 16 bits; convert it"
    highest = int(pixels.max(initial=0))
    needed = max(highest.bit_length(), 9)
    if expected.bits == 8:
        return (
            f"frame has 16 bits a pixel with values up to {highest}, expected 8; set frame.bits = "
            f"{needed} in the recipe, or what the camera counts to, and frame.white if its "
            "brightest material is far below"
        )
    if highest >> expected.bits:
        return (
            f"frame holds values up to {highest}, which need {needed} bits, expected "
            f"{expected.bits}; set frame.bits = {needed}"
        )
    return ""


def _wrong_colour(pixels: NDArray[Any], expected: FrameSpec) -> str:
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels == expected.channels or (channels == 3 and expected.to_grey is not None):
        return ""
    if channels == 3:
        alike = bool((pixels[..., :1] == pixels).all())
        what = "they are all the same, grey that was saved in colour: " if alike else ""
        return (
            f"frame has 3 channels, expected 1; {what}set frame.to_grey, to luma for example, "
            "or the camera's pixel format"
        )
    return (
        f"frame has {channels} channels, expected {expected.channels}; set the camera's "
        "pixel format, or recompile with `frame.channels` changed"
    )


def wrong_size(height: int, width: int, expected: FrameSpec) -> str:
    """Why an image of that size does not fit; empty if it does."""
    if expected.geometry == "continuous":
        if not height or width != expected.width_px:
            return (
                f"frame is {height} x {width} px, expected any number of lines "
                f"of {expected.width_px} px; set the camera's width, or recompile with "
                "frame.width_px changed"
            )
        return ""
    size = (expected.height_px, expected.width_px)
    fits = {
        "exact": (height, width) == size,
        "resize": height > 0 and width > 0,
        "trim": height >= size[0] and width >= size[1],
        "pad": 0 < height <= size[0] and 0 < width <= size[1],
    }
    if fits[expected.fit]:
        return ""
    limit = {"trim": "at least ", "pad": "at most "}.get(expected.fit, "")
    return (
        f"frame is {height} x {width} px, expected {limit}{size[0]} x {size[1]}; set lines per "
        "frame and width, or recompile with `frame` changed: frame.fit takes other sizes, too"
    )
