"""Defects as annotation tools write them down, drawn into masks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Drawing",
    "Ellipse",
    "Polygon",
    "Polyline",
    "Runs",
    "Shape",
    "box",
    "decoded_counts",
    "points_of",
]

U8 = NDArray[np.uint8]
Point: TypeAlias = tuple[float, float]

_MARKED = 255


@dataclass(frozen=True, slots=True)
class Polygon:
    """All within the corners (x, y); a pixel counts where its middle lies inside."""

    corners: tuple[Point, ...]

    def draw(self, mask: U8) -> None:
        """Mark it."""
        xs, ys = (np.array(part) for part in zip(*self.corners, strict=True))
        marked = False
        for row in range(max(0, math.floor(ys.min())), min(len(mask), math.ceil(ys.max()))):
            edges = _crossings(xs, ys, row + 0.5)
            for left, right in zip(edges[::2], edges[1::2], strict=True):
                first, end = max(0, math.ceil(left - 0.5)), max(0, math.ceil(right - 0.5))
                mask[row, first:end] = _MARKED
                marked |= end > first
        if not marked:
            # A hair may lie between the middles of all pixels, and is a defect all the same.
            Polyline((*self.corners, self.corners[0])).draw(mask)


@dataclass(frozen=True, slots=True)
class Polyline:
    """What lies along points (x, y), one pixel wide; a single point is one pixel."""

    points: tuple[Point, ...]

    def draw(self, mask: U8) -> None:
        """Mark it."""
        # A point on the far border belongs to the last pixel.
        limits = mask.shape[1] - 1, mask.shape[0] - 1
        corners = np.minimum(np.floor(np.array(self.points)), limits).astype(np.int32)
        # Back to where it began, so that a single point is a line, too.
        for start, end in pairwise([corners[0], *corners]):
            cv2.line(mask, start.tolist(), end.tolist(), _MARKED)


@dataclass(frozen=True, slots=True)
class Ellipse:
    """All within two radii of a middle (x, y), the first of which is turned by so many degrees.

    turn_deg  clockwise as the image is seen
    """

    middle: Point
    radii: Point
    turn_deg: float = 0.0

    def draw(self, mask: U8) -> None:
        """Mark it."""
        y, x = np.mgrid[: mask.shape[0], : mask.shape[1]] + 0.5
        dx, dy = x - self.middle[0], y - self.middle[1]
        turn = math.radians(self.turn_deg)
        along = (dx * math.cos(turn) + dy * math.sin(turn)) / self.radii[0]
        across = (dy * math.cos(turn) - dx * math.sin(turn)) / self.radii[1]
        mask[along**2 + across**2 <= 1] = _MARKED


@dataclass(frozen=True, slots=True)
class Runs:
    """Pixels of a window, unmarked and marked in turn, as so many of each.

    counts      beginning with unmarked ones
    size        (height, width) of the window
    corner      its (x, y) in the image
    by_columns  counted down the columns, as COCO does; else along the rows
    """

    counts: tuple[int, ...]
    size: tuple[int, int]
    corner: tuple[int, int] = (0, 0)
    by_columns: bool = True

    def __post_init__(self) -> None:
        pixels = self.size[0] * self.size[1]
        if sum(self.counts) != pixels or min(self.counts, default=0) < 0:
            raise ValueError(
                f"runs of {sum(self.counts)} pixels for a window of {self.size[0]} x "
                f"{self.size[1]}, which has {pixels}"
            )

    def draw(self, mask: U8) -> None:
        """Mark it."""
        flat = np.zeros(self.size[0] * self.size[1], np.bool_)
        for number, (first, end) in enumerate(pairwise((0, *accumulate(self.counts)))):
            if number % 2:
                flat[first:end] = True
        window = flat.reshape(self.size, order="F" if self.by_columns else "C")
        left, top = self.corner
        part = mask[top : top + self.size[0], left : left + self.size[1]]
        part[window[: part.shape[0], : part.shape[1]]] = _MARKED


# What marks a defect in a file of annotations.
Shape: TypeAlias = Polygon | Polyline | Ellipse | Runs


@dataclass(frozen=True, slots=True)
class Drawing:
    """A mask that is yet to be drawn.

    size  (height, width) of the image that the shapes were drawn in; None if nobody said
    """

    shapes: tuple[Shape, ...]
    size: tuple[int, int] | None = None

    def mask(self, height: int, width: int) -> U8:
        """(height, width) uint8, 255 where a shape is."""
        drawn = np.zeros((height, width), np.uint8)
        for shape in self.shapes:
            shape.draw(drawn)
        return drawn


def box(left: float, top: float, right: float, bottom: float, turn_deg: float = 0.0) -> Polygon:
    """A rectangle by its sides, turned about its middle: clockwise as the image is seen."""
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    if not turn_deg:
        return Polygon(corners)
    x, y = (left + right) / 2, (top + bottom) / 2
    cos, sin = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
    return Polygon(
        tuple(
            (x + (a - x) * cos - (b - y) * sin, y + (a - x) * sin + (b - y) * cos)
            for a, b in corners
        )
    )


def decoded_counts(text: str) -> tuple[int, ...]:
    """COCO's runs of a string: six bits a character, from the third on as differences.

    Raises
    ------
    ValueError
        If it ends within a number or has other characters.

    References
    ----------
    rleFrString in maskApi.c of the COCO API (Dollár, 2014).
    """
    counts: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"{character!r} is no character of COCO's runs")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value, shift = 0, 0
    if shift:
        raise ValueError("COCO's runs end within a number")
    return tuple(counts)


def points_of(numbers: Iterable[float]) -> tuple[Point, ...]:
    """x, y, x, y, … as points."""
    flat = [float(number) for number in numbers]
    return tuple(zip(flat[::2], flat[1::2], strict=True))


def _crossings(xs: NDArray[np.float64], ys: NDArray[np.float64], y: float) -> list[float]:
    """Where the edges of a polygon cross a line, from the left."""
    x1, y1 = np.roll(xs, -1), np.roll(ys, -1)
    across = (ys <= y) != (y1 <= y)
    x0, y0, x1, y1 = xs[across], ys[across], x1[across], y1[across]
    return sorted((x0 + (y - y0) * (x1 - x0) / (y1 - y0)).tolist())
