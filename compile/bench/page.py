"""The table of a bench as a page: seeds beside each other, and each cell below."""

from __future__ import annotations

import html
import statistics
from collections.abc import Callable, Iterable, Sequence

from kenpin.compile.bench.results import Result

__all__ = ["as_page"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #1c2326; background: #fff }
table { border-collapse: collapse; margin: 1rem 0 2rem }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #d5dadd }
th:nth-child(-n+3), td:nth-child(-n+3) { text-align: left }
.best { font-weight: 700 } .why { text-align: left; color: #8a2b1d }
@media (prefers-color-scheme: dark) { body { color: #e4e8ea; background: #15191b } }
"""
Figure = Callable[[Result], float | None]


def _share(part: int | None, whole: int | None) -> float | None:
    return None if part is None or not whole else 100 * part / whole


# Heading, what it is of a cell, its digits, and whether more is better; None: neither.
_FIGURES: Sequence[tuple[str, Figure, int, bool | None]] = (
    ("AUROC", lambda r: r.auroc, 4, True),
    ("F1", lambda r: r.f1, 3, True),
    ("pixel AUROC", lambda r: r.pixel_auroc, 4, True),
    ("AUPRO", lambda r: r.aupro, 4, True),
    ("false rejects, %", lambda r: _share(r.false_rejects, r.good), 1, False),
    ("escapes, %", lambda r: _share(r.escapes, r.ng), 1, False),
    ("refused", lambda r: r.refused, 0, False),
    ("ms a frame", lambda r: r.frame_ms, 2, False),
    ("MB", lambda r: r.bundle_mb, 1, False),
    ("s", lambda r: r.seconds, 0, None),
)


def as_page(title: str, results: Sequence[Result]) -> str:
    """One file, which fetches nothing: the mean over seeds with its spread, then every cell."""
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.set, result.method, result.backbone), []).append(result)
    heads = "".join(f"<th>{html.escape(head)}</th>" for head, *_ in _FIGURES)
    rows = [_row(names, [r for r in own if not r.why], results) for names, own in groups.items()]
    cells = [
        f"<tr>{_cells((r.set, r.method, r.backbone))}<td>{r.seed}</td>{_figures([r])}"
        f'<td class="why">{html.escape(r.why)}</td></tr>'
        for r in results
    ]
    first = "<th>data set</th><th>method</th><th>backbone</th>"
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>\n"
        f"<h1>{html.escape(title)}</h1>\n"
        "<p>Means over seeds, and how far the lowest and the highest lie apart. The best of each "
        "data set is bold. Figures are of test images, at the threshold that good images alone set."
        f"</p>\n<table><tr>{first}<th>seeds</th>{heads}</tr>\n{_lines(rows)}</table>\n"
        f"<h2>Each cell</h2>\n<table><tr>{first}<th>seed</th>{heads}<th></th></tr>\n"
        f"{_lines(cells)}</table>\n</html>\n"
    )


def _lines(rows: Iterable[str]) -> str:
    return "".join(f"{row}\n" for row in rows)


def _cells(texts: Iterable[str]) -> str:
    return "".join(f"<td>{html.escape(text)}</td>" for text in texts)


def _row(names: tuple[str, str, str], own: list[Result], results: Sequence[Result]) -> str:
    rivals = [r for r in results if r.set == names[0]]
    return f"<tr>{_cells(names)}<td>{len(own)}</td>{_figures(own, rivals)}</tr>"


def _figures(own: list[Result], rivals: Sequence[Result] = ()) -> str:
    cells = []
    for _, figure, digits, more in _FIGURES:
        values = [value for result in own if (value := figure(result)) is not None]
        if not values:
            cells.append("<td>-</td>")
            continue
        mean = statistics.fmean(values)
        text = f"{mean:.{digits}f}"
        if len(values) > 1:
            text += f" ± {(max(values) - min(values)) / 2:.{digits}f}"
        best = more is not None and rivals and _is_best(mean, _means(rivals, figure), more)
        cells.append(f'<td class="best">{text}</td>' if best else f"<td>{text}</td>")
    return "".join(cells)


def _means(rivals: Sequence[Result], figure: Figure) -> list[float]:
    """Of each method and backbone on one data set."""
    groups: dict[tuple[str, str], list[float]] = {}
    for result in rivals:
        value = figure(result)
        if value is not None:
            groups.setdefault((result.method, result.backbone), []).append(value)
    return [statistics.fmean(values) for values in groups.values()]


def _is_best(mean: float, means: list[float], more: bool) -> bool:
    return mean == (max(means) if more else min(means))
