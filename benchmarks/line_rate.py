"""How many lines a second a box holds, by method, backbone and width, for parts and for webs.

    python benchmarks/line_rate.py                      all cases, verdicts within 100 ms
    python benchmarks/line_rate.py --only "gabor PaDiM" --seconds 60 --threads 2

Bundles are compiled from a synthetic web, and stretched to each width, which costs what a bundle
of that width costs (`edge-doctor rate BUNDLE` does the same with a user's own). A part is
448 lines high, a web's frame one tile row. The 99.9th percentile of fewer than 1,000 frames is
the slowest of them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bench_cases import SHARED, WEIGHTS, weights_file
from edge_run import machine

import kenpin
from kenpin.camera.synthetic import SyntheticWeb, write_dataset
from kenpin.config.recipe import Recipe
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.rate import WIDTHS, Pace, measure

LINES, WIDTH = 448, 1024
METHODS: dict[str, dict[str, Any]] = {
    "PatchCore 1,000": {"name": "patchcore", "coreset_rows": 1000, "candidates": 20_000},
    "PaDiM columns d = 50": {
        "name": "padim",
        "granularity": "columns",
        "share": "frame",
        "dimensions": 50,
    },
}
BACKBONES = ("gabor", "resnet18", "mobilenet_v2")
GEOMETRIES = ("parts", "web")
SIZES = (256, 512)


@dataclass(frozen=True)
class Case:
    """What a row of the table is about."""

    geometry: str
    backbone: str
    method: str
    size_px: int

    @property
    def name(self) -> str:
        """What it is called in the table."""
        return f"{self.geometry} {self.backbone} {self.method}, tiles of {self.size_px} px"

    def recipe(self, good: Path, folder: Path) -> Recipe:
        """Small in all that costs no time on the box."""
        web = self.geometry == "web"
        return Recipe.model_validate(
            {
                "name": "line-rate",
                "images": {"good": good},
                "frame": {"width_px": WIDTH}
                | ({"geometry": "continuous"} if web else {"height_px": LINES}),
                "tiles": {"size_px": self.size_px, "halo_px": 32},
                "backbone": {
                    "name": self.backbone,
                    "weights": weights_file(self.backbone, folder),
                },
                "quantize": {
                    "calibration_tiles": 16,
                    "guard_tiles": 16,
                    "min_score_ratio": 0.01,
                    "max_separation_loss": 1.0,
                },
                "report": {"twins_each": 1},
                "method": METHODS[self.method],
                "engine": {"batch": 4 if self.size_px == SIZES[0] else 1},
            }
        )


def cases() -> list[Case]:
    """All of them, in the order of the table. Webs wait for whole tile rows: theirs stay low."""
    return [
        Case(geometry, backbone, method, size)
        for geometry in GEOMETRIES
        for backbone in BACKBONES
        for method in METHODS
        for size in SIZES
        if geometry == "parts" or size == SIZES[0]
    ]


def main() -> int:
    """Compile, measure, print; write JSON if asked to."""
    options = _options()
    chosen = [case for case in cases() if options.only in case.name]
    threads = options.threads or len(os.sched_getaffinity(0))
    print(f"{machine()}, {threads} threads, verdicts within {options.budget_ms:g} ms")
    print(f"ImageNet weights: {all((SHARED / 'weights' / f).exists() for f in WEIGHTS.values())}")
    print("| | " + " | ".join(f"{px} px: lines/s, MP/s, p99.9 ms" for px in options.widths) + " |")
    print("| --- |" + " --- |" * len(options.widths))
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.bundles or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for case in chosen:
            paces = list(
                measure(
                    bundle_of(case, folder),
                    options.widths,
                    options.budget_ms,
                    seconds=options.seconds,
                    threads=threads,
                )
            )
            print(f"| {case.name} | " + " | ".join(map(cell, paces)) + " |", flush=True)
            found[case.name] = [record(pace) for pace in paces]
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "cases": found}, indent=1))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS, metavar="PX")
    parser.add_argument("--budget-ms", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=20.0, help="for each cell")
    parser.add_argument("--threads", type=int, help="cores; default: all")
    parser.add_argument("--bundles", type=Path, help="folder that keeps the bundles")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def bundle_of(case: Case, folder: Path) -> Bundle:
    """The case's bundle, compiled now or taken from the folder."""
    store = folder / case.name.replace(" ", "-").replace(",", "").replace("=", "")
    if not (store / "current").exists():
        good = folder / "images"
        if not good.exists():
            write_dataset(good, SyntheticWeb(LINES, WIDTH, 0), train=6, good=1, each=1)
        kenpin.build(case.recipe(good / "train" / "good", folder), store, lowest=False)
    return read_bundle(store)


def cell(pace: Pace) -> str:
    """One width of one case."""
    return f"{pace.lines_hz:,.0f}, {pace.megapixels_s:.1f}, {pace.slowest_ms:.1f}"


def record(pace: Pace) -> dict[str, float]:
    """The same for JSON."""
    p50, p99 = np.percentile(pace.spent_ms, [50, 99])
    return {
        "width_px": pace.width_px,
        "lines": pace.lines,
        "tiles": pace.tiles,
        "frames": len(pace.spent_ms),
        "p50_ms": round(float(p50), 3),
        "p99_ms": round(float(p99), 3),
        "p999_ms": round(pace.slowest_ms, 3),
        "lines_hz": round(pace.lines_hz, 1),
        "megapixels_s": round(pace.megapixels_s, 2),
    }


if __name__ == "__main__":
    sys.exit(main())
