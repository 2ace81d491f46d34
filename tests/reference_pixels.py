"""Pixel formats bit by bit, from their definitions; slow on purpose."""

from __future__ import annotations

import numpy as np


def bit(raw: bytes, position: int) -> int:
    return raw[position // 8] >> (position % 8) & 1


def number(raw: bytes, positions: list[int]) -> int:
    """The bits at these positions, the lowest first."""
    return sum(bit(raw, position) << k for k, position in enumerate(positions))


def positions(name: str, pixel: int) -> list[int]:
    """Where in a line a pixel's bits lie, lowest first; PFNC and, for Packed, GigE Vision."""
    if name == "Mono8":
        return list(range(8 * pixel, 8 * pixel + 8))
    if name in ("Mono10", "Mono12", "Mono14", "Mono16"):
        bits = int(name[4:])
        return list(range(16 * pixel, 16 * pixel + bits))
    if name in ("Mono10p", "Mono12p"):
        bits = int(name[4:6])
        return list(range(bits * pixel, bits * pixel + bits))
    # A pair of pixels in 24 bits: high byte, both low parts, high byte.
    low = int(name[4:6]) - 8
    start = 24 * (pixel // 2)
    first = pixel % 2 == 0
    lows = start + 8 + (0 if first else 4)
    highs = start + (0 if first else 16)
    return list(range(lows, lows + low)) + list(range(highs, highs + 8))


def unpack(name: str, raw: bytes, width: int, height: int, stride: int) -> np.ndarray:
    """Grey formats, pixel by pixel."""
    image = np.zeros((height, width), np.uint16)
    for y in range(height):
        line = raw[y * stride : (y + 1) * stride]
        for x in range(width):
            image[y, x] = number(line, positions(name, x))
    return image


def pack(name: str, image: np.ndarray) -> bytes:
    """The bytes that a camera sends for a grey image whose lines are whole groups."""
    lines = []
    for row in image:
        sent = 0
        last = 0
        for x, sample in enumerate(row):
            for k, position in enumerate(positions(name, x)):
                sent |= (int(sample) >> k & 1) << position
                last = max(last, position)
        lines.append(sent.to_bytes(last // 8 + 1, "little"))
    return b"".join(lines)
