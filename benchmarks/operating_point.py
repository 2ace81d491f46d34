"""Does a threshold keep its promise? Realised false rejects and escapes, against the best.

    python benchmarks/operating_point.py mtd --counts 20 50 200 762 --seeds 0 1 2
    python benchmarks/operating_point.py fabric synthetic
    python benchmarks/operating_point.py cell casting brushed cloth --counts 14 40 100 200

Each build takes so many good images, whole parts as far as possible, drawn by a seed, and
promises to reject 1 % of good ones. Nothing is chosen on the test images: they are judged
once. Beside what was got stand the escapes of the threshold that someone would choose who
knew the test images: the one that rejects exactly the promised share of them. With --blind
no test image is judged: how many drawn defects are found chooses between settings. With --lamp
the test images are judged again as another light would show them, and within the recipe's
limits of brightness: what is rejected then for whatever reason.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from materials import MATERIALS, write_material
from numpy.typing import NDArray
from rich.console import Console

from kenpin.camera.files.images import read_pixels
from kenpin.camera.files.listing import list_images
from kenpin.camera.frame import Frame
from kenpin.camera.synthetic import SyntheticWeb, write_dataset
from kenpin.compile.build import build
from kenpin.compile.evaluation.trade import FALSE_REJECTS
from kenpin.compile.metrics.scores import auroc
from kenpin.compile.progress import Steps
from kenpin.compile.recipe_search.attempt import attempted
from kenpin.config.recipe import load_recipe
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.judging.pipeline import Pipeline
from kenpin.runtime.judging.verdict import Outcome

F64 = NDArray[np.float64]

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"
PROMISE = 0.01
# Of each kind, size and contrast, where drawn defects choose: several hundred in all.
TWINS_EACH = 4
# Fewer tiles than recipes take: quantising is not what is measured here, and neither is
# whether a lamp failed.
QUICK = (
    "quantize.calibration_tiles=64",
    "quantize.guard_tiles=16",
    "report.twins_each=0",
    "report.speed_s=0",
)
ANY_LIGHT = ("image_quality.grey_margin=255", "image_quality.contrast_share=0")
# What a lamp does to a frame: the light at its left and its right border, 1 as it was.
LAMPS = {
    "as it is": (1.0, 1.0),
    "0.8 times": (0.8, 0.8),
    "1.2 times": (1.2, 1.2),
    "10 % more on the right": (1.0, 1.1),
    "10 % less on the right": (1.0, 0.9),
}
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
    auroc: float

    def __str__(self) -> str:
        return (
            f"{self.material:10} n {self.count:4} seed {self.seed}  {self.rule:9} "
            f"odd {self.odd:2}  rejected {self.false_rejects:3} of {self.good} "
            f"({100 * self.false_rejects / self.good:.1f} %, told at most "
            f"{100 * self.at_most:.1f} %)  escapes {self.escapes:3} of {self.ng}, "
            f"best threshold {self.escapes_best:3} "
            f"({self.escapes / max(1, self.escapes_best):.2f} times)  AUROC {self.auroc:.3f}"
        )


@dataclass(frozen=True)
class Blind:
    """One bundle, and how many drawn defects it finds, by what it rejects of good images.

    found  by the share of good images that are rejected, as the table of a build says them
    """

    material: str
    count: int
    seed: int
    odd: int
    found: dict[str, float]

    def __str__(self) -> str:
        shares = ", ".join(f"{share:.3f} at {rate}" for rate, share in self.found.items())
        return (
            f"{self.material:10} n {self.count:4} seed {self.seed}  odd {self.odd:2}  "
            f"drawn defects found: {shares}"
        )


@dataclass(frozen=True)
class Lit:
    """What one bundle makes of test images under another light."""

    material: str
    count: int
    seed: int
    lamp: str
    false_rejects: int
    good: int
    escapes: int
    ng: int

    def __str__(self) -> str:
        return (
            f"{self.material:10} n {self.count:4} seed {self.seed}  {self.lamp:22} "
            f"rejected {self.false_rejects:3} of {self.good}  escapes {self.escapes:3} of {self.ng}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("materials", nargs="+", choices=["mtd", "fabric", "synthetic", *MATERIALS])
    parser.add_argument("--counts", type=int, nargs="+", default=[20, 50, 200])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--ungrouped", action="store_true", help="do not tell what names a part")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--blind", action="store_true", help="judge no test image, draw defects")
    parser.add_argument("--lamp", action="store_true", help="judge under other lights, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add a line for each bundle")
    options = parser.parse_args()
    for name in options.materials:
        with tempfile.TemporaryDirectory() as room:
            material = _material(name, Path(room), max(options.counts))
            for count in options.counts:
                for seed in options.seeds:
                    for got in _measure(name, material, count, seed, options, Path(room)):
                        print(got, flush=True)
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
) -> Iterator[Got | Blind | Lit]:
    group = None if options.ungrouped else material.group
    folder = room / f"good-{count}-{seed}"
    folder.mkdir()
    files = _drawn(list_images(material.data / "train" / "good"), material.group, count, seed)
    for file in files:
        (folder / file.name).symlink_to(file)
    changes = [f'images.good="{folder}"', *QUICK, *material.changes]
    changes += () if options.lamp else ANY_LIGHT
    changes += [f"report.twins_each={TWINS_EACH}"] if options.blind else []
    changes += options.set
    if group is not None:
        changes.append(f"images.group='{group}'")
    changes.append(f"threshold.false_rejects={PROMISE}")
    recipe = load_recipe(ROOT / "config" / material.recipe, changes)
    place = room / f"store-{count}-{seed}"
    with Steps(Console(file=io.StringIO())) as steps:
        store = build(recipe, place, steps, lowest=False).bundle.folder
    bundle = read_bundle(store)
    odd = sum(one.odd for one in bundle.manifest.good_scores)
    if options.blind:
        shares = {
            f"{rate:.1%}": attempted(bundle.manifest, rate)[0].share for rate in FALSE_REJECTS
        }
        yield Blind(name, len(files), seed, odd, shares)
        return
    if options.lamp:
        yield from _lit(bundle, material.data / "test", (name, len(files), seed))
        return
    good, ng = _judged(bundle, material.data / "test")
    threshold = bundle.manifest.threshold
    assert threshold.at_most is not None
    best = np.quantile(good, 1 - PROMISE, method="higher")
    yield Got(
        name,
        len(files),
        seed,
        threshold.rule,
        threshold.at_most,
        odd,
        int((good > threshold.ok).sum()),
        len(good),
        int((ng <= threshold.ok).sum()),
        len(ng),
        int((ng <= best).sum()),
        auroc(np.concatenate([ng, good]), np.arange(len(ng) + len(good)) < len(ng)),
    )


def _judged(bundle: Bundle, test: Path) -> tuple[F64, F64]:
    """Scores of good and of NG test images."""
    pipeline = Pipeline(bundle)
    scores: dict[bool, list[float]] = {True: [], False: []}
    for file, good in _labelled(test):
        verdict = pipeline.judge(Frame(read_pixels(file), 0, 0)).verdict
        assert verdict.score is not None, f"{file}: {verdict.detail}"
        scores[good].append(verdict.score)
    return np.array(scores[True]), np.array(scores[False])


def _lit(bundle: Bundle, test: Path, which: tuple[str, int, int]) -> Iterator[Lit]:
    """The same images under each lamp."""
    pipeline = Pipeline(bundle)
    images = [(read_pixels(file), good) for file, good in _labelled(test)]
    for lamp, ends in LAMPS.items():
        ok = {True: 0, False: 0}
        for pixels, is_good in images:
            light = np.linspace(*ends, pixels.shape[1])
            seen = np.clip(np.rint(pixels * light), 0, 255).astype(np.uint8)
            verdict = pipeline.judge(Frame(seen, 0, 0)).verdict
            ok[is_good] += verdict.outcome is Outcome.OK
        good = sum(is_good for _, is_good in images)
        yield Lit(*which, lamp, good - ok[True], good, ok[False], len(images) - good)


def _labelled(test: Path) -> Iterator[tuple[Path, bool]]:
    """Test images, and whether each is good."""
    for place in sorted(test.iterdir()):
        for file in list_images(place):
            yield file, place.name == "good"


def _drawn(files: list[Path], group: str | None, count: int, seed: int) -> list[Path]:
    """So many files, part after part in an order drawn by the seed."""
    parts: dict[str, list[Path]] = {}
    for file in files:
        found: Any = re.search(group, file.name) if group else None
        parts.setdefault(found.group(0) if found else file.name, []).append(file)
    order = np.random.default_rng(seed).permutation(len(parts))
    mine = [file for number in order for file in list(parts.values())[number]]
    return sorted(mine[:count])


if __name__ == "__main__":
    main()
