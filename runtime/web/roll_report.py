"""The page of a roll: one file, no network, for people."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

__all__ = ["write_page"]

TEMPLATE = Path(__file__).with_name("roll_map.html")


def write_page(file: Path, summary: dict[str, Any]) -> None:
    """Write a roll's summary as one self-contained page with a map to zoom into.

    The page holds its data, its style and its script, and forbids itself to
    fetch anything: it looks the same in ten years and on a machine without a
    network.
    """
    # No text of the data can end the script that holds it.
    data = json.dumps(_brief(summary), allow_nan=False, separators=(",", ":"))
    data = data.replace("<", "\\u003c")
    page = TEMPLATE.read_text(encoding="utf-8")
    page = page.replace("{{title}}", html.escape(summary["name"]))
    file.write_text(page.replace("{{data}}", data), encoding="utf-8")


def _brief(summary: dict[str, Any]) -> dict[str, Any]:
    """With defects as short rows: twenty thousand of them must still open at once.

    The last two of a row are where it begins along the web and its length: in mm as the
    encoder counted, or in lines. The page draws by those, never by an even spread of lines.
    """
    rows = [
        [
            d["number"], d["first_line"], d["end_line"], d["left_px"], d["right_px"],
            round(d["peak"], 4), round(d["mean"], 4), d["lane"], d["area_px"], int(d["cut"]),
            d["first_line"] if d["web_mm"] is None else round(d["web_mm"], 2),
            d["end_line"] - d["first_line"] if d["web_mm"] is None else round(d["length_mm"], 2),
        ]
        for d in summary["defects"]
    ]  # fmt: skip
    return {**summary, "defects": rows}
