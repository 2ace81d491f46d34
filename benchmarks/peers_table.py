"""The comparison as a table, and as a picture of accuracy by milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

__all__ = ["drawn", "table"]

WIDTH, HEIGHT = 1040, 640
LEFT, RIGHT, TOP, BOTTOM = 70, 30, 50, 60
OURS, THEIRS, INK = (180, 80, 30), (40, 120, 220), (60, 60, 60)
HEAD = (
    "| | judges | ms | ms / MP | times the reference a MP | start s | peak MiB | AUROC |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |"
)


def table(rows: Sequence[dict[str, Any]], *, head: bool = True) -> str:
    """Markdown: medians, quartiles in brackets."""
    return "\n".join([HEAD] * head + [_line(row) for row in rows])


def _line(row: dict[str, Any]) -> str:
    name = f"| {row['name']} | {row['frame']} |"
    if "ms" not in row:
        return f"{name} - | - | - | - | - | {row['empty']} |"
    low, middle, high = row["ms"]
    less, times, more = row["times_reference"]
    auroc = row["empty"] or "-" if row["auroc"] is None else f"{row['auroc']:.3f}"
    return (
        f"{name} {middle:.1f} ({low:.1f}-{high:.1f}) | {row['ms_per_megapixel']:.0f} | "
        f"{times:.2f} ({less:.2f}-{more:.2f}) | {row['start_s']:.1f} | {row['peak_mib']} | "
        f"{auroc} |"
    )


def drawn(rows: Sequence[dict[str, Any]], file: Path) -> None:
    """AUROC of tiles within strips upwards, milliseconds a megapixel to the right, by decades."""
    shown = [row for row in rows if row.get("auroc") is not None]
    canvas = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    ms = np.array([row["ms_per_megapixel"] for row in shown])
    aurocs = np.array([row["auroc"] for row in shown])
    first, last = np.log10(ms.min()) - 0.1, np.log10(ms.max()) + 0.45
    low, high = np.floor(aurocs.min() * 20) / 20, np.ceil(aurocs.max() * 20) / 20

    def place(x: float, y: float) -> tuple[int, int]:
        across = (np.log10(x) - first) / (last - first)
        up = (y - low) / max(high - low, 0.05)
        return (
            round(LEFT + across * (WIDTH - LEFT - RIGHT)),
            round(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)),
        )

    def text(words: str, at: tuple[int, int], colour: tuple[int, int, int] = INK) -> None:
        cv2.putText(canvas, words, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)

    text("AUROC of 256-px tiles within strips by ms a megapixel, AITEX fabric 03", (LEFT, 24))
    for y in np.arange(low, high + 1e-9, 0.05):
        cv2.line(canvas, place(10**first, y), place(10**last, y), (228, 228, 228), 1)
        text(f"{y:.2f}", (20, place(10**first, y)[1] + 4))
    for x in _ticks(first, last):
        cv2.line(canvas, place(x, low), place(x, high), (228, 228, 228), 1)
        text(f"{x:g}", (place(x, low)[0] - 10, HEIGHT - BOTTOM + 22))
    taken: list[tuple[int, int]] = []
    for row in sorted(shown, key=lambda row: (row["ms_per_megapixel"], row["auroc"])):
        colour = OURS if row["name"].startswith("kenpin") else THEIRS
        at = place(row["ms_per_megapixel"], row["auroc"])
        cv2.circle(canvas, at, 5, colour, -1, cv2.LINE_AA)
        # Names of neighbours give way upwards, whoever comes later.
        y = at[1] + 4
        while any(abs(x - at[0]) < 260 and abs(other - y) < 14 for x, other in taken):
            y -= 14
        taken.append((at[0], y))
        if y != at[1] + 4:
            cv2.line(canvas, at, (at[0] + 8, y - 4), (200, 200, 200), 1, cv2.LINE_AA)
        text(row["name"], (at[0] + 10, y), colour)
    cv2.imwrite(str(file), canvas)


def _ticks(first: float, last: float) -> list[float]:
    found = [m * 10.0**k for k in range(int(np.floor(first)), int(last) + 1) for m in (1, 2, 5)]
    return [x for x in found if first <= np.log10(x) <= last]
