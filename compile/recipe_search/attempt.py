"""One recipe tried: compiled, judged on good images without their own part, and timed."""

from __future__ import annotations

import io
import json
import math
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from rich.console import Console

from kenpin.camera.files.listing import name_in
from kenpin.compile.build import build
from kenpin.compile.evaluation.trade import ShareFound
from kenpin.compile.good_images.images import file_kept, learned_from, load, named_in
from kenpin.compile.networks.guard import QuantizationError
from kenpin.compile.networks.lowest import ProcessorError
from kenpin.compile.progress import Steps
from kenpin.compile.reporting.build_report import BuildResult
from kenpin.compile.reporting.speed import measure_speed
from kenpin.config.errors import ConfigError
from kenpin.config.recipe import Recipe
from kenpin.processes.cluster import Workers
from kenpin.runtime.bundles.bundle import read_bundle
from kenpin.runtime.bundles.manifest import BundleError, Manifest
from kenpin.runtime.bundles.operating_point import operating_point
from kenpin.runtime.tune import candidates, choose, measure, write_tuning

__all__ = ["REFUSALS", "WEB_LINES", "Attempt", "Found", "OutOfTimeError", "attempted", "few"]

# Of a web's frame, where nobody says how many it has.
WEB_LINES = 1024
# At first glance: one image of so many, and no fewer than so many in all.
EVERY, FEWEST = 4, 24
QUICK_TWINS, QUICK_TILES, QUICK_S = 2, 64, 0.5
# Rounds in which numbers of streams are compared.
STREAM_ROUNDS = 8
# A recipe that cannot be compiled is one more answer of a search, not its end.
REFUSALS = (ConfigError, QuantizationError, ProcessorError, BundleError)


class OutOfTimeError(Exception):
    """A recipe takes longer to compile than a search may spend on one."""


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a recipe.

    share, low, high  of the twins that lie over threshold, and its 95 % confidence
    ng        the same share of the images in `images.ng`; None without any
    ms        a frame's median time here, or what it comes to on the box
    seconds   that it took to find out
    bundle    the name of the bundle's folder
    streams   inferences side by side, that were the fastest here
    """

    share: float
    low: float
    high: float
    ng: float | None
    ms: float
    seconds: float
    bundle: str
    streams: int = 1

    @property
    def separation(self) -> float:
        """What is made as large as may be: of drawn defects, and of real ones as much."""
        return self.share if self.ng is None else (self.share + self.ng) / 2


@dataclass(frozen=True, slots=True)
class Attempt:
    """How recipes are tried.

    store    where bundles are kept
    rate     so many good images may be rejected
    lines    of a web's frame, whose time counts
    slower   how many times as long as here the box takes: its network, its arithmetic
    boxed    what was measured on the box, as its file says it; empty: this machine counts
    most_s   that one recipe may take, at first glance and as a whole
    cluster  whose workers take a part of each build; frames are timed here
    """

    store: Path
    rate: float
    lines: int
    slower: tuple[float, float] = (1.0, 1.0)
    boxed: str = ""
    most_s: float = math.inf
    cluster: Workers | None = None

    def quick(self, recipe: Recipe) -> Found:
        """With few images, few twins and a small bank; nothing is kept.

        Raises
        ------
        REFUSALS
            If the recipe cannot be compiled.
        OutOfTimeError
            If that takes longer than `most_s`.
        """
        with tempfile.TemporaryDirectory(dir=self.store) as folder:
            return self._tried(few(recipe), Path(folder), lowest=False)

    def whole(self, recipe: Recipe) -> Found:
        """As `edge-compile build` makes it, its golden frames under the lowest instruction set
        included; the bundle is kept, with its fastest streams beside it.

        Raises
        ------
        REFUSALS, OutOfTimeError
            As `quick`.
        """
        found = self._tried(recipe, self.store, lowest=True)
        return found if self.boxed else self._streamed(found, recipe)

    def _streamed(self, found: Found, recipe: Recipe) -> Found:
        """With the number of streams that is clearly faster than one, where there is one."""
        bundle = read_bundle(self.store / found.bundle)
        tuning = choose(measure(bundle, candidates(bundle, (), "CPU", None), STREAM_ROUNDS))
        if tuning.streams == 1:
            return found
        write_tuning(bundle.folder, tuning)

        def own(file: Path) -> NDArray[Any]:
            return load(file, recipe.frame, recipe.images.turn_deg)

        files = learned_from(recipe.images)
        speed = measure_speed(bundle, files, own, recipe.report.speed_s)
        ms = 1e3 * self.lines / speed.lines_per_s if recipe.web else speed.median_ms
        return replace(found, ms=round(ms, 3), streams=tuning.streams)

    def _tried(self, recipe: Recipe, store: Path, *, lowest: bool) -> Found:
        begun = time.monotonic()

        def watch() -> None:
            if time.monotonic() > begun + self.most_s:
                raise OutOfTimeError(f"not compiled within {self.most_s:.0f} s")

        with Steps(Console(file=io.StringIO()), watch) as steps:
            result = build(recipe, store, steps, lowest=lowest, cluster=self.cluster)
        twins, ng = attempted(result.bundle.manifest, self.rate)
        ms = self._frame_ms(result)
        return Found(
            round(twins.share, 4), round(twins.low, 4), round(twins.high, 4), ng, round(ms, 3),
            round(time.monotonic() - begun, 1), result.bundle.folder.name,
        )  # fmt: skip

    def _frame_ms(self, result: BuildResult) -> float:
        """A frame's median time; on a box each kind of work takes so many times as long."""
        speed = json.loads(result.report_file.read_text(encoding="utf-8"))["speed"]
        network, arithmetic = self.slower
        if result.bundle.manifest.web is not None:
            # A web's steps are timed as one.
            return 1e3 * self.lines / float(speed["lines_per_s"]) * max(network, arithmetic)
        infer = min(float(speed["stages_ms"].get("infer", 0.0)), float(speed["median_ms"]))
        return infer * network + (float(speed["median_ms"]) - infer) * arithmetic

    def forget(self, bundle: str) -> None:
        """Remove a bundle, and what lies beside it."""
        for path in self.store.glob(f"{bundle}*"):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def attempted(manifest: Manifest, rate: float) -> tuple[ShareFound, float | None]:
    """How many twins, and what share of NG images, are found at a rate of false rejects.

    As in the operating table: good images that stand out set no threshold.

    Raises
    ------
    ConfigError
        If no twins were drawn.
    """
    typical = [one for one in manifest.good_scores if not one.odd]
    point = operating_point([one.score for one in typical], [one.part for one in typical], rate)
    scores = [score for twin in manifest.twin_scores for score in twin.scores]
    if not scores:
        raise ConfigError(
            "report.twins_each is 0, so there is nothing to find; a search needs at least 1"
        )
    ng = list(manifest.ng_scores.values())
    share = ShareFound.of(ng, point.threshold).share if ng else None
    return ShareFound.of(scores, point.threshold), share


def few(recipe: Recipe) -> Recipe:
    """A recipe of which a first glance is cheap: less of everything that takes time."""
    spec = recipe.images
    files = learned_from(spec)
    every = max(1, min(EVERY, len(files) // FEWEST))
    # Blocks of one web follow each other: with every other one missing they would join at seams.
    chosen = files[: -(-len(files) // every)] if spec.joined else files[::every]
    kept = set(chosen)
    left_out = [name_in(spec.good, file) for file in files if file not in kept]
    return recipe.model_copy(
        update={
            "images": spec.model_copy(
                update={
                    "exclude": (*spec.exclude, *left_out),
                    "keep": tuple(
                        name for name in spec.keep if named_in(file_kept(name), chosen, spec.good)
                    ),
                }
            ),
            "method": recipe.method.at_a_glance(),
            "quantize": recipe.quantize.model_copy(
                update={"calibration_tiles": QUICK_TILES, "guard_tiles": QUICK_TILES // 4}
            ),
            "report": recipe.report.model_copy(
                update={"twins_each": QUICK_TWINS, "speed_s": QUICK_S}
            ),
        }
    )
