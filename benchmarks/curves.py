"""Curves over one another as an SVG, each with its name at its end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

__all__ = ["Curves", "svg"]

Curves = Mapping[str, Sequence[tuple[float, float]]]

_WIDTH, _HEIGHT = 920, 560
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, _WIDTH - 180, 40, _HEIGHT - 44
_COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#7b4b94", "#b8860b", "#4f5d75", "#008080", "#a23b72")
_LINE_PX = 14
# A curve of more points than the picture has columns says no more.
_POINTS = 700


def svg(curves: Curves, across: str, up: str, low: float = 0.0) -> str:
    """A picture of curves from `low` upwards; a name stands beside its curve's last point."""
    x_end = max(x for points in curves.values() for x, _ in points)
    y_end = low + 1.05 * (max(y for points in curves.values() for _, y in points) - low)

    def place(x: float, y: float) -> tuple[float, float]:
        height = (y - low) / (y_end - low)
        return _LEFT + (_RIGHT - _LEFT) * x / x_end, _BOTTOM - (_BOTTOM - _TOP) * height

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#333">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="22" font-size="14">{escape(up)}</text>',
        f'<text x="{_RIGHT}" y="{_HEIGHT - 8}" text-anchor="end">{escape(across)}</text>',
    ]
    for y in _ticks(low, y_end):
        at = place(0, y)[1]
        parts.append(f'<path d="M{_LEFT} {at:.1f}H{_RIGHT}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{y:g}</text>')
    for x in _ticks(0, x_end):
        at = place(x, 0)[0]
        parts.append(f'<text x="{at:.1f}" y="{_BOTTOM + 18}" text-anchor="middle">{x:g}</text>')
    ends = _apart({name: place(*points[-1])[1] for name, points in curves.items()})
    for number, (name, points) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        thinned = [*points[:: -(-len(points) // _POINTS)], points[-1]]
        way = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in thinned))
        parts.append(f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        parts.append(
            f'<text x="{_RIGHT + 8}" y="{ends[name] + 4:.1f}" fill="{colour}">{escape(name)}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def _ticks(begin: float, end: float) -> list[float]:
    """Round numbers, at most seven, from the beginning to the end."""
    step = next(
        base * 10**power
        for power in range(-6, 12)
        for base in (1, 2, 5)
        if (end - begin) / (base * 10**power) <= 6
    )
    return [step * number for number in range(math.ceil(begin / step), int(end / step) + 1)]


def _apart(wanted: Mapping[str, float]) -> dict[str, float]:
    """Heights of the names, near those wanted, none over another, none below the picture."""
    places: dict[str, float] = {}
    at = -float(_LINE_PX)
    for name in sorted(wanted, key=wanted.__getitem__):
        at = max(wanted[name], at + _LINE_PX)
        places[name] = at
    under = at - (_HEIGHT - 10)
    limit = at - max(0.0, under)
    for name in reversed(list(places)):
        places[name] = min(places[name], limit)
        limit = places[name] - _LINE_PX
    return places
