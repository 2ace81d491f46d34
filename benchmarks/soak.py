"""Memory over time: two lines with everything on, and the memory of each of their processes.

    python benchmarks/soak.py --hogs 1 --picture docs/pictures/memory.svg

Parts by trigger, half of them through the Modbus bridge, and an endless web; archive, status page,
live page with a visitor who reviews, pictures, rolls, a recorder. Each process's own memory
(`RssAnon`: shared frames are nobody's growth) is read every 10 s. The slope is Theil and Sen's,
the median of the slopes between all pairs of samples after a warm-up: no single sample can bend
it. Exit code 1 if a process grows by more than `--limit-kib-min`, came or went, or broke a promise.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from busy import loops
from curves import Curves, svg
from edge_run import machine
from everything_on import Lines, everything_on

__all__ = ["EVERY_S", "resident_kib", "theil_sen"]

EVERY_S = 10.0
# Of fewer samples no slope is told.
FEWEST = 5
# Of a log's warnings and errors.
SHOWN = 40
# Longer series are thinned for the slope: pairs grow with the square.
PAIRED = 400


def theil_sen(points: list[tuple[float, float]]) -> float:
    """The median of the slopes between all pairs of at most `PAIRED` points."""
    every = -(-len(points) // PAIRED)
    pairs = itertools.combinations(points[::every], 2)
    return statistics.median((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in pairs)


def resident_kib(pid: int) -> float | None:
    """A process's own resident memory: shared frames are not its growth. None: it has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in (Path("/proc") / str(pid) / "status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return float(line.split()[1])
    return None


def main() -> int:
    """Print a line for each process; draw and write JSON if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--rate-hz", type=float, default=10.0, help="of each line (10)")
    parser.add_argument("--hogs", type=int, default=2, help="endless loops beside them (2)")
    parser.add_argument("--warm-up-min", type=float, default=10.0)
    parser.add_argument("--limit-kib-min", type=float, default=50.0)
    parser.add_argument("--picture", type=Path, help="an SVG")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    # Whoever ends it early wants the figures so far.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    soak = Soak(options.minutes * 60)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with (
                everything_on(Path(folder), options.rate_hz, soak.seconds) as lines,
                loops(options.hogs),
                contextlib.suppress(KeyboardInterrupt),
            ):
                soak.watch(lines)
        finally:
            # Whatever ended it: hours of figures are not thrown away.
            good = report(soak, options)
    return int(not good)


def report(soak: Soak, options: argparse.Namespace) -> bool:
    """Print, draw and write what was seen; whether it is as it should be."""
    about = (
        f"{soak.seconds / 60:.0f} minutes, {options.rate_hz:g} Hz a line, {options.hogs} hogs, "
        f"{machine()}"
    )
    print(about)
    print(*(f"{name}: {count}" for name, count in sorted(soak.counts.items())), sep=", ")
    print("".join(soak.complaints), end="")
    slopes = soak.told(options.warm_up_min * 60)
    if options.json:
        found = {"slopes_kib_min": slopes, "counts": soak.counts, "kib": soak.samples}
        options.json.write_text(json.dumps({"about": about, **found}))
    if options.picture and soak.samples:
        options.picture.write_text(svg(soak.curves(), "minutes", "MiB of its own, by process"))
    grown = any(slope > options.limit_kib_min for slope in slopes.values())
    return not (grown or soak.unsteady or soak.complaints)


class Soak:
    """What was seen of the lines in so many seconds.

    samples     (s, KiB) of each process
    counts      verdicts by reason, visits, reviews, …
    complaints  what simulated PLCs found
    unsteady    a process came or went
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.samples: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.counts: Counter[str] = Counter()
        self.complaints: list[str] = []
        self.unsteady = False

    def watch(self, lines: Lines) -> None:
        """Until the time is over."""
        before, begun_s = dict(lines.pids()), time.monotonic()
        try:
            while (now := time.monotonic() - begun_s) < self.seconds:
                pids = dict(lines.pids())
                self.unsteady = self.unsteady or pids != before
                before = pids
                for name, pid in pids.items():
                    kib = resident_kib(pid)
                    if kib is not None:
                        self.samples[name].append((now, kib))
                    self.unsteady = self.unsteady or kib is None
                for visitor in lines.visitors:
                    visitor.look()
                self._listen(lines, begun_s + now + EVERY_S)
        finally:
            self.seconds = time.monotonic() - begun_s
            self._conclude(lines)

    def _listen(self, lines: Lines, until_s: float) -> None:
        while (left := until_s - time.monotonic()) > 0:
            for name, line in lines.running.items():
                for _, _, message in line.listen(min(left, 0.25)):
                    if message["type"] == "verdict":
                        self.counts[f"{name} {message['reason'] or 'OK'}"] += 1
                line.topics.clear()

    def _conclude(self, lines: Lines) -> None:
        for name, plc in lines.plcs.items():
            if plc.process.poll() is None:
                plc.process.send_signal(signal.SIGINT)
            code = plc.process.wait(60)
            if code not in (0, 130):
                said = plc.file.read_text()[-3000:]
                self.complaints.append(f"the PLC {name} ended with code {code}: {said}\n")
        for name, line in lines.running.items():
            loud = [said for said in line.log if '"level": "info"' not in said]
            self.counts[f"{name} log lines above info"] += len(loud)
            print("".join(f"{name}: {said}" for said in loud[:SHOWN]), end="")
        for visitor in lines.visitors:
            self.counts += visitor.counts

    def told(self, warm_up_s: float) -> dict[str, float]:
        """Slopes in KiB a minute, by process, each printed."""
        slopes = {}
        for name, samples in self.samples.items():
            points = [(s, kib) for s, kib in samples if s >= warm_up_s]
            if len(points) < FEWEST:
                print(f"{name:24} seen {len(points)} times after the warm-up: no slope")
                self.unsteady = True
                continue
            values = [kib for _, kib in points]
            slopes[name] = round(theil_sen(points) * 60, 2)
            print(
                f"{name:24} {slopes[name]:8.2f} KiB/min   {values[0]:8.0f} to {values[-1]:.0f} "
                f"KiB, highest {max(values):.0f}, {len(values)} samples"
            )
        return slopes

    def curves(self) -> Curves:
        """Minutes and MiB by process."""
        return {
            name: [(s / 60, kib / 1024) for s, kib in samples]
            for name, samples in self.samples.items()
        }


if __name__ == "__main__":
    sys.exit(main())
