"""A replay by more and more worker processes of this machine: frames a second, and what they cost.

    quiet python benchmarks/cluster.py BUNDLE FRAMES --workers 1 2 --repeat 20

Each number of workers gets a cluster of its own, each worker one thread. The clock runs from the
second piece on: what a worker needs to open the bundle counts once, not for each frame. How many
workers one command keeps busy is what a frame takes in the workers over what it takes here.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distributed import Client, LocalCluster
from edge_run import machine

from kenpin.camera.files.image_source import ImageSource
from kenpin.camera.files.listing import list_images
from kenpin.processes.cluster import Workers
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.spread import replayed


@dataclass(frozen=True)
class Pace:
    """Of a replay, once every worker has opened the bundle.

    rate       frames a second
    there, here
               milliseconds of a core for each frame: of the workers, and of the command with the
               scheduler in it
    """

    rate: float
    there: float
    here: float


def paced(bundle: Bundle, files: list[Path], workers: int, size: int) -> Pace:
    """A replay in pieces of that many frames."""
    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as local,
        Client(local) as client,
    ):
        results = replayed(Workers(client), bundle, ImageSource(files).cuts(size), pictures=False)
        warm = 2 * workers * size
        for _ in range(warm):
            next(results)
        begun, there, here = time.perf_counter(), _at_work(client), time.process_time()
        judged = sum(1 for _ in results)
        spent = time.perf_counter() - begun
        each = 1000 / judged
        there, here = _at_work(client) - there, time.process_time() - here
        return Pace(judged / spent, each * there, each * here)


def _at_work(client: Client) -> float:
    """Seconds of a core that all workers took so far."""
    return sum(client.run(time.process_time).values())


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("frames", type=Path)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeat", type=int, default=10, help="each frame so often")
    parser.add_argument("--piece", type=int, default=16)
    options = parser.parse_args(argv)
    bundle, files = read_bundle(options.bundle), list_images(options.frames) * options.repeat
    print(f"{machine()}\n{bundle.label}, {len(files)} frames")
    alone = 0.0
    for workers in options.workers:
        pace = paced(bundle, files, workers, options.piece)
        alone = alone or pace.rate
        print(
            f"{workers} workers: {pace.rate:7.1f} frames/s, {pace.rate / alone:.2f} x; of a core "
            f"{pace.there:.2f} ms a frame in the workers, {pace.here:.3f} ms here",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
