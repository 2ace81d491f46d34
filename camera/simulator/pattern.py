"""What the built-in pattern of the simulated camera looks like, for those who check its frames."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["STAMP_EVERY", "STAMP_PIXELS", "pattern_lines", "row_numbers"]

STAMP_EVERY = 64  # columns of the sensor from one copy of a row's number to the next
STAMP_PIXELS = 8  # bytes of the number, least significant first, one a pixel


def pattern_lines(
    first_row: int, rows: int, width: int, *, offset_x: int = 0, bits: int = 8, channel: int = 0
) -> NDArray[np.uint16]:
    """Rows of the endless pattern as the camera sees them, before packing.

    Returns
    -------
    (rows, width) uint16, values of `bits` bits (8, 10 or 12).
    """
    shift = bits - 8
    row = np.arange(first_row, first_row + rows, dtype=np.int64)[:, None]
    column = np.arange(offset_x, offset_x + width, dtype=np.int64)[None, :]
    lines = (64 + ((column * 3 + row % 128 * 5 + channel * 40) & 127)) << shift
    lines |= (column ^ row % 128) & ((1 << shift) - 1)
    number = np.arange(first_row, first_row + rows).astype("<i8").view(np.uint8).reshape(rows, 8)
    start = -(-offset_x // STAMP_EVERY) * STAMP_EVERY - offset_x
    for x in range(start, width - STAMP_PIXELS + 1, STAMP_EVERY):
        lines[:, x : x + STAMP_PIXELS] = number.astype(np.int64) << shift
    return lines.astype(np.uint16)


def row_numbers(
    lines: NDArray[np.uint8] | NDArray[np.uint16], *, bits: int = 8
) -> NDArray[np.int64]:
    """The number that each line (H, W) of the pattern carries, read at column 0.

    OffsetX must be a multiple of 64 for a number to begin there.
    """
    stamp = (lines[:, :STAMP_PIXELS].astype(np.uint16) >> (bits - 8)).astype(np.uint8)
    return np.ascontiguousarray(stamp).view("<i8").ravel().astype(np.int64)
