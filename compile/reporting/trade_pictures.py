"""The trade of a threshold as pictures: what is found for how many false rejects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kenpin.compile.evaluation.trade import Row, ShareFound, each, found
from kenpin.runtime.bundles.manifest import TwinScores
from kenpin.runtime.judging.subtle_twins import KINDS

__all__ = ["draw_limits", "draw_trade"]

U8 = NDArray[np.uint8]
Colour = tuple[int, int, int]

INK, PALE, PAPER = (40, 40, 40), (215, 215, 215), (255, 255, 255)
# Told apart by people who see colours differently, too (Okabe and Ito, 2008).
COLOURS: tuple[Colour, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (0, 0, 0),
)
NONE_FOUND, ALL_FOUND = np.array((213, 94, 0)), np.array((0, 158, 115))
FONT = cv2.FONT_HERSHEY_SIMPLEX
SIZE = 0.5


def draw_trade(rows: Sequence[Row], chosen: float | None, title: str) -> U8:
    """(H, W, 3) uint8: the share found against the share of good images rejected.

    A line for each kind of twin and for NG images, with bands of 95 % confidence; a
    vertical line where the threshold is now.

    Parameters
    ----------
    chosen
        The share of good images that is rejected now; None: the threshold has another aim.
    """
    left, top, width, height = 70, 60, 620, 400
    picture = np.full((top + height + 70, left + width + 190, 3), PAPER, np.uint8)
    rates = [row.point.false_rejects for row in rows]
    span = math.log(rates[-1] / rates[0])

    def at(rate: float, share: float) -> tuple[int, int]:
        x = left + round(width * math.log(rate / rates[0]) / span)
        return x, top + round(height * (1 - share))

    _text(picture, title, (left, 28), scale=0.6)
    for share in (0, 0.25, 0.5, 0.75, 1):
        _line(picture, at(rates[0], share), at(rates[-1], share), PALE)
        _text(picture, f"{100 * share:.0f} %", (left - 50, at(rates[0], share)[1] + 5))
    for row in rows:
        x, y = at(row.point.false_rejects, 0)
        _line(picture, (x, y), (x, top), PALE)
        mark = "*" if row.point.rule == "gumbel" else ""
        _text(picture, f"{100 * row.point.false_rejects:g} %{mark}", (x - 20, y + 22))
    _text(picture, "good ones rejected (* extrapolated)", (left, top + height + 48))
    _text(picture, "found", (left - 60, top - 12))
    series: dict[str, list[ShareFound]] = {}
    for row in rows:
        for kind, twins in row.twins.items():
            series.setdefault(kind, []).append(twins)
        if row.ng is not None:
            series.setdefault("NG images", []).append(row.ng)
    for number, (name, shares) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        low = [at(rate, share.low) for rate, share in zip(rates, shares, strict=True)]
        high = [at(rate, share.high) for rate, share in zip(rates, shares, strict=True)]
        band = picture.copy()
        cv2.fillPoly(band, [np.array(low + high[::-1], np.int32)], colour)
        picture[...] = cv2.addWeighted(band, 0.15, picture, 0.85, 0)
        line = [at(rate, share.share) for rate, share in zip(rates, shares, strict=True)]
        for a, b in pairwise(line):
            _line(picture, a, b, colour, thick=2)
        y = top + 20 + 26 * number
        _line(picture, (left + width + 20, y - 5), (left + width + 50, y - 5), colour, thick=2)
        _text(picture, name, (left + width + 58, y))
    if chosen is not None and rates[0] <= chosen <= rates[-1]:
        x, _ = at(chosen, 0)
        _line(picture, (x, top), (x, top + height), INK, thick=2)
        _text(picture, "now", (x + 6, top + 16))
    return picture


def draw_limits(twins: Sequence[TwinScores], threshold: float, title: str) -> U8:
    """(H, W, 3) uint8: for each kind of defect, which contrast of which size is found.

    A square for each, green where all of its twins are found, orange where none is, with
    the share in it.
    """
    side, gap, left, top = 56, 90, 70, 80
    kinds = [kind for kind in KINDS if any(twin.kind == kind for twin in twins)]
    contrasts = sorted({twin.contrast for twin in twins})
    shares = found(twins, threshold, each)
    sizes = {kind: sorted({t.size_px for t in twins if t.kind == kind}) for kind in kinds}
    width = left + sum(side * len(sizes[kind]) + gap for kind in kinds)
    picture = np.full((top + side * len(contrasts) + 70, width, 3), PAPER, np.uint8)
    _text(picture, title, (20, 28), scale=0.6)
    x = left
    for kind in kinds:
        _text(picture, kind, (x, top - 14), scale=0.55)
        for row, contrast in enumerate(reversed(contrasts)):
            y = top + row * side
            _text(picture, str(contrast), (x - 34, y + side // 2 + 5))
            for column, size in enumerate(sizes[kind]):
                share = shares.get((kind, size, contrast))
                corner = (x + column * side, y)
                if share is not None:
                    _square(picture, corner, side, share.share)
        bottom = top + side * len(contrasts)
        for column, size in enumerate(sizes[kind]):
            _text(picture, str(size), (x + column * side + 18, bottom + 20))
        x += side * len(sizes[kind]) + gap
    note = "up: contrast in grey levels; across: size in px (diameter, or width); % found"
    _text(picture, note, (20, top + side * len(contrasts) + 50))
    return picture


def _square(picture: U8, corner: tuple[int, int], side: int, share: float) -> None:
    colour = np.rint(NONE_FOUND + share * (ALL_FOUND - NONE_FOUND)).astype(int)
    x, y = corner
    picture[y + 1 : y + side - 1, x + 1 : x + side - 1] = colour
    text = f"{100 * share:.0f}"
    _text(picture, text, (x + side // 2 - 5 * len(text), y + side // 2 + 5), colour=PAPER)


def _line(
    picture: U8, a: tuple[int, int], b: tuple[int, int], colour: Colour, thick: int = 1
) -> None:
    cv2.line(picture, a, b, colour, thick, cv2.LINE_AA)


def _text(
    picture: U8, text: str, at: tuple[int, int], scale: float = SIZE, colour: Any = INK
) -> None:
    # OpenCV's letters are ASCII only.
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(picture, plain, at, FONT, scale, colour, 1, cv2.LINE_AA)
