"""One self-contained page: its data, style, script and pictures in one file, for people."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kenpin.compile.reporting.pictures import Picture
from kenpin.runtime.bundles.durable import replace_file
from kenpin.runtime.service.sides import page as live_page

__all__ = ["Galleries", "write_report"]

HERE = Path(__file__).parent
# In the order that they are read: each uses what stands before it.
SCRIPTS = ("numbers.js", "charts.js", "threshold.js", "sections.js", "report.js")
# The live page counts in the same way.
CONFIDENCE = Path(live_page.__file__).parent / "client" / "confidence.js"

# Pictures by their gallery's title.
Galleries = Mapping[str, Sequence[Picture]]


def write_report(file: Path, tree: dict[str, Any], galleries: Galleries) -> None:
    """Write `file` (.html), and the numbers in it as JSON beside it.

    The page forbids itself to fetch anything and to run any script but its own, which it
    names by its hash: it looks the same in ten years and on a machine without a network.
    """
    records = {name: [one.record() for one in shown] for name, shown in galleries.items()}
    numbers = {**tree, "pictures": records}
    text = json.dumps(numbers, indent=1, allow_nan=False) + "\n"
    replace_file(file.with_suffix(".json"), text.encode())
    shown = {name: [one.tree() for one in own] for name, own in galleries.items()}
    replace_file(file, _page({**tree, "pictures": shown}).encode())


def _page(tree: dict[str, Any]) -> str:
    # No text of the data can end the script that holds it.
    data = json.dumps(tree, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    files = [CONFIDENCE, *(HERE / name for name in SCRIPTS)]
    script = "\n".join(file.read_text(encoding="utf-8") for file in files)
    parts = {
        "title": html.escape(f"{tree['name']}: {tree['kind']}"),
        "policy": f"default-src 'none'; img-src data:; style-src {_hash(_style())}; "
        f"script-src {_hash(script)}",
        "style": _style(),
        "script": script,
        "data": data,
    }
    page = (HERE / "report.html").read_text(encoding="utf-8")
    for name, text in parts.items():
        page = page.replace("{{" + name + "}}", text)
    return page


def _style() -> str:
    return (HERE / "report.css").read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
