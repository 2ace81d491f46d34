"""JPEG files in: every pixel as it was stored, or the decoder's complaint as an error."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import numpy as np
import simplejpeg

from kenpin.camera.frame import Pixels

__all__ = ["JpegError", "decode_jpeg"]

# As OpenCV's own limit for every other format.
_MOST_PIXELS = 1 << 30

# ITU-T T.81, table B.1: frames whose components come in one scan each, or with others in one,
# and those that come bit by bit; SOF9 and SOF10 are the same in arithmetic codes.
_START_OF_SCAN = 0xDA
_SEQUENTIAL = frozenset({0xC0, 0xC1, 0xC3, 0xC9})
_PROGRESSIVE = frozenset({0xC2, 0xCA})
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
# Within a scan FF 00 is a byte of data and FF D0 to D7 are restarts; any other marker ends it.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# Coefficients of a block.
_BAND = 64


class JpegError(ValueError):
    """What is wrong with the data, in the decoder's words."""


def decode_jpeg(data: bytes) -> Pixels:
    """The pixels of a JPEG: (H, W), or (H, W, 3) as red, green, blue; uint8.

    OpenCV's decoder prints "Corrupt JPEG data" and hands out what it made up for
    the rest; this one, of the same library and with the same pixels to the last
    bit, stops. A hole that leaves valid codes of the right count is still not
    seen: JPEG has no checksum.

    Raises
    ------
    JpegError
        If the data is cut short or damaged, lacks scans, is CMYK, or larger than
        2^30 pixels.
    """
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
        if height * width > _MOST_PIXELS:
            raise JpegError(f"it claims {height} x {width} pixels")
        if space not in ("Gray", "YCbCr", "RGB"):
            raise JpegError(f"its colours are {space}")
        missing = _missing_bits(data)
        if missing:
            raise JpegError(missing)
        pixels = simplejpeg.decode_jpeg(data, "GRAY" if space == "Gray" else "RGB")
    except JpegError:
        raise
    except (struct.error, IndexError):
        raise JpegError("its markers are damaged") from None
    except ValueError as error:
        raise JpegError(str(error)) from None
    found: Pixels = np.ascontiguousarray(pixels[..., 0] if space == "Gray" else pixels)
    return found


def _missing_bits(data: bytes) -> str:
    """What the scans of an image leave out; empty if nothing.

    A file that was cut between two scans and then ended is valid for every
    decoder: it only shows less, or one even grey of a component that never came.
    """
    lowest: dict[tuple[int, int], int] = {}
    components: list[int] = []
    progressive = False
    for kind, body in _segments(data):
        if kind in _SEQUENTIAL or kind in _PROGRESSIVE:
            components = [body[6 + 3 * n] for n in range(body[5])]
            progressive = kind in _PROGRESSIVE
        elif kind == _START_OF_SCAN and components:
            count = body[0]
            # A sequential one gives all, whatever it says here: some encoders write zeros.
            said = body[1 + 2 * count : 4 + 2 * count]
            first, last, bits = said if progressive else (0, _BAND - 1, 0)
            for n in range(count):
                for band in range(first, min(last, _BAND - 1) + 1):
                    lowest[body[1 + 2 * n], band] = bits & 15
    unseen = [
        lowest.get((component, band), _BAND) for component in components for band in range(_BAND)
    ]
    if any(unseen):
        done = unseen.count(0)
        return f"its scans give {done} of {len(unseen)} coefficients in full; it was cut short"
    return ""


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, content) of every segment that has one."""
    at = 2
    while at < len(data):
        found = _NEXT_MARKER.search(data, at)
        if found is None:
            return
        kind, at = data[found.start() + 1], found.end()
        if kind in _STANDALONE:
            continue
        if kind == 0xD9:
            return
        (length,) = struct.unpack_from(">H", data, at)
        yield kind, data[at + 2 : at + length]
        at += length
