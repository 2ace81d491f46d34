"""Pictures for a report: small JPEGs, with and without the map laid over them."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from kenpin.runtime.judging.join import ScoreMap
from kenpin.runtime.judging.overlay import folded, heated, on_canvas, striped

__all__ = ["Picture", "jpeg", "pictured", "shrunk"]

U8 = NDArray[np.uint8]

QUALITY = 82
# A report of some forty pictures stays below a few MiB, and a detail can still be seen.
LONGEST_PX = 640


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a gallery.

    name   of the image, or what was drawn
    score  its image score; None where there is none
    plain  JPEG of what the camera saw
    heat   the same with the map over it; None where there is no map
    note   a sentence more about it
    facts  more of it for programs
    """

    name: str
    score: float | None
    plain: bytes
    heat: bytes | None = None
    note: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def tree(self) -> dict[str, Any]:
        """For the page: pictures as data addresses."""
        return {
            **self.record(),
            "plain": _address(self.plain),
            "heat": None if self.heat is None else _address(self.heat),
        }

    def record(self) -> dict[str, Any]:
        """The same without pictures, for programs."""
        return {"name": self.name, "score": self.score, "note": self.note, **self.facts}


def pictured(
    name: str,
    score: float | None,
    pixels: NDArray[Any],
    values: ScoreMap | None = None,
    threshold: float = 0.0,
    note: str = "",
) -> Picture:
    """An image (H, W) or (H, W, 3) as a picture of a report, its map over it where there is one."""
    canvas = on_canvas(pixels)
    heat = None
    if values is not None:
        hot = canvas.copy()
        heated(hot, values, threshold)
        striped(hot, values)
        heat = jpeg(shrunk(folded(hot)))
    return Picture(name, score, jpeg(shrunk(folded(canvas))), heat, note)


def shrunk(canvas: U8, longest_px: int = LONGEST_PX) -> U8:
    """(H, W, 3) made smaller until it is no longer than that on either side, in its shape."""
    height, width = canvas.shape[:2]
    share = longest_px / max(height, width)
    if share >= 1:
        return canvas
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.asarray(cv2.resize(canvas, size, interpolation=cv2.INTER_AREA), np.uint8)


def jpeg(canvas: U8) -> bytes:
    """(H, W, 3) uint8 red, green, blue as a JPEG."""
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(canvas), QUALITY, colorspace="RGB"))


def _address(data: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()
