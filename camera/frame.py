"""What a camera delivers: a frame, or the knowledge that one is missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Frame", "LostFrame", "Pixels"]

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One whole image from a line camera.

    pixels       (H, W) or (H, W, 3): H scan lines, W pixels across, colour as
                 red, green, blue; read-only from here on
    captured_ns  monotonic clock when the last line arrived
    index        counts every frame started, so a gap is a lost frame
    name         the file of a recorded frame; empty from a camera
    """

    pixels: Pixels
    captured_ns: int
    index: int
    name: str = ""

    def __post_init__(self) -> None:
        self.pixels.flags.writeable = False


@dataclass(frozen=True, slots=True)
class LostFrame:
    """A frame that was started or recorded but cannot be shown to anyone.

    It travels the same way as a frame, because it too is owed a verdict.

    detail       one sentence: what was found, what was expected, what to do
    """

    captured_ns: int
    index: int
    detail: str
    name: str = ""
