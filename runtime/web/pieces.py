"""What becomes known of a web: strips of its map, and lines that nobody inspected."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kenpin.runtime.judging.verdict import Gap

__all__ = ["MapStrip", "merged", "united"]

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class MapStrip:
    """Map rows that have become final, and the lines they stand for.

    first_line, end_line  of the web
    row         number of the first of them, counted from the web's start
    values      (rows, cols) float32, dimensionless; 0 where not inspected
    inspected   (rows, cols) bool
    bands       (bands, rows, cols) contrasts that the values were joined with, if any
    gaps        lines within, of all the width, that were not inspected
    """

    first_line: int
    end_line: int
    row: int
    values: F32
    inspected: NDArray[np.bool_]
    bands: F32
    gaps: tuple[Gap, ...] = ()


def merged(gaps: Iterable[Gap]) -> list[Gap]:
    """Gaps in the order of their lines, neighbours of one cause made one."""
    out: list[Gap] = []
    for gap in gaps:
        last = out[-1] if out else None
        if last and last.end_line == gap.first_line and last.cause is gap.cause:
            out[-1] = replace(last, end_line=gap.end_line, known=last.known and gap.known)
        else:
            out.append(gap)
    return out


def united(lines: list[tuple[int, int]], most: int = 0) -> list[tuple[int, int]]:
    """Stretches of lines in order, those that touch made one.

    With `most`, the last of so many takes in the rest and what lies between.
    """
    out: list[tuple[int, int]] = []
    for first, end in sorted(lines):
        if out and (first <= out[-1][1] or len(out) == most):
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((first, end))
    return out
