"""What a drifting lamp, focus, lens and material are called, and when; and false alarms.

    python benchmarks/drift.py --seeds 1 2 3 4 5
    python benchmarks/drift.py --seeds 1 2 3 4 5 --sudden
    python benchmarks/drift.py --good 10000
    python benchmarks/drift.py --pixels 1 2 3 4 5 --good 10000

For each seed a small bundle is compiled from good frames of a synthetic web (40 of 128 x 320 px)
and 10,000 further frames of the same web are judged while something gets worse: a lamp that fades
and one that is turned up, a blur that grows, streaks that darken, and from one frame to the next
another material: the same yarn woven coarser, finer, and turned by a right angle. Asked is which
cause is named first, and whether the false rejects had doubled by then: 200 frames are judged at
the severity of that moment. False rejects are few, so it is also told how many of them lie above
the score that 5 % of untouched frames lie above: 10 % would be doubled. --sudden asks only what is
named, where each change comes at once at 40 % of its worst. --good judges so many frames to which
nothing happens, and times the looking. --pixels does without a network, which light, focus and
dirt do not need.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from edge_run import RECIPE, machine
from numpy.typing import NDArray

import kenpin
from kenpin.camera.frame import Frame
from kenpin.camera.synthetic import SyntheticWeb, write_dataset
from kenpin.compile.drift import independent
from kenpin.config.drift import DriftSpec
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.drift.look import QUANTITIES, look_at
from kenpin.runtime.drift.material import Material
from kenpin.runtime.drift.reference import COLUMNS, MATERIAL, Reference
from kenpin.runtime.drift.watch import DriftWatch
from kenpin.runtime.judging.network import Execution
from kenpin.runtime.judging.verdict import Outcome, Verdict
from kenpin.runtime.web.pipeline import open_pipeline

U8 = NDArray[np.uint8]
Worse = Callable[[int, float], U8]

HEIGHT, WIDTH, TRAIN = 128, 320, 40
GOOD_SEED = 7
# Frames over which it gets worse, and frames at one severity behind a share of false rejects.
RAMP, STEADY = 10_000, 200
# Of each change, where it comes all at once.
SUDDEN = 0.4


class Watched:
    """A pipeline and who watches it."""

    def __init__(self, bundle: Bundle) -> None:
        reference = Reference.of(bundle)
        assert reference is not None
        self.watch = DriftWatch(reference, DriftSpec(), None)
        self.seconds: list[float] = []
        self._pipeline = open_pipeline(
            bundle,
            execution=Execution(threads=1, overhear=self._timed(self.watch.features)),
            oversee=self._timed(self.watch.pixels),
        )

    def _timed(self, look: Callable[..., None]) -> Callable[..., None]:
        def timed(*what: Any) -> None:
            begun = time.perf_counter()
            look(*what)
            self.seconds.append(time.perf_counter() - begun)

        return timed

    def judge(self, pixels: U8, index: int = 0) -> Verdict:
        """The verdict about a frame, which is looked at."""
        with self.watch.looking():
            return self._pipeline.judge(Frame(pixels, time.monotonic_ns(), index)).verdict


def small_bundle(folder: Path, seed: int) -> Bundle:
    """Compiled from 40 good frames."""
    write_dataset(folder / "data", SyntheticWeb(HEIGHT, WIDTH, seed), train=TRAIN, good=0, each=0)
    recipe = folder / "small.toml"
    recipe.write_text(RECIPE.format(good=folder / "data" / "train" / "good"))
    return kenpin.build(recipe, folder / "store", lowest=False).bundle


def drifts(seed: int) -> Iterator[tuple[str, str, Worse]]:
    """What it is, what it should be called, and frame number k at a severity from 0 to 1."""
    web = SyntheticWeb(HEIGHT, WIDTH, seed)
    rng = np.random.default_rng([seed, 99])
    streaks = [(int(rng.integers(8, WIDTH - 16)), int(rng.integers(2, 7))) for _ in range(3)]

    def frame(k: int) -> U8:
        return web.frame(TRAIN + k).pixels

    def dirty(k: int, severity: float) -> U8:
        pixels = frame(k).astype(np.float32)
        for first, width in streaks:
            pixels[:, first : first + width] *= 1 - severity * 0.6
        return np.rint(pixels).astype(np.uint8)

    yield "lamp fades by 40 %", "lamp", lambda k, s: _gain(frame(k), 1 - 0.4 * s)
    yield "lamp up by 40 %", "lamp", lambda k, s: _gain(frame(k), 1 + 0.4 * s)
    yield "half the lamp fades", "lamp", lambda k, s: _half(frame(k), 0.4 * s)
    yield "blur to 3 px", "focus", lambda k, s: _blurred(frame(k), 3 * s)
    yield "3 streaks to 60 %", "dirt", dirty
    for times, name in ((1.15, "woven coarser"), (0.87, "woven finer")):
        height, width = max(64, round(HEIGHT / times)), max(64, round(WIDTH / times))
        other = SyntheticWeb(height, width, seed)

        def scaled(k: int, _: float, other: SyntheticWeb = other) -> U8:
            pixels = other.frame(TRAIN + k).pixels
            return np.asarray(cv2.resize(pixels, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA))

        yield name, "material", scaled
    turned = SyntheticWeb(WIDTH, max(64, HEIGHT), seed)

    def across(k: int, _: float) -> U8:
        return np.ascontiguousarray(turned.frame(TRAIN + k).pixels.T)

    yield "turned by 90 degrees", "material", across


def _gain(pixels: U8, gain: float) -> U8:
    return np.asarray(cv2.convertScaleAbs(pixels, alpha=gain), np.uint8)


def _half(pixels: U8, less: float) -> U8:
    fade = np.interp(np.arange(WIDTH), [0, WIDTH / 2, WIDTH], [1 - less, 1, 1])
    return np.rint(pixels * fade).astype(np.uint8)


def _blurred(pixels: U8, sigma: float) -> U8:
    if sigma < 0.05:
        return pixels
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.uint8)


def first_alarm(
    bundle: Bundle, worse: Worse, sudden: bool, before: NDArray[np.float64]
) -> dict[str, Any]:
    """What is named first, after how many frames and at which severity.

    `before` are the scores of good frames to which nothing happens.
    """
    strict = float(np.quantile(before, 0.95))
    watched = Watched(bundle)
    alarm: dict[str, Any] = {"named": None}
    for k in range(RAMP):
        severity = 1.0 if sudden else k / RAMP
        watched.judge(worse(k, severity), k)
        standing = watched.watch.standing()
        if standing.cause is not None:
            then = scores(bundle, worse, severity)
            alarm = {
                "named": standing.cause.value,
                "detail": standing.detail,
                "frames": k + 1,
                "severity": severity,
                "rejected": float((then > 1).mean()),
                "rejected_before": float((before > 1).mean()),
                "above_95": float((then > strict).mean()),
            }
            break
    # Another may join later; which one is named when all is as bad as it gets?
    for k in range(RAMP, RAMP + 2 * DriftSpec().window):
        watched.judge(worse(k, 1.0), k)
    last = watched.watch.standing().cause
    return {**alarm, "named_at_last": last and last.value}


def scores(bundle: Bundle, worse: Worse, severity: float) -> NDArray[np.float64]:
    """Of good frames at one severity, over the threshold; infinite where they were refused."""
    watched = Watched(bundle)
    verdicts = [watched.judge(worse(2 * RAMP + k, severity), k) for k in range(STEADY)]
    limit = bundle.manifest.threshold.ok
    return np.array([np.inf if v.score is None else v.score / limit for v in verdicts])


def by_cause(seeds: list[int]) -> None:
    """The table."""
    rows: dict[str, list[dict[str, Any]]] = {}
    wanted: dict[str, str] = {}
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            bundle = small_bundle(Path(folder), seed)
            plain = SyntheticWeb(HEIGHT, WIDTH, seed)

            def untouched(k: int, _: float, plain: SyntheticWeb = plain) -> U8:
                return plain.frame(TRAIN + k).pixels

            before = scores(bundle, untouched, 0)
            for name, cause, worse in drifts(seed):
                found = first_alarm(bundle, worse, cause == "material", before)
                wanted[name] = cause
                rows.setdefault(name, []).append({**found, "seed": seed})
                print(json.dumps({"drift": name, "should": cause, **rows[name][-1]}), flush=True)
    for name, found in rows.items():
        named = Counter(str(one["named"]) for one in found)
        last = Counter(str(one["named_at_last"]) for one in found)
        alarms = [one for one in found if one["named"]]
        middle = {
            key: float(np.median([one[key] for one in alarms])) if alarms else None
            for key in ("frames", "severity", "rejected", "rejected_before", "above_95")
        }
        print(name, "->", wanted[name], dict(named), "at last", dict(last), middle)


def named(seeds: list[int]) -> None:
    """What is named where everything is at once as bad as it gets, and after how many frames."""
    rows: dict[str, list[str]] = {}
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            bundle = small_bundle(Path(folder), seed)
            for name, cause, worse in drifts(seed):
                watched = Watched(bundle)
                named: list[str] = []
                for k in range(2 * DriftSpec().window):
                    watched.judge(worse(k, SUDDEN), k)
                    now = watched.watch.standing().cause
                    if now is not None and (not named or not named[-1].startswith(now.value)):
                        named.append(f"{now.value} after {k + 1}")
                rows.setdefault(f"{name} -> {cause}", []).append(", ".join(named) or "nothing")
                print(seed, name, "->", cause, ":", rows[f"{name} -> {cause}"][-1], flush=True)
    for name, found in rows.items():
        right = sum(one.split(", ")[-1].startswith(name.rpartition(" ")[2]) for one in found)
        print(f"{name}: {right} of {len(found)}")


def by_pixels(seed: int, good: int) -> None:
    """When lamp, focus and dirt are named, and how many of the good frames are an alarm."""
    web = SyntheticWeb(HEIGHT, WIDTH, seed)
    reference = looked_at([web.frame(k).pixels for k in range(TRAIN)])
    for name, cause, worse in drifts(seed):
        if cause == "material":
            continue
        watch = DriftWatch(reference, DriftSpec(), None)
        named = None
        for k in range(RAMP):
            with watch.looking():
                watch.pixels(worse(k, k / RAMP))
            if named := watch.standing().cause:
                break
        at = f"{named.value} at {k / RAMP:.1%} of the worst" if named else "nothing"
        print(f"{seed} {name}: {at}", flush=True)
    watch = DriftWatch(reference, DriftSpec(), None)
    alarms: Counter[str] = Counter()
    for k in range(good):
        with watch.looking():
            watch.pixels(web.frame(TRAIN + k).pixels)
        alarms[str(watch.standing().cause)] += 1
    print(f"{seed} {good} good frames: {dict(alarms)}", flush=True)


def looked_at(good: list[U8]) -> Reference:
    """What `edge-compile build` notes of pictures; of features, nothing that is ever asked."""
    looks = [look_at(pixels) for pixels in good]
    values = np.array([look.values for look in looks])
    columns = np.array([look.columns for look in looks])
    nothing = np.random.default_rng(0).normal(size=(len(good), 4)).astype(np.float32)
    series = {**dict(zip(QUANTITIES, values.T, strict=True)), COLUMNS: columns.T}
    return Reference(
        values.min(axis=0),
        np.median(values, axis=0),
        values.max(axis=0),
        np.array([columns.min(axis=0), columns.max(axis=0)]),
        Material.fitted(nothing, nothing[:1]),
        np.inf,
        {**{name: independent(found) for name, found in series.items()}, MATERIAL: 1.0},
    )


def false_alarms(frames: int) -> None:
    """Frames of a simulated line to which nothing happens."""
    with tempfile.TemporaryDirectory() as folder:
        web = SyntheticWeb(HEIGHT, WIDTH, GOOD_SEED)
        watched = Watched(small_bundle(Path(folder), GOOD_SEED))
        alarms: Counter[str] = Counter()
        highest: dict[str, float] = {}
        judged: list[float] = []
        rejects = 0
        for k in range(frames):
            pixels = web.frame(TRAIN + k).pixels
            begun = time.perf_counter()
            rejects += watched.judge(pixels, k).outcome is not Outcome.OK
            judged.append(time.perf_counter() - begun)
            standing = watched.watch.standing()
            alarms[str(standing.cause)] += 1
            if k >= DriftSpec().window:
                for cause, share in standing.shares.items():
                    highest[cause] = max(highest.get(cause, 0.0), share)
            if k % 1000 == 999:
                print(k + 1, dict(alarms), rejects, highest, flush=True)
        looking = np.array(watched.seconds).reshape(frames, -1).sum(axis=1)
        print(f"{frames} good frames: {dict(alarms)}; {rejects} rejected")
        print(f"highest share outside: {dict(highest)}")
        print(
            f"looking: median {1e3 * np.median(looking):.3f} ms, p99 "
            f"{1e3 * np.quantile(looking, 0.99):.3f} ms, of "
            f"{1e3 * np.median(judged):.2f} ms a frame"
        )


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[])
    parser.add_argument("--sudden", action="store_true")
    parser.add_argument("--good", type=int, default=0)
    parser.add_argument("--pixels", type=int, nargs="*", default=[])
    asked = parser.parse_args()
    print(machine())
    cv2.setNumThreads(1)
    for seed in asked.pixels:
        by_pixels(seed, asked.good)
    if asked.pixels:
        return 0
    if asked.seeds and asked.sudden:
        named(asked.seeds)
    elif asked.seeds:
        by_cause(asked.seeds)
    if asked.good:
        false_alarms(asked.good)
    return 0


if __name__ == "__main__":
    sys.exit(main())
