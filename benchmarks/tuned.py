"""A recipe that was searched for beside the one made by hand: what each finds, and in what time.

    quiet python benchmarks/tuned.py config/mtd-patchcore.toml ../shared/data/mtd --minutes 30
    quiet python benchmarks/tuned.py config/fabric03-patchcore.toml ../shared/data/aitex_fabric03

The hand-made recipe is compiled and timed first; its own time is the budget of the search, which
sees good images only. Both bundles are then timed in turn, and judged on the labelled test set,
once: nothing was chosen by it. Whatever is in the folder of -o goes on from there; with --minutes 0
what was found is only timed and judged.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from edge_run import machine
from numpy.typing import NDArray

from kenpin.camera.files.listing import list_images
from kenpin.compile.build import build
from kenpin.compile.cli import main as edge_compile
from kenpin.compile.evaluation.dataset import read_dataset
from kenpin.compile.evaluation.evaluate import Evaluation, evaluate, wide_side
from kenpin.compile.good_images.images import load
from kenpin.compile.progress import Steps
from kenpin.compile.recipe_search.attempt import WEB_LINES, attempted
from kenpin.compile.recipe_search.study import HEADROOM
from kenpin.compile.reporting.speed import measure_speed
from kenpin.config.console import plain_console
from kenpin.config.recipe import Recipe, load_recipe
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.selftest import open_tested


def main(argv: Sequence[str] | None = None) -> int:
    """Compile, search, judge, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", type=Path)
    parser.add_argument("dataset", type=Path, help="test/ and ground_truth/, looked at at the end")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=9, help="in which both are timed in turn")
    parser.add_argument("--backbone", action="append", default=[], help="as for edge-compile tune")
    parser.add_argument("-o", "--output", type=Path, default=Path("tuned-benchmark"))
    options = parser.parse_args(argv)
    folder = options.output / options.recipe.stem
    folder.mkdir(parents=True, exist_ok=True)
    recipe = load_recipe(options.recipe)
    by_hand = made(recipe, folder / "by-hand")
    budget_ms = float(np.median([frame_ms(by_hand, recipe) for _ in range(3)]))
    if options.minutes:
        command = ["tune", str(options.recipe), "--budget-ms", f"{budget_ms * HEADROOM:.4g}"]
        command += ["--minutes", str(options.minutes), "-o", str(folder / "search")]
        command += [word for one in options.backbone for word in ("--backbone", one)]
        if code := edge_compile(command):
            return code
    chosen = load_recipe(folder / "search" / "tuned.toml")
    searched = made(chosen, folder / "searched")
    pairs = [(frame_ms(by_hand, recipe), frame_ms(searched, chosen)) for _ in range(options.rounds)]
    print(f"{machine()}\nbudget {budget_ms:.2f} ms (median)")
    for name, bundle, times in zip(
        ("by hand", "searched"), (by_hand, searched), zip(*pairs, strict=True), strict=True
    ):
        share = attempted(bundle.manifest, recipe.threshold.false_rejects)[0]
        low, middle, high = np.quantile(times, [0.25, 0.5, 0.75])
        print(
            f"{name:9} {middle:.2f} ms ({low:.2f}-{high:.2f})  drawn defects found "
            f"{share.share:.3f} ({share.low:.3f} to {share.high:.3f})  "
            f"{figures(judged(bundle, options.dataset))}"
        )
    low, middle, high = np.quantile([b / a for a, b in pairs], [0.25, 0.5, 0.75])
    print(f"searched takes {middle:.2f} ({low:.2f}-{high:.2f}) times as long")
    print(tomllib.loads((folder / "search" / "tuned.toml").read_text()))
    return 0


def made(recipe: Recipe, store: Path) -> Bundle:
    """The bundle of a recipe; one that lies there from before is taken as it is."""
    store.mkdir(exist_ok=True)
    if (store / "current").exists():
        return read_bundle(store)
    with Steps(plain_console()) as steps:
        return build(recipe, store, steps, lowest=False).bundle


def frame_ms(bundle: Bundle, recipe: Recipe) -> float:
    """Median milliseconds of a frame, or of 1,024 lines of a web."""

    def own(file: Path) -> NDArray[Any]:
        return load(file, recipe.frame, recipe.images.turn_deg)

    speed = measure_speed(bundle, list_images(recipe.images.good), own, recipe.report.speed_s)
    return 1e3 * WEB_LINES / speed.lines_per_s if recipe.web else speed.median_ms


def judged(bundle: Bundle, dataset: Path) -> Evaluation:
    """On the labelled test set."""
    frame = bundle.manifest.frame
    side = wide_side(frame.height_px, frame.width_px)
    return evaluate(
        open_tested(bundle), read_dataset(dataset), lambda _done, _total: None, tile_px=side
    )


def figures(found: Evaluation) -> str:
    """AUROC, false rejects and escapes of images; of strips also AUROC of tiles within them."""
    images = found.images
    text = (
        f"AUROC {images['auroc']:.3f}, {images['false_rejects']} of {images['good']} rejected, "
        f"{images['escapes']} of {images['ng']} escape"
    )
    if found.tiles:
        text += f", AUROC within strips {found.tiles['within_image']['pooled']:.3f}"
    return text


if __name__ == "__main__":
    sys.exit(main())
