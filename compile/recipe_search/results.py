"""What a search came to: a table, a picture, a page, and the recipe with its reasons."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from rich.table import Table

from kenpin.camera.files.images import write_png
from kenpin.compile.recipe_search.space import Option
from kenpin.compile.recipe_search.study import HEADROOM, Budget, Tried, front

__all__ = ["SearchResult", "front_table", "reasons", "write_page", "write_picture"]

WIDTH, HEIGHT, PAD = 900, 560, 70
# From line to line of the picture, in shares found, and how many steps of it a picture holds.
STEPS, MOST_LINES = (0.01, 0.02, 0.05, 0.1, 0.25), 5
# Of a step: a share that lies on a line needs none beyond it.
ROUNDING = 1e-6
INK, SOFT, GOOD, OWN = (32, 32, 32), (150, 150, 150), (60, 140, 40), (40, 60, 200)


@dataclass(frozen=True)
class SearchResult:
    """A search that has ended.

    split  what was judged by what, for people
    """

    tried: Sequence[Tried]
    best: Tried
    budget: Budget
    split: str


def front_table(result: SearchResult) -> Table:
    """The Pareto front, the fastest first; * is the chosen one."""
    table = Table("", "no.", "ms", "twins found", "NG found", "within", "changed from number 0")
    for one in front(result.tried):
        assert one.found is not None
        found = one.found
        table.add_row(
            "*" if one.number == result.best.number else "",
            str(one.number),
            f"{found.ms:.2f}",
            f"{found.share:.1%} ({found.low:.0%}-{found.high:.0%})",
            "-" if found.ng is None else f"{found.ng:.1%}",
            "yes" if found.ms <= result.budget.median_ms else "no",
            changed(one, result.tried[0]),
        )
    return table


def changed(one: Tried, first: Tried) -> str:
    """What a recipe has that the first one has not."""
    other = [
        k for k, v in one.settings.items() if k not in first.settings or first.settings[k] != v
    ]
    return ", ".join(f"{key} {_word(one.settings[key])}" for key in other) or "nothing"


def reasons(result: SearchResult) -> list[str]:
    """For each setting of the chosen recipe, what speaks for it."""
    whole = [one for one in result.tried if one.found]
    return [f"{key} {_word(value)}: {_reason(key, value, whole)}" for key, value in
            result.best.settings.items()]  # fmt: skip


def _reason(key: str, value: Option, whole: Sequence[Tried]) -> str:
    own = [one for one in whole if key in one.settings and one.settings[key] == value]
    others = [one for one in whole if key in one.settings and one.settings[key] != value]
    if not others:
        return f"nothing else was tried to the end ({len(own)} recipes)"
    return f"with it {_average(own)}; otherwise {_average(others)}"


def _average(some: Sequence[Tried]) -> str:
    share = np.mean([one.found.separation for one in some if one.found])
    ms = np.mean([one.found.ms for one in some if one.found])
    count = "1 recipe" if len(some) == 1 else f"{len(some)} recipes on average"
    return f"{count} found {share:.1%} in {ms:.2f} ms"


def _word(value: Option) -> str:
    return "as usual" if value is None else str(value)


def write_picture(result: SearchResult, file: Path) -> None:
    """Time along, what is found upwards; the front joined, the budget a line."""
    canvas = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    whole = [one for one in result.tried if one.found]
    most_ms = 1.1 * max([result.budget.median_ms, *(o.found.ms for o in whole if o.found)])
    shares = _axis([o.found.separation for o in whole if o.found])
    bottom, top = shares[0], shares[-1]

    def at(ms: float, share: float) -> tuple[int, int]:
        x = PAD + ms / most_ms * (WIDTH - 2 * PAD)
        up = (share - bottom) / (top - bottom)
        return round(x), round(HEIGHT - PAD - up * (HEIGHT - 2 * PAD))

    def write(text: str, place: tuple[int, int], colour: tuple[int, int, int] = INK) -> None:
        cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)

    for share in shares:
        cv2.line(canvas, at(0, share), at(most_ms, share), (225, 225, 225), 1)
        write(f"{share:.0%}", (12, at(0, share)[1] + 5))
    for k in range(5):
        x, y = at(most_ms * k / 4, bottom)
        write(f"{most_ms * k / 4:.3g}", (x - 12, y + 22))
    limit = result.budget.median_ms
    cv2.line(canvas, at(limit, bottom), at(limit, top), OWN, 1, cv2.LINE_AA)
    write(f"budget / {HEADROOM:g}", (at(limit, top)[0] - 50, at(limit, top)[1] - 8), OWN)
    write("ms a frame (median)", (WIDTH // 2 - 70, HEIGHT - 14))
    write("found", (12, 30))
    points = [at(o.found.ms, o.found.separation) for o in front(result.tried) if o.found]
    for a, b in pairwise(points):
        cv2.line(canvas, a, b, GOOD, 2, cv2.LINE_AA)
    for one in whole:
        assert one.found is not None
        place = at(one.found.ms, one.found.separation)
        cv2.circle(
            canvas, place, 6 if place in points else 4, GOOD if place in points else SOFT, -1
        )
        write(str(one.number), (place[0] + 8, place[1] - 6))
        if one.number == result.best.number:
            cv2.circle(canvas, place, 11, INK, 2, cv2.LINE_AA)
    write_png(file, canvas)


def _axis(shares: Sequence[float]) -> list[float]:
    """Round shares to draw lines at, from below the lowest to above the highest of some."""
    step = next(step for step in STEPS if max(shares) - min(shares) <= MOST_LINES * step)
    first = math.floor(min(shares) / step + ROUNDING)
    last = max(math.ceil(max(shares) / step - ROUNDING), first + 1)
    return [round(k * step, 3) for k in range(first, last + 1)]


def write_page(result: SearchResult, picture: Path, file: Path) -> None:
    """The same for a browser: one file without any network."""
    data = base64.b64encode(picture.read_bytes()).decode()
    rows = []
    for one in result.tried:
        found = one.found
        cells = (
            str(one.number),
            f"{found.ms:.2f}" if found else "",
            f"{found.share:.1%}" if found else "",
            "" if found is None or found.ng is None else f"{found.ng:.1%}",
            changed(one, result.tried[0]),
            one.why,
        )
        mark = ' class="best"' if one.number == result.best.number else ""
        rows.append(f"<tr{mark}>" + "".join(f"<td>{html.escape(c)}</td>" for c in cells) + "</tr>")
    why = "".join(f"<li>{html.escape(text)}</li>" for text in reasons(result))
    page = f"""<!doctype html><html lang="en"><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;
style-src 'unsafe-inline'"><meta name="viewport" content="width=device-width">
<title>The search for a recipe</title><style>body {{ font: 15px/1.5 system-ui, sans-serif;
max-width: 1000px; margin: 2em auto; padding: 0 1em;
overflow-wrap: break-word }} td, th {{ text-align: left;
padding: 2px 10px; border-bottom: 1px solid #ddd }} .best td {{ font-weight: 600 }}
img {{ max-width: 100% }} div {{ overflow-x: auto }}</style>
<h1>The search for a recipe</h1><p>{html.escape(result.budget.words)};
{html.escape(result.split)}</p>
<img alt="time and what is found, of every recipe" src="data:image/png;base64,{data}">
<h2>Number {result.best.number} is chosen</h2><ul>{why}</ul><h2>All that was tried</h2>
<div><table><tr><th>no.<th>ms<th>twins found<th>NG found<th>changed from number 0<th>given up</tr>
{"".join(rows)}</table></div></html>
"""
    file.write_text(page, encoding="utf-8")
