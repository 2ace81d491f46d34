"""A coreset of more and more images: time and memory, and how good a net's is beside the exact one.

python benchmarks/coreset.py grow --images 100 1000 10000 100000 --minutes 8 --picture coreset.png
python benchmarks/coreset.py quality config/mtd-patchcore.toml

`grow` makes features as it goes, the patches of images of 256 x 256 px on a grid of 8 px, and runs
each size in a process of its own; it begins no size that the last ones' pace would not end in time.
`quality` reads a recipe's good images: the distance of the farthest patch from the rows, and the
scores of good images without their own part. It looks at no test image.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from kenpin.camera.files.listing import list_images
from kenpin.compile.build import build
from kenpin.compile.methods.feature_reader import FeatureReader
from kenpin.compile.methods.patch_sample import NET_TIMES, Reservoir
from kenpin.compile.methods.patchcore import k_centre_greedy
from kenpin.compile.methods.streamed_coreset import Net, random_projection
from kenpin.compile.progress import Steps
from kenpin.config.console import plain_console
from kenpin.config.methods import PatchCoreSpec
from kenpin.config.recipe import Recipe, load_recipe
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.crew import one_blas_thread
from kenpin.runtime.judging.lamp import Lamp
from kenpin.runtime.judging.network import Execution, load_network
from kenpin.runtime.judging.scoring import load_scorer
from kenpin.runtime.judging.tiling import TileGrid

F32 = NDArray[np.float32]

PATCHES, DIMENSIONS, DIRECTIONS = 32 * 32, 112, 128
# Kinds of patches, and directions in which each varies: what is looked at is a mixture.
KINDS, WAYS = 60, 8
# One image of so many shows a patch that no other shows.
RARE_EVERY = 50
COLOURS = {"sampled": (180, 80, 30), "streamed": (40, 120, 220)}
SIZE, PAD = (420, 560), 60


def images(count: int) -> Iterator[F32]:
    """(PATCHES, DIMENSIONS) float32 of each image, made when it is asked for."""
    rng = np.random.default_rng(7)
    middles = rng.normal(0, 1, (KINDS, DIMENSIONS)).astype(np.float32)
    ways = rng.normal(0, 0.4, (KINDS, WAYS, DIMENSIONS)).astype(np.float32)
    for number in range(count):
        kind = rng.integers(0, KINDS, PATCHES)
        amount = rng.normal(0, 1, (PATCHES, WAYS)).astype(np.float32)
        rows = middles[kind] + np.einsum("pw,pwd->pd", amount, ways[kind])
        if number % RARE_EVERY == 0:
            rows[0] += rng.normal(0, 1, DIMENSIONS).astype(np.float32)
        yield rows


def one_size(way: str, count: int, rows: int) -> dict[str, float]:
    """Seconds, those of a core and MiB of one coreset, the making of the features taken away."""
    rng = np.random.default_rng(0)
    taker = (
        Net(NET_TIMES * rows, DIMENSIONS, DIRECTIONS, rng)
        if way == "streamed"
        else Reservoir(100_000, DIMENSIONS, rng)
    )
    spent, cores = 0.0, 0.0
    for number, features in enumerate(images(count)):
        begun, at_work = time.perf_counter(), time.process_time()
        taker.add(features, number, number)
        spent += time.perf_counter() - begun
        cores += time.process_time() - at_work
    begun, at_work = time.perf_counter(), time.process_time()
    points = (
        taker.pool().points
        if isinstance(taker, Net)
        else random_projection(taker.rows, DIRECTIONS, rng)
    )
    k_centre_greedy(points, rows, 0)
    spent += time.perf_counter() - begun
    cores += time.process_time() - at_work
    return {
        "images": count,
        "seconds": spent,
        "core_seconds": cores,
        "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "radius": taker.radius if isinstance(taker, Net) else float("nan"),
    }


def grow(options: argparse.Namespace) -> None:
    """Each size in a process of its own, as long as there is time."""
    os.nice(10)
    end = time.monotonic() + 60 * options.minutes
    found: dict[str, list[dict[str, float]]] = {}
    for way in ("sampled", "streamed"):
        own: list[dict[str, float]] = []
        half = end - (30 * options.minutes if way == "sampled" else 0)
        pace = 0.0
        for count in options.images:
            if time.monotonic() + pace * count > half:
                print(f"{way:9} {count:7} images: not begun, for lack of time")
                break
            begun = time.monotonic()
            command = [sys.executable, __file__, "one", way, str(count), str(options.rows)]
            own.append(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))
            pace = (time.monotonic() - begun) / count
            print(
                f"{way:9} {count:7} images: {own[-1]['seconds']:8.1f} s, "
                f"{own[-1]['core_seconds']:8.1f} s of a core, {own[-1]['mib']:6.0f} MiB, "
                f"radius {own[-1]['radius']:.3f}",
                flush=True,
            )
        found[way] = own
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    if options.picture:
        panels = [_panel(found, "core_seconds"), _panel(found, "mib")]
        cv2.imwrite(str(options.picture), np.hstack(panels))


def _panel(found: dict[str, list[dict[str, float]]], what: str) -> NDArray[np.uint8]:
    """Both axes by powers of ten."""
    height, width = SIZE
    canvas = np.full((height, width, 3), 255, np.uint8)
    ys = [one[what] for own in found.values() for one in own]
    low, high = np.floor(np.log10(min(ys))), np.ceil(np.log10(max(ys)))

    def at(images: float, value: float) -> tuple[int, int]:
        x = (np.log10(images) - 2) / 3
        y = (np.log10(value) - low) / max(1.0, high - low)
        return round(PAD + x * (width - 2 * PAD)), round(height - PAD - y * (height - 2 * PAD))

    def text(
        words: str, place: tuple[int, int], colour: tuple[int, int, int] = (60, 60, 60)
    ) -> None:
        cv2.putText(canvas, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)

    text({"core_seconds": "seconds of a core by images", "mib": "MiB by images"}[what], (PAD, 24))
    for power in range(int(low), int(high) + 1):
        cv2.line(canvas, at(1e2, 10.0**power), at(1e5, 10.0**power), (225, 225, 225), 1)
        text(f"{10.0**power:g}", (8, at(1e2, 10.0**power)[1] + 4))
    for power in range(2, 6):
        text(f"{10**power:,}", (at(10.0**power, 10.0**low)[0] - 16, height - PAD + 22))
    for number, (way, own) in enumerate(found.items()):
        places = [at(one["images"], one[what]) for one in own]
        cv2.polylines(canvas, [np.array(places)], False, COLOURS[way], 2, cv2.LINE_AA)
        for place in places:
            cv2.circle(canvas, place, 4, COLOURS[way], -1, cv2.LINE_AA)
        text(way, (PAD + 12, PAD + 18 * number), COLOURS[way])
    return canvas


def quality(options: argparse.Namespace) -> None:
    """Exact, sampled and streamed rows of the same good images."""
    recipe = load_recipe(options.recipe, options.set)
    spec = recipe.method
    if not isinstance(spec, PatchCoreSpec) or not spec.coreset_rows:
        sys.exit(f"{options.recipe}: expected PatchCore with coreset_rows")
    ways = {
        "exact": {"candidates": 10_000_000},
        "sampled": {"candidates": options.candidates},
        "streamed": {"coreset": "streamed"},
    }
    for name, changes in ways.items():
        method = PatchCoreSpec.model_validate(spec.model_dump() | changes)
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as folder, Steps(plain_console()) as steps:
            made = build(
                recipe.model_copy(update={"method": method}), Path(folder), steps, lowest=False
            ).bundle
        good = np.array([one.score for one in made.manifest.good_scores])
        twins = [s for twin in made.manifest.twin_scores for s in twin.scores]
        ok = made.manifest.threshold.ok
        print(
            f"{name:9} {time.monotonic() - begun:6.1f} s  good images left out: median "
            f"{np.median(good):.3f}, 99th {np.percentile(good, 99):.3f}, highest {good.max():.3f}; "
            f"threshold {ok:.3f}; drawn defects over it {np.mean(np.array(twins) > ok):.3f}; "
            f"of good images over it {np.mean(good > ok):.4f}",
            flush=True,
        )
        print(
            f"{'':9} farthest patch of all from the rows {_farthest(made, recipe):.3f}", flush=True
        )


def _farthest(bundle: Bundle, recipe: Recipe) -> float:
    """The largest distance from a patch of a good image to its nearest row."""
    m = bundle.manifest
    grid = TileGrid.of(m.frame, m.tiles)
    engine, _ = load_network(bundle, grid, Execution(exhaustive=True))
    scorer = load_scorer(bundle.arrays, m.method, m.features, grid, exhaustive=True)
    reader = FeatureReader(engine, grid, m.frame, recipe.images, Lamp(m.grey.even_to))
    files = list_images(recipe.images.good)
    return max(float(scorer.distances(features).values.max()) for features in reader.read(files))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; see the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    sub = commands.add_parser("grow")
    sub.add_argument("--images", type=int, nargs="+", default=[100, 1000, 10_000, 100_000])
    sub.add_argument("--rows", type=int, default=2000)
    sub.add_argument("--minutes", type=float, default=8)
    sub.add_argument("--picture", type=Path)
    sub.add_argument("--json", type=Path)
    sub = commands.add_parser("one")
    sub.add_argument("way", choices=["sampled", "streamed"])
    sub.add_argument("count", type=int)
    sub.add_argument("rows", type=int)
    sub = commands.add_parser("quality")
    sub.add_argument("recipe", type=Path)
    sub.add_argument("--set", action="append", default=[])
    sub.add_argument("--candidates", type=int, default=100_000)
    options = parser.parse_args(argv)
    if options.command == "one":
        # As in a build.
        with one_blas_thread():
            found = one_size(options.way, options.count, options.rows)
        json.dump(found, sys.stdout)
    else:
        {"grow": grow, "quality": quality}[options.command](options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
