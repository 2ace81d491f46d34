"""Pixel formats of cameras (GenICam PFNC) to arrays, exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kenpin.camera.source import CameraError

__all__ = [
    "PIXEL_FORMATS",
    "PixelFormat",
    "PixelFormatError",
    "pixel_format",
    "pixel_format_named",
    "to_8_bit",
]

U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]


class PixelFormatError(CameraError):
    """Pixels of a kind that kenpin does not read."""


@dataclass(frozen=True)
class PixelFormat:
    """How a camera lays out its pixels.

    code          PFNC's 32-bit number
    bits          of a sample
    group         pixels that share `group_bytes` bytes and can only be read together
    channels      1, or 3 for red, green, blue
    """

    name: str
    code: int
    bits: int
    group: int
    group_bytes: int
    channels: int
    _read: Callable[[U8, NDArray[Any]], None]

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """Of the array that it becomes."""
        return np.uint8 if self.bits == 8 else np.uint16

    def line_bytes(self, width: int) -> int:
        """Bytes of a scan line, without padding.

        Raises
        ------
        PixelFormatError
            If a line of this width would end inside a group: cameras disagree on
            where the next line begins then.
        """
        if width < 1 or width % self.group:
            raise PixelFormatError(
                f"{self.name}, {width} px wide: a line must be whole groups of {self.group} "
                f"pixels; set `width_px` to a multiple of {self.group}"
            )
        return width // self.group * self.group_bytes

    def unpack(
        self,
        raw: bytes | memoryview | U8,
        width: int,
        height: int,
        padding: int = 0,
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """The pixels in a camera's buffer.

        Parameters
        ----------
        raw
            The buffer; what lies behind the last line is ignored.
        width, height
            Pixels across, scan lines.
        padding
            Bytes behind each line that are no pixels.
        out : (height, width) or (height, width, 3), uint8 or uint16
            Where to write; made if not given.

        Returns
        -------
        `out`. Colour is red, green, blue; a Bayer mosaic is interpolated bilinearly.

        Raises
        ------
        PixelFormatError
            If the buffer is too short, or a line would end inside a group.
        """
        used = self.line_bytes(width)
        stride = used + padding
        data = np.frombuffer(raw, np.uint8)
        needed = height * stride - padding
        if len(data) < needed:
            raise PixelFormatError(
                f"{self.name}: {len(data)} bytes for {height} lines of {stride}, expected {needed}"
            )
        if padding and len(data) < height * stride:
            data = np.concatenate([data, np.zeros(padding, np.uint8)])
        lines = data[: height * stride].reshape(height, stride)[:, :used]
        if out is None:
            size = (height, width) if self.channels == 1 else (height, width, self.channels)
            out = np.empty(size, self.dtype)
        self._read(lines, out)
        return out


def _bytes(lines: U8, out: NDArray[Any]) -> None:
    np.copyto(out, lines.reshape(out.shape))


def _bgr(lines: U8, out: NDArray[Any]) -> None:
    np.copyto(out, lines.reshape(out.shape)[:, :, ::-1])


def _words(lines: U8, out: NDArray[Any]) -> None:
    # Two bytes a sample, the low one first; a padded line may not be aligned.
    high = out.view(np.uint8).reshape(*out.shape, 2)
    np.copyto(high, lines.reshape(*out.shape, 2))


def _mono10p(lines: U8, out: NDArray[Any]) -> None:
    # Four pixels in five bytes, the lowest bit first.
    b = lines.reshape(len(lines), -1, 5).astype(np.uint16)
    out[:, 0::4] = b[..., 0] | (b[..., 1] & 0x03) << 8
    out[:, 1::4] = b[..., 1] >> 2 | (b[..., 2] & 0x0F) << 6
    out[:, 2::4] = b[..., 2] >> 4 | (b[..., 3] & 0x3F) << 4
    out[:, 3::4] = b[..., 3] >> 6 | b[..., 4] << 2


def _mono12p(lines: U8, out: NDArray[Any]) -> None:
    # Two pixels in three bytes, the lowest bit first.
    b = lines.reshape(len(lines), -1, 3).astype(np.uint16)
    out[:, 0::2] = b[..., 0] | (b[..., 1] & 0x0F) << 8
    out[:, 1::2] = b[..., 1] >> 4 | b[..., 2] << 4


def _mono10_packed(lines: U8, out: NDArray[Any]) -> None:
    # GigE Vision: the byte between two pixels' high bytes holds their low bits.
    b = lines.reshape(len(lines), -1, 3).astype(np.uint16)
    out[:, 0::2] = b[..., 0] << 2 | b[..., 1] & 0x03
    out[:, 1::2] = b[..., 2] << 2 | b[..., 1] >> 4 & 0x03


def _mono12_packed(lines: U8, out: NDArray[Any]) -> None:
    b = lines.reshape(len(lines), -1, 3).astype(np.uint16)
    out[:, 0::2] = b[..., 0] << 4 | b[..., 1] & 0x0F
    out[:, 1::2] = b[..., 2] << 4 | b[..., 1] >> 4


def _bayer(conversion: int) -> Callable[[U8, NDArray[Any]], None]:
    def read(lines: U8, out: NDArray[Any]) -> None:
        # The library writes into `out` itself only if type and layout agree.
        colour = cv2.cvtColor(np.ascontiguousarray(lines), conversion, dst=out)
        if not np.shares_memory(colour, out):
            np.copyto(out, colour)

    return read


# Codes: GenICam Pixel Format Naming Convention; the two ...Packed are GigE Vision's.
# OpenCV's long names give the mosaic's first two lines, as PFNC's give its first pixels.
PIXEL_FORMATS = (
    PixelFormat("Mono8", 0x01080001, 8, 1, 1, 1, _bytes),
    PixelFormat("Mono10", 0x01100003, 10, 1, 2, 1, _words),
    PixelFormat("Mono12", 0x01100005, 12, 1, 2, 1, _words),
    PixelFormat("Mono10p", 0x010A0046, 10, 4, 5, 1, _mono10p),
    PixelFormat("Mono12p", 0x010C0047, 12, 2, 3, 1, _mono12p),
    PixelFormat("Mono10Packed", 0x010C0004, 10, 2, 3, 1, _mono10_packed),
    PixelFormat("Mono12Packed", 0x010C0006, 12, 2, 3, 1, _mono12_packed),
    PixelFormat("BayerGR8", 0x01080008, 8, 1, 1, 3, _bayer(cv2.COLOR_BayerGRBG2RGB)),
    PixelFormat("BayerRG8", 0x01080009, 8, 1, 1, 3, _bayer(cv2.COLOR_BayerRGGB2RGB)),
    PixelFormat("BayerGB8", 0x0108000A, 8, 1, 1, 3, _bayer(cv2.COLOR_BayerGBRG2RGB)),
    PixelFormat("BayerBG8", 0x0108000B, 8, 1, 1, 3, _bayer(cv2.COLOR_BayerBGGR2RGB)),
    PixelFormat("RGB8", 0x02180014, 8, 1, 3, 3, _bytes),
    PixelFormat("BGR8", 0x02180015, 8, 1, 3, 3, _bgr),
)
_BY_CODE = {known.code: known for known in PIXEL_FORMATS}
_BY_NAME = {known.name: known for known in PIXEL_FORMATS}


def pixel_format(code: int) -> PixelFormat:
    """The format of a PFNC code.

    Raises
    ------
    PixelFormatError
        If kenpin does not read it.
    """
    if code not in _BY_CODE:
        raise PixelFormatError(f"pixel format 0x{code:08X} is not read; {_offer()}")
    return _BY_CODE[code]


def pixel_format_named(name: str) -> PixelFormat:
    """The format of a GenICam name.

    Raises
    ------
    PixelFormatError
        If kenpin does not read it.
    """
    if name not in _BY_NAME:
        raise PixelFormatError(f"pixel format {name} is not read; {_offer()}")
    return _BY_NAME[name]


def _offer() -> str:
    return "set `pixel_format` to one of " + ", ".join(_BY_NAME)


def to_8_bit(pixels: U16, bits: int, out: U8 | None = None) -> U8:
    """The 8 highest of `bits` bits: what an 8-bit camera would have shown, rounded down.

    Parameters
    ----------
    pixels : (H, W) uint16
        Values below 2 ** bits.
    out : (H, W) uint8
        Where to write; made if not given.
    """
    high = pixels >> (bits - 8)
    if out is None:
        return high.astype(np.uint8)
    np.copyto(out, high, casting="unsafe")
    return out
