"""The trade of a threshold for people: a table, a file for programs, two pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from kenpin.camera.files.images import write_png
from kenpin.compile.evaluation.trade import Row, detection_limits, each, found, operating_table
from kenpin.compile.reporting.trade_pictures import draw_limits, draw_trade
from kenpin.runtime.bundles.manifest import Manifest
from kenpin.runtime.judging.subtle_twins import KINDS, MANY

__all__ = ["limits_table", "trade_files", "trade_of", "trade_table", "write_trade"]


def trade_of(manifest: Manifest) -> list[Row]:
    """The trade that a bundle's own scores tell of."""
    ng = list(manifest.ng_scores.values())
    return operating_table(manifest.good_scores, manifest.twin_scores, ng)


def trade_table(rows: Sequence[Row]) -> Table:
    """Rates of false rejects, and what each finds."""
    table = Table(title="how many are found, for how many false rejects", title_justify="left")
    # A column for each rate: whatever is counted, five of them fit a terminal of 80 letters.
    table.add_column("rejected", justify="left")
    for row in rows:
        mark = "" if row.point.rule == "conformal" else "*"
        table.add_column(f"{100 * row.point.false_rejects:g} %{mark}", justify="right")
    table.add_row("at most", *(f"{100 * row.point.at_most:.2g} %" for row in rows))
    table.add_row("threshold", *(f"{row.point.threshold:.4g}" for row in rows))
    for kind in [kind for kind in KINDS if any(kind in row.twins for row in rows)]:
        table.add_row(MANY[kind], *(f"{100 * row.twins[kind].share:.0f} %" for row in rows))
    for name, counts in (("good", [row.good for row in rows]), ("NG", [row.ng for row in rows])):
        if any(one is not None for one in counts):
            table.add_row(name, *("" if one is None else str(one) for one in counts))
    table.caption = (
        "as promised, and at most with 95 % confidence; * extrapolated from too few. spots, ...: "
        "of drawn defects, barely visible to loud, so many are found. good, NG: of labelled images "
        "so many are rejected"
    )
    table.caption_justify = "left"
    return table


def limits_table(manifest: Manifest, threshold: float) -> Table:
    """The faintest defect of each kind and size that is found at a threshold."""
    table = Table(title="the faintest defects that are found", title_justify="left")
    for name in ("kind", "size", "contrast"):
        table.add_column(name, justify="left" if name == "kind" else "right")
    limits = detection_limits(manifest.twin_scores, threshold)
    for (kind, size), contrast in limits.items():
        table.add_row(
            kind, f"{size} px", "none is" if contrast is None else f"{contrast} grey levels"
        )
    return table


def trade_files(stem: Path) -> list[Path]:
    """The files that `write_trade` may write."""
    ends = ("trade.json", "trade.png", "limits.png")
    return [stem.with_name(f"{stem.name}.{end}") for end in ends]


def write_trade(manifest: Manifest, rows: Sequence[Row], stem: Path) -> list[Path]:
    """Write `stem` with .trade.json, .trade.png and .limits.png; gives the files.

    The second picture needs twins.
    """
    numbers, trade, limits = trade_files(stem)
    threshold = manifest.threshold
    promised = threshold.settings.false_rejects
    chosen = promised if threshold.settings.method == "false_rejects" else None
    numbers.write_text(json.dumps(_tree(manifest, rows), indent=1) + "\n", encoding="utf-8")
    write_png(trade, draw_trade(rows, chosen, f"{manifest.name}: what is found"))
    if not manifest.twin_scores:
        return [numbers, trade]
    title = f"{manifest.name}: defects found at its threshold"
    write_png(limits, draw_limits(manifest.twin_scores, threshold.ok, title))
    return [numbers, trade, limits]


def _tree(manifest: Manifest, rows: Sequence[Row]) -> dict[str, Any]:
    threshold = manifest.threshold.ok
    strengths = found(manifest.twin_scores, threshold, each)
    limits = detection_limits(manifest.twin_scores, threshold)
    return {
        "threshold": manifest.threshold.model_dump(mode="json"),
        "rows": [row.tree() for row in rows],
        "twins": [
            {"kind": kind, "size_px": size, "contrast": contrast, **share.tree()}
            for (kind, size, contrast), share in strengths.items()
        ],
        "limits": [
            {"kind": kind, "size_px": size, "contrast": contrast}
            for (kind, size), contrast in limits.items()
        ],
    }
