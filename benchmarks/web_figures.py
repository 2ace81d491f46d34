"""What a bundle for webs finds, and what it finds wrongly: tables for docs/web.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kenpin.camera.frame import Frame
from kenpin.runtime.bundles.bundle import read_bundle
from kenpin.runtime.web.pipeline import WebPipeline

__all__ = ["by_size", "false_regions", "flagged_ends"]

# Lines at each end of a web that are looked at.
END_LINES = 64


def by_size(store: Path) -> None:
    """How many of the defects drawn by the build lie over threshold, as Markdown."""
    trade = json.loads(Path(f"{(store / 'current').resolve()}.trade.json").read_text())
    found = {(t["kind"], t["size_px"], t["contrast"]): t for t in trade["twins"]}
    contrasts = sorted({contrast for _, _, contrast in found})
    print("| drawn | size | " + " | ".join(map(str, contrasts)) + " |")
    print("| --- " * (2 + len(contrasts)) + "|")
    for kind in dict.fromkeys(kind for kind, _, _ in found):
        for size in sorted({size for k, size, _ in found if k == kind}):
            cells = [found[kind, size, c] for c in contrasts]
            counts = " | ".join(f"{cell['found']}/{cell['count']}" for cell in cells)
            print(f"| {kind} | {size} px | {counts} |")


def false_regions(store: Path, blocks: Sequence[Any], mm_per_line: float) -> None:
    """Regions on a good web that no statistics saw, cut into these blocks."""
    pipeline = WebPipeline(read_bundle(store))
    regions = lines = 0
    for i, block in enumerate(blocks):
        found = pipeline.judge(Frame(block, 0, i), last=i == len(blocks) - 1).verdict.web
        assert found is not None
        regions += found.n_defects
        lines += len(block)
    metres = lines * mm_per_line / 1000
    print(f"{lines} good lines, {metres:.1f} m: {regions} regions, {regions / metres:.2f} a metre")


def flagged_ends(store: Path, webs: Sequence[Any]) -> None:
    """Of good webs, how many have anything over threshold in their first and last lines."""
    pipeline = WebPipeline(read_bundle(store))
    first = last = between = 0
    for web in webs:
        pipeline.reset(0)
        found = pipeline.judge(Frame(web, 0, 0), last=True).verdict.web
        assert found is not None
        runs = [run for lane in found.lanes for run in lane.ng_runs]
        first += any(a < END_LINES for a, _ in runs)
        last += any(b > len(web) - END_LINES for _, b in runs)
        between += any(b > END_LINES and a < len(web) - END_LINES for a, b in runs)
    print(
        f"{len(webs)} good webs of {len(webs[0])} lines: over threshold in the first {END_LINES} "
        f"lines {first}, in the last {last}, in those between {between}"
    )
