"""How many scan lines a second a box holds: frames timed one by one, then let queue up."""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from kenpin.camera.frame import Frame
from kenpin.config.arguments import add_line_threads, not_negative, positive, whole
from kenpin.config.console import plain_console
from kenpin.config.errors import ConfigError
from kenpin.config.exits import Exit
from kenpin.processes.memory import keep_what_is_loaded
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.bundles.manifest import BundleError
from kenpin.runtime.judging.cores import line_threads
from kenpin.runtime.judging.fitting import at_depth
from kenpin.runtime.judging.network import Execution
from kenpin.runtime.judging.tiling import TileGrid, reflect
from kenpin.runtime.judging.verdict import Reason, Verdict
from kenpin.runtime.selftest import golden_pixels, open_tested
from kenpin.runtime.stretched import stretched
from kenpin.runtime.web.pipeline import open_pipeline

__all__ = [
    "HEAD",
    "Pace",
    "add_rate",
    "cells",
    "fastest",
    "measure",
    "time_frames",
    "went_all_the_way",
]

F64 = NDArray[np.float64]

WIDTHS = (2048, 4096, 8192)
SHARE = 99.9
# Fewer frames have no 99.9th percentile; the slowest one counts instead.
ENOUGH = 1000
WARM_UP = 5
LEAST_FRAMES = 20
STEPS = 40


@dataclass(frozen=True, slots=True)
class Pace:
    """What frames of one width cost, and the lines a second that follow.

    lines     of a frame
    tiles     of a frame
    spent_ms  each frame's time, in the order they came
    lines_hz  the highest rate at which the slowest thousandth is answered in time
    """

    width_px: int
    lines: int
    tiles: int
    spent_ms: F64
    lines_hz: float

    @property
    def megapixels_s(self) -> float:
        """Million pixels a second at `lines_hz`."""
        return self.lines_hz * self.width_px / 1e6

    @property
    def slowest_ms(self) -> float:
        """The 99.9th percentile of a frame's time, or the slowest of fewer than ENOUGH."""
        return slowest(self.spent_ms)


def slowest(ms: F64) -> float:
    """The 99.9th percentile, or the largest of fewer than ENOUGH."""
    return float(np.percentile(ms, SHARE) if len(ms) >= ENOUGH else ms.max())


def waited(spent_ms: F64, every_ms: float) -> F64:
    """(N,) each frame's time from its last line to its verdict, where one comes every so often.

    A frame waits until those before it are done: Lindley's recursion
    w(n+1) = max(0, w(n) + s(n) - T), written as sums less their minimum so far.
    """
    late = np.concatenate([[0.0], np.cumsum(spent_ms[:-1] - every_ms)])
    return late - np.minimum.accumulate(late) + spent_ms


def fastest(spent_ms: F64, lines: int, budget_ms: float) -> float:
    """The highest lines a second at which frames of so many lines hold the budget; 0 if none.

    Held is a rate whose frames take less time on average than they are apart, and of which
    the slowest thousandth (`slowest`) is answered within the budget.
    """
    if slowest(spent_ms) > budget_ms:
        return 0.0
    # Frames can come no faster than they are done.
    low, high = float(spent_ms.mean()), float(spent_ms.max())
    for _ in range(STEPS):
        every = (low + high) / 2
        if slowest(waited(spent_ms, every)) <= budget_ms:
            high = every
        else:
            low = every
    return lines / high * 1e3


def went_all_the_way(verdict: Verdict) -> bool:
    """Whether a frame was judged: a refusal takes next to no time, and says nothing of speed."""
    return verdict.score is not None and verdict.reason is not Reason.MODEL_ERROR


def time_frames(bundle: Bundle, lines: int, seconds: float, threads: int | None) -> F64:
    """(N,) milliseconds of frames that come one after the other; see `measure`."""
    pipeline = open_pipeline(bundle, execution=Execution(threads=threads))
    pixels = _pixels(bundle, lines)
    spent: list[float] = []
    with _settled():
        end = time.monotonic() + seconds
        number = 0
        while number < WARM_UP + LEAST_FRAMES or time.monotonic() < end:
            frame = Frame(pixels, time.monotonic_ns(), number)
            begun = time.perf_counter()
            verdict = pipeline.judge(frame).verdict
            took_ms = (time.perf_counter() - begun) * 1e3
            if not went_all_the_way(verdict):
                raise BundleError(
                    f"{bundle.folder}: its golden frame cannot be timed, it was not judged "
                    f"({verdict.reason}: {verdict.detail}); try other --widths, or of a web --lines"
                )
            if number >= WARM_UP:
                spent.append(took_ms)
            number += 1
    return np.array(spent)


def measure(
    bundle: Bundle,
    widths: Sequence[int],
    budget_ms: float,
    *,
    lines: int | None = None,
    seconds: float = 20.0,
    threads: int | None = None,
) -> Iterator[Pace]:
    """The pace at each width; what `edge-run` adds to a verdict's way is not in it.

    Parameters
    ----------
    lines
        Of a frame, on webs: parts have their own. None: one tile row.
    seconds
        Frames are timed for so long at each width, at least LEAST_FRAMES of them.

    Raises
    ------
    BundleError
        If the bundle cannot be opened at a width, or does not judge its golden frame there.
    """
    m = bundle.manifest
    height = m.frame.height_px or lines or m.tiles.step_px
    for width_px in widths:
        wide = stretched(bundle, width_px)
        spent = time_frames(wide, height, seconds, threads)
        tiles = len(TileGrid.of(wide.manifest.frame, m.tiles))
        if m.frame.geometry == "continuous":
            tiles = round(tiles * height / m.tiles.step_px)
        yield Pace(width_px, height, tiles, spent, fastest(spent, height, budget_ms))


def cells(pace: Pace) -> tuple[str, ...]:
    """A row of the table."""
    p50, p99 = np.percentile(pace.spent_ms, [50, 99])
    return (
        f"{pace.width_px}",
        f"{pace.lines}",
        f"{pace.tiles}",
        f"{p50:.1f}",
        f"{p99:.1f}",
        f"{pace.slowest_ms:.1f}",
        f"{len(pace.spent_ms)}",
        f"{pace.lines_hz:,.0f}" if pace.lines_hz else "none",
        f"{pace.megapixels_s:.1f}",
    )


# Of a table whose rows `cells` makes.
HEAD = ("px", "lines", "tiles", "p50 ms", "p99 ms", "p99.9 ms", "frames", "lines/s", "MP/s")


@contextmanager
def _settled() -> Iterator[None]:
    """As the inspection of a line runs: no collection in the middle of a frame."""
    keep_what_is_loaded()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def _pixels(bundle: Bundle, lines: int) -> NDArray[Any]:
    """A frame of the bundle's size as a camera gives it: its first golden frame, mirrored on
    and on."""
    frame = bundle.manifest.frame
    seen = golden_pixels(bundle, bundle.manifest.golden[0].file)
    across = reflect(np.arange(frame.width_px), seen.shape[1])
    wide = np.ascontiguousarray(seen[reflect(np.arange(lines), len(seen))][:, across])
    return at_depth(wide, frame)


def add_rate(commands: Any) -> None:
    """Add `rate` to edge-doctor's subcommands."""
    rate = commands.add_parser("rate", help="how many lines a second this box holds with a bundle")
    rate.add_argument("bundle", type=Path, help="its folder, or a store with a `current`")
    rate.add_argument(
        "--budget-ms", type=positive, default=100.0, help="to a verdict; default: 100"
    )
    rate.add_argument(
        "--widths",
        type=whole,
        nargs="+",
        default=WIDTHS,
        metavar="PX",
        help="of frames, to try; default: " + " ".join(map(str, WIDTHS)),
    )
    rate.add_argument("--lines", type=whole, help="of a web's frame; default: one tile row")
    rate.add_argument(
        "--seconds", type=not_negative, default=20.0, help="at each width; default: 20"
    )
    add_line_threads(rate)
    rate.set_defaults(action=_rate)


def _rate(options: argparse.Namespace) -> int:
    if min(options.widths) < 16 or (options.lines or 16) < 16:
        raise ConfigError("--widths and --lines: expected 16 or more")
    bundle = read_bundle(options.bundle)
    threads = line_threads(options.threads)
    # A box that computes other scores has no use for a rate.
    open_tested(bundle, execution=Execution(threads=threads))
    own = bundle.manifest.frame.width_px
    out = plain_console()
    title = f"{bundle.label}, {threads} threads, verdicts within {options.budget_ms:g} ms"
    table = Table(*HEAD, title=title)
    for pace in measure(
        bundle,
        sorted({own, *options.widths}),
        options.budget_ms,
        lines=options.lines,
        seconds=options.seconds,
        threads=threads,
    ):
        table.add_row(*cells(pace))
    out.print(table)
    sys.stdout.write(
        f"p99.9 of fewer than {ENOUGH} frames is the slowest. edge-run adds a verdict's way "
        "through its processes, and whatever else the box does.\n"
    )
    return Exit.DONE
