"""Memory over time: a line at work for minutes, the resident memory of all its processes.

    python benchmarks/soak.py --minutes 10

The slope is Theil and Sen's, the median of the slopes between all pairs of
samples, after a warm-up: no single sample can bend it. Exit code 1 if a process
grows by more than `--limit-kib-min`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from edge_run import EDGE_RUN, RunningLine, Workshop, line_toml, machine

EVERY_S = 3.0
# Of fewer samples no slope is told.
FEWEST = 5


def theil_sen(points: list[tuple[float, float]]) -> float:
    """The median of the slopes between all pairs."""
    pairs = itertools.combinations(points, 2)
    return statistics.median((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in pairs)


def resident_kib(pid: int) -> tuple[str, int]:
    """A process's name and its own resident memory: shared frames are not its growth."""
    status = dict(
        line.split(":", 1)
        for line in (Path("/proc") / str(pid) / "status").read_text().splitlines()
        if ":" in line
    )
    return status["Name"].strip(), int(status["RssAnon"].split()[0])


def main() -> int:
    """Print a line for each process; write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate-hz", type=float, default=40.0)
    parser.add_argument("--warm-up-s", type=float, default=60.0)
    parser.add_argument("--limit-kib-min", type=float, default=50.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        samples, verdicts, log = watch(Path(folder), options)
    brief = {name: points for name, points in samples.items() if len(points) < FEWEST}
    for name in brief:
        print(f"{name:28} seen {len(samples.pop(name))} times only: it came or went meanwhile")
    print("".join(line for line in log if '"level": "info"' not in line), end="")
    slopes = {name: round(theil_sen(points) * 60, 2) for name, points in samples.items()}
    print(
        f"{options.minutes:g} minutes, {verdicts} verdicts at {options.rate_hz:g} Hz, {machine()}"
    )
    for name, slope in slopes.items():
        values = [value for _, value in samples[name]]
        print(
            f"{name:28} {slope:8.2f} KiB/min   {values[0]:8.0f} to {values[-1]:.0f} KiB, "
            f"highest {max(values):.0f}, {len(values)} samples"
        )
    if options.json:
        options.json.write_text(json.dumps({"slopes_kib_min": slopes, "samples": samples}))
    return int(bool(brief) or any(s > options.limit_kib_min for s in slopes.values()))


def watch(
    folder: Path, options: argparse.Namespace
) -> tuple[dict[str, list[tuple[float, float]]], int, list[str]]:
    """Samples (s, KiB) of each process, how many verdicts were given, and the log."""
    bundle = Workshop.open(folder / "workshop").build(folder / "bundles").bundle
    camera = f'kind = "synthetic", height_px = 128, width_px = 320, rate_hz = {options.rate_hz}'
    toml = line_toml(folder, bundle.folder, camera=camera, selftest="every_s = 10")
    samples: dict[str, list[tuple[float, float]]] = defaultdict(list)
    verdicts = 0
    with RunningLine(toml, command=EDGE_RUN) as line:
        line.state("operational.continuous")
        started = time.monotonic()
        while (now := time.monotonic() - started) < options.minutes * 60:
            verdicts += sum(m["type"] == "verdict" for _, _, m in line.listen(EVERY_S))
            line.topics.clear()
            if now >= options.warm_up_s:
                for pid in (line.process.pid, *line.children()):
                    name, kib = resident_kib(pid)
                    samples[f"{name} ({pid})"].append((now, kib))
        line.stop()
        log = line.log
    return samples, verdicts, log


if __name__ == "__main__":
    sys.exit(main())
