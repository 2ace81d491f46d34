"""Memory over time: two lines with everything on, and the memory of each of their processes.

    python benchmarks/soak.py --json soak.json
    python benchmarks/soak_page.py soak.json

Parts by trigger, half of them through the Modbus bridge, and an endless web; archive, status page,
live page with a visitor who reviews, pictures, rolls, a recorder. Beside them endless loops of low
priority. Each process's memory is read every 10 s: what is its own (`RssAnon`: shared frames are
nobody's growth) and its share of all (`Pss`). What was seen is written every minute, so that a run
that is cut short still tells. Exit code 1 if a process's own memory grows for certain by more than
`--limit-kib-min` after the warm-up, if one came or went, or if a promise was broken.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from busy import loops
from edge_run import machine
from everything_on import Lines, everything_on
from slopes import slope_of

__all__ = ["EVERY_S", "good", "one_process", "resident_kib"]

EVERY_S = 10.0
WRITTEN_EVERY_S = 60.0
# Of a log's warnings and errors.
SHOWN = 40


def resident_kib(pid: int) -> float | None:
    """A process's own resident memory: shared frames are not its growth. None: it has ended."""
    return _field(pid, "status", "RssAnon:")


def share_kib(pid: int) -> float | None:
    """A process's share of all resident memory, pages of libraries divided by who maps them."""
    return _field(pid, "smaps_rollup", "Pss:")


def _field(pid: int, file: str, name: str) -> float | None:
    # A process that is just ending has no memory any more: the file is there, and empty.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in (Path("/proc") / str(pid) / file).read_text().splitlines():
            if line.startswith(name):
                return float(line.split()[1])
    return None


def cpu_s(pid: int) -> float | None:
    """Seconds of a core that a process has had. None: it has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        # Behind the name, which may hold blanks: fields 14 and 15 of proc(5).
        fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return None


def main() -> int:
    """Print a line for each process, and write what was seen."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--rate-hz", type=float, default=10.0, help="of each line (10)")
    parser.add_argument("--hogs", type=int, default=2, help="endless loops beside them (2)")
    parser.add_argument("--hogs-nice", type=int, default=0, help="their niceness (0)")
    parser.add_argument("--warm-up-min", type=float, default=10.0)
    parser.add_argument("--limit-kib-min", type=float, default=50.0)
    parser.add_argument("--json", type=Path, required=True, help="what was seen")
    options = parser.parse_args()
    # Whoever ends it early, by SIGTERM (see edge_run) or by hand, wants the figures so far.
    soak = Soak(options)
    with (
        tempfile.TemporaryDirectory() as folder,
        everything_on(Path(folder), options.rate_hz, options.minutes * 60) as lines,
        loops(options.hogs, options.hogs_nice),
        contextlib.suppress(KeyboardInterrupt),
    ):
        soak.watch(lines)
    return int(not good(soak.seen(), options.limit_kib_min))


def good(seen: dict[str, Any], limit_kib_min: float) -> bool:
    """Whether what was seen is as it should be; each process's slope is printed."""
    print(seen["about"])
    print(*(f"{name}: {count}" for name, count in sorted(seen["counts"].items())), sep=", ")
    changes = [f"{s} s: another {name}" for s, name in seen["unsteady"]]
    print(*seen["complaints"], *changes, sep="\n")
    grown = False
    for name in seen["kib"]:
        slope = slope_of([(s, kib) for s, kib, _ in one_process(seen, name)])
        print(f"{name:24} {slope or 'too few samples for a slope'}")
        grown = grown or slope is None or slope.low > 60 * limit_kib_min
    return not (grown or seen["unsteady"] or seen["complaints"])


def one_process(seen: dict[str, Any], name: str) -> list[tuple[float, float, float]]:
    """The longest stretch of samples of one and the same process, each without its warm-up."""
    ends = [s for s, other in seen["unsteady"] if other == name]
    stretches = itertools.pairwise([0.0, *ends, float("inf")])
    warm_up_s = seen["warm_up_s"]
    found = [
        [sample for sample in seen["kib"][name] if begin + warm_up_s <= sample[0] < end]
        for begin, end in stretches
    ]
    return max(found, key=len)


class Soak:
    """What is seen of the lines.

    samples     (s, own KiB, share KiB) of each process
    counts      verdicts by reason, visits, reviews, …
    complaints  what simulated PLCs found
    unsteady    (s, name) of each process that came or went
    cpu         seconds of a core that all processes had, in the time that was seen
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.seconds = 0.0
        self.samples: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
        self.counts: Counter[str] = Counter()
        self.complaints: list[str] = []
        self.unsteady: list[tuple[int, str]] = []
        self.log: list[str] = []
        self.cpu_s: dict[str, float] = {}
        self._written_s = 0.0

    def watch(self, lines: Lines) -> None:
        """Until the time is over."""
        before, begun_s = dict(lines.pids()), time.monotonic()
        had_s = {pid: cpu_s(pid) or 0.0 for pid in before.values()}
        try:
            while (now := time.monotonic() - begun_s) < self._options.minutes * 60:
                self.seconds = now
                pids = dict(lines.pids())
                self.unsteady += [
                    (round(now), name)
                    for name in sorted({*before, *pids})
                    if before.get(name) != pids.get(name)
                ]
                before = pids
                for name, pid in pids.items():
                    own, share = resident_kib(pid), share_kib(pid)
                    if own is not None and share is not None:
                        self.samples[name].append((round(now, 1), own, share))
                    if (used := cpu_s(pid)) is not None:
                        self.cpu_s[name] = round(used - had_s.setdefault(pid, 0.0), 1)
                for visitor in lines.visitors:
                    visitor.look()
                self._write(lines)
                self._listen(lines, begun_s + now + EVERY_S)
        finally:
            self._conclude(lines)
            self._write(lines, at_once=True)

    def seen(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        of = self._options
        return {
            "about": f"{self.seconds / 60:.0f} minutes, {of.rate_hz:g} Hz a line, {of.hogs} "
            f"endless loops of niceness {of.hogs_nice}, {machine()}",
            "minutes": round(self.seconds / 60, 1),
            "rate_hz": of.rate_hz,
            "hogs": of.hogs,
            "hogs_nice": of.hogs_nice,
            "machine": machine(),
            "load": os.getloadavg(),
            "warm_up_s": of.warm_up_min * 60,
            "counts": dict(self.counts),
            "complaints": self.complaints,
            "unsteady": self.unsteady,
            "log": self.log,
            "cpu_s": self.cpu_s,
            "kib": self.samples,
        }

    def _write(self, lines: Lines, at_once: bool = False) -> None:
        if not at_once and self.seconds - self._written_s < WRITTEN_EVERY_S:
            return
        self._written_s = self.seconds
        said = self.seen()
        for visitor in lines.visitors:
            if not at_once:
                said["counts"] = dict(Counter(said["counts"]) + visitor.counts)
        partial = self._options.json.with_suffix(".part")
        partial.write_text(json.dumps(said))
        partial.replace(self._options.json)

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
                self.complaints.append(f"the PLC {name} ended with code {code}: {said}")
        for name, line in lines.running.items():
            loud = [said for said in line.log if '"level": "info"' not in said]
            self.counts[f"{name} log lines above info"] += len(loud)
            self.log += [f"{name}: {said}" for said in loud[:SHOWN]]
        for visitor in lines.visitors:
            self.counts += visitor.counts


if __name__ == "__main__":
    sys.exit(main())
