"""How the cost of a frame grows: with tiles, bank rows, dimensions and cores. Draws a PNG.

python benchmarks/scale.py docs/pictures/speed.png --json scale.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from bench_cases import Bench, cases, padim, statistics
from edge_run import machine

from kenpin.config.methods import MethodSettings, PadimSpec, PatchCoreSpec
from kenpin.config.tuning import Tuning
from kenpin.runtime.bundles.manifest import FeatureRecord
from kenpin.runtime.judging.scoring import load_scorer
from kenpin.runtime.judging.tiling import TileGrid

Curves = dict[str, list[tuple[float, float]]]

TILES, ROWS, DIMS = (1, 4, 16, 32, 64), (300, 1000, 3000, 10_000), (25, 50, 75, 100)
PANEL = 460, 360
COLOURS = ((180, 80, 30), (40, 120, 220), (60, 150, 60), (150, 60, 150))


def main() -> int:
    """Measure, draw, write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--networks", type=Path, help="folder that keeps the quantised networks")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.networks or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        panels = {
            "tiles (PatchCore 1,000 rows)": by_tiles(folder, options.rounds),
            "bank rows (distances of 16 tiles)": by_rows(options.rounds),
            "PaDiM dimensions (distances of 16 tiles)": by_dimensions(options.rounds),
            "cores (PatchCore 1,000 rows, 16 tiles)": by_cores(folder, options.rounds),
        }
    cv2.imwrite(str(options.picture), drawn(panels))
    for title, curves in panels.items():
        for name, points in curves.items():
            print(f"{title:44} {name:24}", *(f"{x:g}: {y:.1f}" for x, y in points))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "ms": panels}, indent=1))
    return 0


def medians(arms: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each, interleaved."""
    spent: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds + 2):
        for name, run in arms.items():
            begun = time.perf_counter()
            run()
            if number >= 2:
                spent[name].append((time.perf_counter() - begun) * 1e3)
    return {name: float(np.median(values)) for name, values in spent.items()}


def _network_and_frame(
    folder: Path, rounds: int, settings: list[tuple[int, int, int | None]]
) -> Curves:
    """Floor and frame of PatchCore 1,000 by (x, tiles, threads)."""
    curves: Curves = {"network alone": [], "frame": []}
    for x, tiles, threads in settings:
        tuning = Tuning(batch=min(4, tiles), streams=min(2, threads or 2))
        case = replace(cases()[0], tiles=tiles)
        bench = Bench.set_up(case, folder, tuning, 32, threads)
        found = medians(
            {"network alone": bench.floor, "frame": lambda b=bench: b.stages.measure(b.pixels)},
            rounds,
        )
        for name, ms in found.items():
            curves[name].append((x, ms))
    return curves


def by_tiles(folder: Path, rounds: int) -> Curves:
    """Network and frame by tiles a frame."""
    return _network_and_frame(folder, rounds, [(tiles, tiles, None) for tiles in TILES])


def by_cores(folder: Path, rounds: int) -> Curves:
    """Network and frame by cores."""
    cores = len(os.sched_getaffinity(0))
    return _network_and_frame(folder, rounds, [(n, 16, n) for n in range(1, cores + 1)])


def _distances(
    cells: int, method: MethodSettings, dims: int, rows: int, exhaustive: bool = False
) -> Callable[[], object]:
    grid = TileGrid(192, 192 * 16, 256, 32, 192)
    rng = np.random.default_rng(0)
    features = rng.standard_normal((16, cells, cells, dims), dtype=np.float32)
    record = FeatureRecord(
        backbone="random",
        layers=("",),
        weights_sha256=None,
        patch_stride_px=192 // cells,
        cells=cells,
        dimensions=dims,
        batch=4,
        inference_precision="f32",
    )
    arrays = statistics(method, grid, features, rows)
    scorer = load_scorer(arrays, method, record, grid, exhaustive=exhaustive)
    return lambda: scorer.distances(features)


def by_rows(rounds: int) -> Curves:
    """Distances with proposals, and the whole search, by bank rows; 384 dimensions."""
    curves: Curves = {"INT8 proposes": [], "whole search in numpy": []}
    method = PatchCoreSpec(name="patchcore")
    for rows in ROWS:
        found = medians(
            {
                name: _distances(24, method, 384, rows, exhaustive)
                for name, exhaustive in zip(curves, (False, True), strict=True)
            },
            rounds,
        )
        for name, ms in found.items():
            curves[name].append((rows, ms))
    return curves


def by_dimensions(rounds: int) -> Curves:
    """PaDiM's distances by dimensions."""
    curves: Curves = {"columns": [], "dense": []}
    for dims in DIMS:
        arms = {
            name: _distances(48, PadimSpec.model_validate(padim(name, dims)), dims, 0)
            for name in curves
        }
        for name, ms in medians(arms, rounds).items():
            curves[name].append((dims, ms))
    return curves


def drawn(panels: dict[str, Curves]) -> np.ndarray:
    """Two rows of two panels, milliseconds upwards from zero."""
    pictures = [_panel(title, curves) for title, curves in panels.items()]
    return np.vstack([np.hstack(pictures[:2]), np.hstack(pictures[2:])])


def _panel(title: str, curves: Curves) -> np.ndarray:
    width, height = PANEL
    left, right, top, bottom = 60, width - 24, 50, height - 50
    canvas = np.full((height, width, 3), 255, np.uint8)
    xs = sorted({x for points in curves.values() for x, _ in points})
    most = max(y for points in curves.values() for _, y in points) * 1.08

    def text(words: str, at: tuple[int, int], colour: tuple[int, ...] = (60, 60, 60)) -> None:
        cv2.putText(canvas, words, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)

    def place(x: float, y: float) -> tuple[int, int]:
        return round(left + (right - left) * x / xs[-1]), round(bottom - (bottom - top) * y / most)

    text(f"ms a frame by {title}", (left - 40, 24), (0, 0, 0))
    step = 10 ** np.floor(np.log10(most))
    step = step if most / step >= 3 else step / 5
    for y in np.arange(0, most, step):
        cv2.line(canvas, place(0, y), place(xs[-1], y), (225, 225, 225), 1)
        text(f"{y:g}", (14, place(0, y)[1] + 4))
    for x in xs:
        cv2.line(canvas, place(x, 0), (place(x, 0)[0], bottom + 4), (120, 120, 120), 1)
        if x == xs[-1] or place(x, 0)[0] - place(xs[0], 0)[0] > 30 or x == xs[0]:
            text(f"{x:g}", (place(x, 0)[0] - 12, bottom + 20))
    for number, (name, points) in enumerate(curves.items()):
        colour = COLOURS[number]
        places = [place(*point) for point in points]
        cv2.polylines(canvas, [np.array(places)], False, colour, 2, cv2.LINE_AA)
        for at in places:
            cv2.circle(canvas, at, 4, colour, -1, cv2.LINE_AA)
        text(name, (left + 16, top + 14 + 18 * number), colour)
    return canvas


if __name__ == "__main__":
    sys.exit(main())
