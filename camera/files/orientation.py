"""The turn that a camera asked for when it wrote a file: EXIF's orientation."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from kenpin.camera.frame import Pixels

__all__ = ["orientation_of", "turned"]

# EXIF 2.32 and TIFF 6.0, section 8: the tag, and how to get from the rows of the
# file to what a viewer shows.
TAG = 274
_TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: np.rot90(p, 1),
}


def turned(pixels: Pixels, orientation: int) -> Pixels:
    """The image as every viewer shows it; the same array for orientation 1, or an unknown one."""
    turn = _TURNS.get(orientation)
    return pixels if turn is None else cast(Pixels, np.ascontiguousarray(turn(pixels)))


def orientation_of(kind: str, data: bytes) -> int:
    """EXIF's orientation of a JPEG or PNG, 1 to 8; 1 if it says none.

    A TIFF's is not asked for: OpenCV obeys it.
    """
    for exif in _exif_jpeg(data) if kind == "JPEG" else _exif_png(data) if kind == "PNG" else ():
        found = _of_tiff(exif)
        if found in _TURNS:
            return found
    return 1


def _exif_jpeg(data: bytes) -> Iterator[bytes]:
    at = 2
    # APP1 stands before the first scan; each segment begins with FF, its kind and its length.
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        if data[at + 1] == 0xFF:
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            yield data[at + 10 : at + 2 + length]
        at += 2 + max(length, 2)


def _exif_png(data: bytes) -> Iterator[bytes]:
    at = 8
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"eXIf":
            yield data[at + 8 : at + 8 + length]
        at += 12 + length


def _of_tiff(data: bytes) -> int:
    """The orientation in the first directory of a TIFF structure; 0 if it has none."""
    order = "<" if data.startswith(b"II") else ">"
    try:
        (directory,) = struct.unpack_from(order + "I", data, 4)
        (entries,) = struct.unpack_from(order + "H", data, directory)
        for entry in range(entries):
            # An entry has 12 bytes: tag, type, count, value.
            at = directory + 2 + 12 * entry
            tag, _, _, value = struct.unpack_from(order + "HHIH", data, at)
            if tag == TAG:
                return int(value)
    except struct.error:
        # EXIF that is no EXIF tells no turn: viewers, too, show such a file as it is.
        return 0
    return 0
