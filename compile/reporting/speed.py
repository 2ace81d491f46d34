"""How fast a bundle judges on this machine, and the line rate that this holds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.camera.frame import Frame
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.manifest import BundleError
from kenpin.runtime.judging.fitting import at_depth
from kenpin.runtime.judging.pipeline import Pipeline
from kenpin.runtime.rate import went_all_the_way
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


class _Timed:
    """Frames through a pipeline, one after the other: what each took that was judged.

    spent    seconds
    stages   microseconds by stage
    lines    how many it had
    refused  why the last one was refused
    """

    def __init__(self, pipeline: Pipeline | WebPipeline) -> None:
        self._pipeline = pipeline
        self._numbers = count()
        self.refused = ""
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.spent: list[float] = []
        self.stages: list[Mapping[str, int]] = []
        self.lines: list[int] = []

    def judge(self, pixels: NDArray[Any]) -> bool:
        """Whether it was judged, and not refused."""
        frame = Frame(pixels.copy(), time.monotonic_ns(), next(self._numbers))
        begun = time.perf_counter()
        verdict = self._pipeline.judge(frame).verdict
        spent = time.perf_counter() - begun
        if not went_all_the_way(verdict):
            self.refused = f"{verdict.reason}: {verdict.detail}"
            return False
        self.spent.append(spent)
        self.stages.append(verdict.stages_us)
        self.lines.append(len(pixels))
        return True


def measure_speed(
    bundle: Bundle, files: Sequence[Path], load: Callable[[Path], NDArray[Any]], seconds: float
) -> Speed:
    """Judge some good frames for about that long, through the pipeline of the box.

    Frames are brought to the frame's size before the clock starts, as a camera gives them.
    Those that are refused, for their brightness for one, are not timed.

    Raises
    ------
    BundleError
        If none is judged.
    """
    spec, tiles = bundle.manifest.frame, bundle.manifest.tiles
    lines_each = spec.height_px or WEB_ROWS * tiles.step_px
    timed = _Timed(open_pipeline(bundle))
    loaded = (at_depth(load(file)[:lines_each], spec) for file in files)
    blocks = list(islice(filter(timed.judge, loaded), FRAMES))
    # Those were to warm up.
    timed.forget()
    end = time.perf_counter() + seconds
    for number in range(MOST if blocks else 0):
        if number >= FEWEST and time.perf_counter() >= end:
            break
        timed.judge(blocks[number % len(blocks)])
    if not timed.spent:
        raise BundleError(
            f"{bundle.folder}: judges none of {len(files)} good images, so nobody knows how fast "
            f"it is ({timed.refused}); look at them, and compile it again"
        )
    times, stages = timed.spent, timed.stages
    height = float(np.mean(timed.lines))
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
