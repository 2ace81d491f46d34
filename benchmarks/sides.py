"""What archive and status page cost a line's verdicts, at work and while they stand still.

    python benchmarks/sides.py --frames 300

The same line four times, in turn and twice over: alone, with both sides at work on
every frame, with both stopped by SIGSTOP, and with the archive killed once a second.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from edge_run import RunningLine, Workshop, line_toml, machine, percentiles, table

CAMERA = 'kind = "synthetic", height_px = 128, width_px = 320, seed = 3, rate_hz = 25'
SIDES = ("kenpin-archive", "kenpin-status")


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=300, help="of each kind and round")
    options = parser.parse_args()
    spent: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = Workshop.open(folder / "workshop").build(folder / "bundles").bundle
        for _ in range(2):
            for kind in ("alone", "at work", "stopped", "killed"):
                spent[kind] += latencies_ms(folder, bundle.folder, kind, options.frames)
    rows = {kind: percentiles(values) for kind, values in spent.items()}
    print(f"last scan line to verdict, {2 * options.frames} frames each, {machine()}")
    print(table(rows, "ms"))
    return 0


def latencies_ms(folder: Path, bundle: Path, kind: str, frames: int) -> list[float]:
    """The line's own times, of as many verdicts."""
    tables = {"trigger": 'mode = "free", budget_ms = 500', "camera": CAMERA}
    if kind != "alone":
        (folder / "archive").mkdir(exist_ok=True)
        tables["archive"] = f'folder = "{folder}/archive", ok_every = 1, min_free_bytes = 0'
        tables["status"] = "port = 0"
    with RunningLine(line_toml(folder, bundle, **tables)) as line:
        line.state("operational.continuous")
        line.listen(1.0)
        if kind == "stopped":
            for side in SIDES:
                os.kill(line.child(side), signal.SIGSTOP)
        first, struck = len(line.verdicts), time.monotonic()
        while len(line.verdicts) < first + frames:
            line.verdict()
            if kind == "killed" and time.monotonic() - struck > 1:
                struck = time.monotonic()
                os.kill(line.child(SIDES[0]), signal.SIGKILL)
        return [m["lat_us"]["total"] / 1e3 for m in line.verdicts[first:]]


if __name__ == "__main__":
    sys.exit(main())
