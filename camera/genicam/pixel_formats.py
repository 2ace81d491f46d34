"""Pixel formats of cameras (GenICam PFNC) to arrays, exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kenpin.camera.source import CameraError

__all__ = [
    "PIXEL_FORMATS",
    "PixelFormat",
    "PixelFormatError",
    "names_of",
    "pixel_format",
    "pixel_format_named",
    "to_8_bit",
]

U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]
# Scan lines without padding, (H, bytes), and the image to write.
_Read = Callable[[U8, NDArray[Any]], None]


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
    _read: _Read

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


def _10p(lines: U8, out: NDArray[Any]) -> None:
    # Four pixels in five bytes, the lowest bit first.
    b = lines.reshape(len(lines), -1, 5).astype(np.uint16)
    out[:, 0::4] = b[..., 0] | (b[..., 1] & 0x03) << 8
    out[:, 1::4] = b[..., 1] >> 2 | (b[..., 2] & 0x0F) << 6
    out[:, 2::4] = b[..., 2] >> 4 | (b[..., 3] & 0x3F) << 4
    out[:, 3::4] = b[..., 3] >> 6 | b[..., 4] << 2


def _12p(lines: U8, out: NDArray[Any]) -> None:
    # Two pixels in three bytes, the lowest bit first.
    b = lines.reshape(len(lines), -1, 3).astype(np.uint16)
    out[:, 0::2] = b[..., 0] | (b[..., 1] & 0x0F) << 8
    out[:, 1::2] = b[..., 1] >> 4 | b[..., 2] << 4


def _10_packed(lines: U8, out: NDArray[Any]) -> None:
    # GigE Vision: the byte between two pixels' high bytes holds their low bits.
    b = lines.reshape(len(lines), -1, 3).astype(np.uint16)
    out[:, 0::2] = b[..., 0] << 2 | b[..., 1] & 0x03
    out[:, 1::2] = b[..., 2] << 2 | b[..., 1] >> 4 & 0x03


def _12_packed(lines: U8, out: NDArray[Any]) -> None:
    b = lines.reshape(len(lines), -1, 3).astype(np.uint16)
    out[:, 0::2] = b[..., 0] << 4 | b[..., 1] & 0x0F
    out[:, 1::2] = b[..., 2] << 4 | b[..., 1] >> 4


def _bayer(letters: str, unpack: _Read) -> _Read:
    """A mosaic's samples, interpolated bilinearly to red, green, blue."""
    conversion = _MOSAICS[letters]

    def read(lines: U8, out: NDArray[Any]) -> None:
        mosaic = np.empty(out.shape[:2], out.dtype)
        unpack(lines, mosaic)
        # The library writes into `out` itself only if type and layout agree.
        colour = cv2.cvtColor(mosaic, conversion, dst=out)
        if not np.shares_memory(colour, out):
            np.copyto(out, colour)

    return read


# OpenCV's long names give the mosaic's first two lines, as PFNC's give its first pixels.
_MOSAICS = {
    "GR": cv2.COLOR_BayerGRBG2RGB,
    "RG": cv2.COLOR_BayerRGGB2RGB,
    "GB": cv2.COLOR_BayerGBRG2RGB,
    "BG": cv2.COLOR_BayerBGGR2RGB,
}

# Codes: GenICam Pixel Format Naming Convention; the ...Packed are GigE Vision's.
_GREY = (
    PixelFormat("Mono8", 0x01080001, 8, 1, 1, 1, _bytes),
    PixelFormat("Mono10", 0x01100003, 10, 1, 2, 1, _words),
    PixelFormat("Mono12", 0x01100005, 12, 1, 2, 1, _words),
    PixelFormat("Mono14", 0x01100025, 14, 1, 2, 1, _words),
    PixelFormat("Mono16", 0x01100007, 16, 1, 2, 1, _words),
    PixelFormat("Mono10p", 0x010A0046, 10, 4, 5, 1, _10p),
    PixelFormat("Mono12p", 0x010C0047, 12, 2, 3, 1, _12p),
    PixelFormat("Mono10Packed", 0x010C0004, 10, 2, 3, 1, _10_packed),
    PixelFormat("Mono12Packed", 0x010C0006, 12, 2, 3, 1, _12_packed),
)


def _mosaics(bits: str, **codes: int) -> Iterator[PixelFormat]:
    """The four mosaics whose samples are laid out as the grey format's of that name."""
    grey = next(known for known in _GREY if known.name == f"Mono{bits}")
    for letters, code in codes.items():
        read = _bayer(letters, grey._read)
        yield replace(grey, name=f"Bayer{letters}{bits}", code=code, channels=3, _read=read)


# Those that are understood, by their names in GenICam's convention.
PIXEL_FORMATS = (
    *_GREY,
    *_mosaics("8", GR=0x01080008, RG=0x01080009, GB=0x0108000A, BG=0x0108000B),
    *_mosaics("10", GR=0x0110000C, RG=0x0110000D, GB=0x0110000E, BG=0x0110000F),
    *_mosaics("12", GR=0x01100010, RG=0x01100011, GB=0x01100012, BG=0x01100013),
    *_mosaics("16", GR=0x0110002E, RG=0x0110002F, GB=0x01100030, BG=0x01100031),
    *_mosaics("10p", GR=0x010A0056, RG=0x010A0058, GB=0x010A0054, BG=0x010A0052),
    *_mosaics("12p", GR=0x010C0057, RG=0x010C0059, GB=0x010C0055, BG=0x010C0053),
    *_mosaics("10Packed", GR=0x010C0026, RG=0x010C0027, GB=0x010C0028, BG=0x010C0029),
    *_mosaics("12Packed", GR=0x010C002A, RG=0x010C002B, GB=0x010C002C, BG=0x010C002D),
    PixelFormat("RGB8", 0x02180014, 8, 1, 3, 3, _bytes),
    PixelFormat("BGR8", 0x02180015, 8, 1, 3, 3, _bgr),
)
# GigE Vision 1.x had names of its own for what PFNC calls otherwise; the codes are the same.
_OLD_NAMES = {"RGB8Packed": "RGB8", "BGR8Packed": "BGR8"}
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
    known = _BY_NAME.get(_OLD_NAMES.get(name, name))
    if known is None:
        raise PixelFormatError(f"pixel format {name} is not read; {_offer()}")
    return known


def names_of(name: str) -> tuple[str, ...]:
    """A format's name and what older or newer cameras call it, the given one first."""
    return (name, *(old for old, new in _OLD_NAMES.items() if new == name), *_newer(name))


def _newer(name: str) -> tuple[str, ...]:
    return (_OLD_NAMES[name],) if name in _OLD_NAMES else ()


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
