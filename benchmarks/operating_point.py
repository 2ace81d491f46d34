"""Does a threshold keep its promise? Realised false rejects and escapes, against the best.

    python benchmarks/operating_point.py mtd --counts 20 50 200 762 --seeds 0 1 2
    python benchmarks/operating_point.py fabric synthetic
    python benchmarks/operating_point.py cell casting brushed cloth --counts 14 40 100 200

Each build takes so many good images, whole parts as far as possible, drawn by a seed, and
promises to reject 1 % of good ones. Nothing is chosen on the test images: they are judged
once. Beside what was got stand the escapes of the threshold that someone would choose who
knew the test images: the one that rejects exactly the promised share of them.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from materials import MATERIALS, write_material
from rich.console import Console

from kenpin.camera.files.images import read_pixels
from kenpin.camera.files.listing import list_images
from kenpin.camera.frame import Frame
from kenpin.camera.synthetic import SyntheticWeb, write_dataset
from kenpin.compile.build import build
from kenpin.compile.progress import Steps
from kenpin.config.recipe import load_recipe
from kenpin.runtime.bundles.bundle import read_bundle
from kenpin.runtime.judging.pipeline import Pipeline

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"
PROMISE = 0.01
# Fewer tiles than recipes take: quantising is not what is measured here, and neither is
# whether a lamp failed.
QUICK = (
    "quantize.calibration_tiles=64",
    "quantize.guard_tiles=16",
    "report.twins_each=0",
    "image_quality.grey_margin=255",
    "image_quality.contrast_share=0",
)
# Materials that are drawn: the recipe, and what is changed in it.
DRAWN = {
    "cell": ("mtd-patchcore.toml",),
    "casting": ("mtd-patchcore.toml",),
    "brushed": ("mtd-patchcore.toml", "frame.width_px=256"),
    "cloth": ("fabric03-patchcore.toml", "frame.height_px=128", "frame.width_px=1024"),
}


@dataclass(frozen=True)
class Material:
    """Where images lie, the recipe for them, and what names a part in a file's name."""

    recipe: str
    data: Path
    group: str | None
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Got:
    """One bundle, and what it did to images it had not seen."""

    material: str
    count: int
    seed: int
    rule: str
    at_most: float
    odd: int
    false_rejects: int
    good: int
    escapes: int
    ng: int
    escapes_best: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("materials", nargs="+", choices=["mtd", "fabric", "synthetic", *MATERIALS])
    parser.add_argument("--counts", type=int, nargs="+", default=[20, 50, 200])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--ungrouped", action="store_true", help="do not tell what names a part")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add a line for each bundle")
    options = parser.parse_args()
    for name in options.materials:
        with tempfile.TemporaryDirectory() as room:
            material = _material(name, Path(room), max(options.counts))
            for count in options.counts:
                for seed in options.seeds:
                    got = _measure(name, material, count, seed, options, Path(room))
                    print(_told(got), flush=True)
                    if options.json:
                        with options.json.open("a", encoding="utf-8") as lines:
                            lines.write(json.dumps(asdict(got)) + "\n")


def _material(name: str, room: Path, most: int) -> Material:
    if name == "mtd":
        return Material("mtd-patchcore.toml", SHARED / "mtd", "^[^_]*")
    if name == "fabric":
        return Material("fabric03-patchcore.toml", SHARED / "aitex_fabric03", None)
    if name in MATERIALS:
        write_material(room / name, name, train=most, good=300, each=30)
        recipe, *changes = DRAWN[name]
        return Material(recipe, room / name, ".*", tuple(changes))
    data = room / "synthetic"
    write_dataset(data, SyntheticWeb(256, 1024, 7), train=most, good=200, each=25)
    return Material("demo.toml", data, None)


def _measure(
    name: str, material: Material, count: int, seed: int, options: argparse.Namespace, room: Path
) -> Got:
    group = None if options.ungrouped else material.group
    folder = room / f"good-{count}-{seed}"
    folder.mkdir()
    files = _drawn(list_images(material.data / "train" / "good"), material.group, count, seed)
    for file in files:
        (folder / file.name).symlink_to(file)
    changes = [f'images.good="{folder}"', *QUICK, *material.changes, *options.set]
    if group is not None:
        changes.append(f"images.group='{group}'")
    changes.append(f"threshold.false_rejects={PROMISE}")
    recipe = load_recipe(ROOT / "config" / material.recipe, changes)
    with Steps(Console(file=io.StringIO())) as steps:
        store = build(recipe, room / f"store-{count}-{seed}", steps).bundle.folder
    bundle = read_bundle(store)
    pipeline = Pipeline(bundle)
    scores: dict[bool, list[float]] = {True: [], False: []}
    for place in sorted((material.data / "test").iterdir()):
        for number, file in enumerate(list_images(place)):
            verdict = pipeline.judge(Frame(read_pixels(file), 0, number)).verdict
            assert verdict.score is not None, f"{file}: {verdict.detail}"
            scores[place.name == "good"].append(verdict.score)
    good, ng = (np.array(scores[kind]) for kind in (True, False))
    threshold = bundle.manifest.threshold
    assert threshold.at_most is not None
    best = np.quantile(good, 1 - PROMISE, method="higher")
    return Got(
        name,
        len(files),
        seed,
        threshold.rule,
        threshold.at_most,
        sum(one.odd for one in bundle.manifest.good_scores),
        int((good > threshold.ok).sum()),
        len(good),
        int((ng <= threshold.ok).sum()),
        len(ng),
        int((ng <= best).sum()),
    )


def _drawn(files: list[Path], group: str | None, count: int, seed: int) -> list[Path]:
    """So many files, part after part in an order drawn by the seed."""
    parts: dict[str, list[Path]] = {}
    for file in files:
        found: Any = re.search(group, file.name) if group else None
        parts.setdefault(found.group(0) if found else file.name, []).append(file)
    order = np.random.default_rng(seed).permutation(len(parts))
    mine = [file for number in order for file in list(parts.values())[number]]
    return sorted(mine[:count])


def _told(got: Got) -> str:
    return (
        f"{got.material:10} n {got.count:4} seed {got.seed}  {got.rule:9} odd {got.odd:2}  "
        f"rejected {got.false_rejects:3} of {got.good} "
        f"({100 * got.false_rejects / got.good:.1f} %, told at most {100 * got.at_most:.1f} %)  "
        f"escapes {got.escapes:3} of {got.ng}, best threshold {got.escapes_best:3} "
        f"({got.escapes / max(1, got.escapes_best):.2f} times)"
    )


if __name__ == "__main__":
    main()
