"""What a camera delivers: a frame, or the knowledge that one is missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kenpin.camera.capture import Capture
from kenpin.camera.loss import Loss

__all__ = ["Capture", "Frame", "LostFrame", "Pixels"]

_UNKNOWN = Capture()

# (H, W) or (H, W, 3) of a camera: 8 bits, or up to 16 in 16.
Pixels = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One whole image from a line camera.

    pixels       (H, W) or (H, W, 3): H scan lines, W pixels across, colour as
                 red, green, blue; read-only from here on
    captured_ns  monotonic clock when the last line arrived
    index        counts every frame started, so a gap is a lost frame
    name         the file of a recorded frame; empty from a camera
    capture      line range, encoder, the camera's own count and clock
    """

    pixels: Pixels
    captured_ns: int
    index: int
    name: str = ""
    capture: Capture = _UNKNOWN

    def __post_init__(self) -> None:
        self.pixels.flags.writeable = False

    @property
    def complete(self) -> bool:
        """Whether every scan line came. A web that stops ends a frame early."""
        return len(self.pixels) >= self.capture.lines_expected


@dataclass(frozen=True, slots=True)
class LostFrame:
    """A frame that was started or recorded but cannot be shown to anyone.

    It travels the same way as a frame, because it too is owed a verdict. A run
    of lost frames is one of these, and `index` is the first one's.

    detail       one sentence: what was found, what was expected, what to do
    lines        scan lines lost with all of them; None if nobody knows
    count        how many frames
    """

    captured_ns: int
    index: int
    detail: str
    name: str = ""
    lines: int | None = None
    count: int = 1
    loss: Loss = Loss.INCOMPLETE
