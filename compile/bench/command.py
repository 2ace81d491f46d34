"""edge-compile bench: a grid of methods, backbones, seeds and data sets into one table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kenpin.compile.bench.grid import load_grid
from kenpin.compile.bench.results import UNEXPECTED
from kenpin.compile.bench.run import bench
from kenpin.compile.bench.track import tracker_of
from kenpin.config.exits import Exit
from kenpin.config.output import folder_to_write
from kenpin.processes.cluster import maybe_cluster

__all__ = ["run_bench"]


def run_bench(options: argparse.Namespace) -> int:
    """The command; returns its exit code."""
    grid_file: Path = options.grid
    grid = load_grid(grid_file)
    trackers = {asked: tracker_of(asked) for asked in options.track}
    folder_to_write(options.output)
    with maybe_cluster(options.dask) as cluster:
        results = bench(grid, options.output, _say, trackers, grid_file.stem, cluster)
    refused = sum(bool(result.why) for result in results)
    if refused:
        _say(f"{refused} of {len(results)} cells were refused: see why in bench.csv")
    sys.stdout.write(f"{options.output / 'bench.html'}\n")
    broken = sum(result.why.startswith(UNEXPECTED) for result in results)
    if broken:
        _say(f"{broken} of them ended in a defect of kenpin: report it, with what stands above")
    return Exit.UNEXPECTED if broken else Exit.DONE


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
