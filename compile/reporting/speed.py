"""How fast a bundle judges on this machine, and the line rate that this holds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.camera.frame import Frame
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.web.pipeline import WebPipeline, open_pipeline

__all__ = ["Speed", "measure_speed"]

# A few frames, over and over: the scores are not looked at, only the time.
FRAMES = 4
FEWEST, MOST = 5, 200
# A frame of a web may have any height: so many tile rows.
WEB_ROWS = 4


@dataclass(frozen=True, slots=True)
class Speed:
    """Times from a whole frame in memory to its verdict.

    frames      that were judged
    median_ms, p99_ms
    lines_per_s, lines_per_s_p99
                scan lines a second that the median, and the slowest hundredth, keep up with
    megapixels_per_s  at the median
    stages_ms   the median of each stage
    cores       that this machine lends to the process
    """

    frames: int
    median_ms: float
    p99_ms: float
    lines_per_s: float
    lines_per_s_p99: float
    megapixels_per_s: float
    stages_ms: dict[str, float]
    cores: int

    def tree(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "frames": self.frames,
            "median_ms": self.median_ms,
            "p99_ms": self.p99_ms,
            "lines_per_s": self.lines_per_s,
            "lines_per_s_p99": self.lines_per_s_p99,
            "megapixels_per_s": self.megapixels_per_s,
            "stages_ms": self.stages_ms,
            "cores": self.cores,
        }


def measure_speed(
    bundle: Bundle, files: Sequence[Path], load: Callable[[Path], NDArray[Any]], seconds: float
) -> Speed:
    """Judge some good frames for about that long, through the pipeline of the box.

    Frames are brought to the frame's size before the clock starts, as a camera gives them.
    """
    pipeline = open_pipeline(bundle)
    spec, tiles = bundle.manifest.frame, bundle.manifest.tiles
    lines_each = spec.height_px or WEB_ROWS * tiles.step_px
    blocks = [load(file)[:lines_each] for file in files[:FRAMES]]
    times: list[float] = []
    stages: list[Mapping[str, int]] = []
    lines: list[int] = []

    def judge(number: int) -> None:
        pixels = blocks[number % len(blocks)].copy()
        frame = Frame(pixels, time.monotonic_ns(), number)
        begun = time.perf_counter()
        if isinstance(pipeline, WebPipeline):
            judged = pipeline.judge(frame)
        else:
            judged = pipeline.judge_single(frame, ready=True)
        times.append(time.perf_counter() - begun)
        stages.append(judged.verdict.stages_us)
        lines.append(len(pixels))

    judge(0)
    for values in (times, stages, lines):
        values.clear()
    end = time.perf_counter() + seconds
    while len(times) < FEWEST or (len(times) < MOST and time.perf_counter() < end):
        judge(len(times) + 1)
    height = float(np.mean(lines))
    median, p99 = (float(np.quantile(times, q)) for q in (0.5, 0.99))
    return Speed(
        frames=len(times),
        median_ms=1000 * median,
        p99_ms=1000 * p99,
        lines_per_s=height / median,
        lines_per_s_p99=height / p99,
        megapixels_per_s=height * spec.width_px / median / 1e6,
        stages_ms={
            name: float(np.median([one.get(name, 0) for one in stages])) / 1000
            for name in stages[0]
            if name != "total"
        },
        cores=len(os.sched_getaffinity(0)),
    )
