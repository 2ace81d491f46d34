"""A recipe that was searched for beside the one made by hand: what each finds, and in what time.

    quiet python benchmarks/tuned.py config/mtd-patchcore.toml ../shared/data/mtd --minutes 30
    quiet python benchmarks/tuned.py config/fabric03-patchcore.toml ../shared/data/aitex_fabric03

The hand-made recipe is compiled and timed first; its own time is the budget of the search, which
sees good images only. Both bundles are then judged on the labelled test set, once: nothing was
chosen by it. Whatever is in the folder of -o goes on from there.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from edge_run import machine

from kenpin.compile.build import build
from kenpin.compile.cli import main as edge_compile
from kenpin.compile.dataset import read_dataset
from kenpin.compile.evaluate import Evaluation, evaluate, wide_side
from kenpin.compile.progress import Steps
from kenpin.compile.recipe_search.attempt import attempted
from kenpin.compile.recipe_search.study import HEADROOM
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
    parser.add_argument("--backbone", action="append", default=[], help="as for edge-compile tune")
    parser.add_argument("-o", "--output", type=Path, default=Path("tuned-benchmark"))
    options = parser.parse_args(argv)
    folder = options.output / options.recipe.stem
    folder.mkdir(parents=True, exist_ok=True)
    recipe = load_recipe(options.recipe)
    by_hand, own_ms = made(recipe, folder / "by-hand")
    command = ["tune", str(options.recipe), "--budget-ms", f"{own_ms * HEADROOM:.4g}"]
    command += ["--minutes", str(options.minutes), "-o", str(folder / "search")]
    command += [word for one in options.backbone for word in ("--backbone", one)]
    if code := edge_compile(command):
        return code
    chosen = load_recipe(folder / "search" / "tuned.toml")
    searched, ms = made(chosen, folder / "searched")
    print(f"{machine()}\nsearch of {options.minutes:g} minutes, budget {own_ms:.2f} ms (median)")
    for name, bundle, spent in (("by hand", by_hand, own_ms), ("searched", searched, ms)):
        rate = recipe.threshold.false_rejects
        share = attempted(bundle.manifest, rate)[0]
        print(
            f"{name:9} {spent:7.2f} ms  drawn defects found {share.share:.3f} "
            f"({share.low:.3f} to {share.high:.3f})  {figures(judged(bundle, options.dataset))}"
        )
    print(tomllib.loads((folder / "search" / "tuned.toml").read_text()))
    return 0


def made(recipe: Recipe, store: Path) -> tuple[Bundle, float]:
    """A bundle, and the median milliseconds of its frame, or of 1,024 lines of its web."""
    store.mkdir(exist_ok=True)
    with Steps(plain_console()) as steps:
        result = build(recipe, store, steps, lowest=False)
    speed = json.loads(result.report_file.read_text())["speed"]
    if recipe.web is not None:
        return read_bundle(result.bundle.folder), 1024e3 / float(speed["lines_per_s"])
    return read_bundle(result.bundle.folder), float(speed["median_ms"])


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
