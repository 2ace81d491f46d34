"""Image files in and out: the only place that knows OpenCV's codecs.

A recorded frame is evidence, so reading is strict: pixels come back exactly
as they were stored, or an `ImageError` says why not. Record as PNG: it alone
carries checksums, and a few changed bytes in a file of another kind go unseen.
"""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from kenpin.camera.files.jpeg import JpegError, decode_jpeg
from kenpin.camera.files.listing import ImageError
from kenpin.camera.files.orientation import orientation_of, turned
from kenpin.camera.frame import Pixels

__all__ = ["decode_pixels", "encode_float_tiff", "encode_png", "fit_to", "read_pixels", "write_png"]

# Of a file that is no image, in the message.
_SHOWN_BYTES = 8
_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "BigTIFF",
    b"MM\0+": "BigTIFF",
    b"P2": "PGM",
    b"P3": "PPM",
    b"P5": "PGM",
    b"P6": "PPM",
}
_EXPECTED = "write it again as PNG, 8 or 16 bits, mono or RGB"
_ALPHA = "it has an alpha channel, which says where it may be seen through"
_RECORD_AGAIN = "copy or record the file again"

# TIFF 6.0, section 8.
_TIFF_COMPRESSION, _TIFF_SAMPLES_PER_PIXEL = 259, 277
_TIFF_JPEG = (6, 7)

# OpenCV writes a line to stderr for each file that it cannot decode, and so
# does `ImageError`, better. libpng's and libjpeg's own lines remain.
if "OPENCV_LOG_LEVEL" not in os.environ:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def read_pixels(path: Path) -> Pixels:
    """The pixels of an image file, exactly as stored.

    Returns
    -------
    (H, W) for a mono image, (H, W, 3) as red, green, blue for a colour one;
    uint8 or uint16, as stored. A turn that EXIF or TIFF asks for is carried
    out, as every viewer does: masks are drawn on what people see.

    Raises
    ------
    ImageError
        If the file is missing, empty, cut short, damaged or of another kind;
        has an alpha channel, another pixel type or several pages.
    """
    return decode_pixels(path, _bytes_of(path))


def decode_pixels(path: Path, data: bytes) -> Pixels:
    """The same of an image file's bytes; `path` is for messages.

    Raises
    ------
    ImageError
        If they are no image of a kind that is read, or are damaged.
    """
    kind = next((k for start, k in _SIGNATURES.items() if data.startswith(start)), "")
    if not kind:
        raise ImageError(
            path, f"begins with {data[:_SHOWN_BYTES]!r}, no image format known here", _EXPECTED
        )
    if kind == "BigTIFF":
        raise ImageError(path, "it is a BigTIFF, made for files above 4 GB", _EXPECTED)
    if kind == "TIFF":
        _refuse_odd_tiff(path, data)
    if kind == "PNG":
        _refuse_odd_png(path, data)
    pixels = _from_jpeg(path, data) if kind == "JPEG" else _decoded(path, kind, data)
    return turned(pixels, orientation_of(kind, data))


def write_png(path: Path, pixels: Pixels) -> None:
    """Write pixels as a PNG, without loss.

    Parameters
    ----------
    pixels : (H, W) or (H, W, 3) as red, green, blue; uint8 or uint16

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    data = encode_png(pixels)
    try:
        path.write_bytes(data)
    except OSError as error:
        # Where a disk is full half-way, the system does not say of which file.
        error.filename = str(path)
        raise


def encode_png(pixels: Pixels) -> bytes:
    """Pixels as the bytes of a PNG, without loss; shapes and types as in `write_png`."""
    stored = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    # Grain hardly compresses: level 1 is several times faster than the default
    # and a few per cent larger.
    encoded = cv2.imencode(".png", stored, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
    return bytes(encoded.tobytes())


def encode_float_tiff(values: NDArray[np.float32]) -> bytes:
    """(H, W) float32 as the bytes of a TIFF with one page, bit for bit, uncompressed."""
    # What all readers of floating-point TIFFs know: most know no predictor.
    encoded = cv2.imencode(".tiff", values, [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1]
    return bytes(encoded.tobytes())


def fit_to(pixels: Pixels, height: int, width: int) -> Pixels:
    """The image resized to (height, width); the same array if that is its size.

    Each axis that shrinks averages the area, so that a thin scratch fades but
    never falls between samples; each axis that grows is interpolated linearly.

    Parameters
    ----------
    pixels : (H, W) or (H, W, 3)

    Returns
    -------
    (height, width) or (height, width, 3), dtype as given.
    """
    # Two steps, because INTER_AREA on an axis that grows repeats pixels.
    fewer = (min(height, pixels.shape[0]), min(width, pixels.shape[1]))
    return _resized(_resized(pixels, fewer, cv2.INTER_AREA), (height, width), cv2.INTER_LINEAR)


def _bytes_of(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
            # A pipe would be waited for, a device never ends.
            found = "is no file but a pipe, a socket or a device"
            raise ImageError(path, found, "remove it from among the images")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError(path, "no such file", "check the path") from error
    except OSError as error:
        found = f"cannot be read ({error.strerror})"
        raise ImageError(path, found, "check the path, the rights and the disk") from error
    if not data:
        raise ImageError(path, "the file is empty", _RECORD_AGAIN)
    return data


def _from_jpeg(path: Path, data: bytes) -> Pixels:
    try:
        return decode_jpeg(data)
    except JpegError as error:
        raise ImageError(path, f"JPEG refused by the decoder ({error})", _RECORD_AGAIN) from error


def _decoded(path: Path, kind: str, data: bytes) -> Pixels:
    try:
        # From memory, not `imread`, which reads the file a second time.
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageError(path, f"{kind} refused by the decoder ({error.err})", _EXPECTED) from error
    if decoded is None:
        found = f"{kind} of {len(data)} bytes is cut short or damaged"
        raise ImageError(path, found, _RECORD_AGAIN)
    return _in_rgb(path, decoded)


def _in_rgb(path: Path, decoded: cv2.typing.MatLike) -> Pixels:
    if decoded.dtype.name not in ("uint8", "uint16"):
        raise ImageError(path, f"its pixels are {decoded.dtype}", _EXPECTED)
    if decoded.ndim == 3 and decoded.shape[2] == 4:
        raise ImageError(path, _ALPHA, _EXPECTED)
    if decoded.ndim == 3:
        decoded = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    return cast(Pixels, decoded)


def _refuse_odd_png(path: Path, data: bytes) -> None:
    """Raise ImageError for a PNG with a chunk beyond its end, or one that OpenCV leaves out."""
    # The decoder believes the length: one wrong bit cost 1.8 GB and 6 seconds
    # before it noticed.
    at = 8
    while at < len(data):
        # A chunk: length, type, data, checksum (PNG, third edition, section 5.3).
        length = int.from_bytes(data[at : at + 4], "big")
        at += 12 + length
        if at > len(data):
            found = f"PNG of {len(data)} bytes ends inside a chunk of {length}"
            raise ImageError(path, found, _RECORD_AGAIN)
        if data[at - 8 - length : at - 4 - length] == b"tRNS":
            raise ImageError(path, _ALPHA, _EXPECTED)


def _refuse_odd_tiff(path: Path, data: bytes) -> None:
    """Raise ImageError for a TIFF that OpenCV would read in part."""
    order = "<" if data.startswith(b"II") else ">"
    try:
        (directory,) = struct.unpack_from(order + "I", data, 4)
        (entries,) = struct.unpack_from(order + "H", data, directory)
        # An entry has 12 bytes: tag, type, count, value.
        tags = [
            struct.unpack_from(order + "HHIH", data, directory + 2 + 12 * entry)
            for entry in range(entries)
        ]
        (next_page,) = struct.unpack_from(order + "I", data, directory + 2 + 12 * entries)
    except struct.error as error:
        found = f"TIFF of {len(data)} bytes is cut short or damaged"
        raise ImageError(path, found, _RECORD_AGAIN) from error
    if next_page:
        raise ImageError(path, "TIFF with several pages", "write one image per file")
    values = {tag: value for tag, _, _, value in tags}
    if values.get(_TIFF_SAMPLES_PER_PIXEL) == 2:
        # OpenCV drops the second channel without a word.
        raise ImageError(path, _ALPHA, _EXPECTED)
    if values.get(_TIFF_COMPRESSION) in _TIFF_JPEG:
        raise ImageError(path, "TIFF compressed as JPEG, whose damage nobody sees", _EXPECTED)


def _resized(pixels: Pixels, shape: tuple[int, int], how: int) -> Pixels:
    if pixels.shape[:2] == shape:
        return pixels
    return cast(Pixels, cv2.resize(pixels, shape[::-1], interpolation=how))
