"""Latency at cadence: triggers from a real client through edge-run, each stage and end to end.

    make demo
    python benchmarks/cadence.py --demo demo --frames 10000 --rate-hz 25 --json cadence.json

Without `--demo` a small bundle is compiled first. `end to end` is measured by
the client: from before TRIGGER is sent until the verdict is decoded. The stages
are those of the verdict; `grab` is the simulated camera, `wait` all that is
spent between the processes. `slowest` says where the slowest hundredth of the
frames lost its time, and `others` how busy strangers kept the machine.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from edge_run import EDGE_RUN, RunningLine, Workshop, line_toml, machine, percentiles, table

from kenpin.processes.memory import keep_what_is_loaded
from kenpin.runtime.wire.client import Heard, LineClient

END_TO_END = "end to end"
BLOCK = 500
RIVAL = (sys.executable, "-c", "while True: pass")


def main() -> int:
    """Read the command line; rivals run as long as the measurement."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--demo", type=Path, help="the folder that make demo wrote")
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--rate-hz", type=float, default=25.0)
    parser.add_argument("--budget-ms", type=float, default=200.0)
    parser.add_argument("--warm-up", type=int, default=100, help="frames not counted")
    parser.add_argument("--threads", type=int, help="as inspection.threads in line.toml")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--each", type=Path, help="write every frame's milliseconds as CSV")
    parser.add_argument(
        "--nice", type=int, default=0, help="of the line and its client; below 0 needs root"
    )
    parser.add_argument(
        "--rivals", type=int, default=0, help="processes that never rest, beside it"
    )
    options = parser.parse_args()
    rivals = [subprocess.Popen(RIVAL) for _ in range(options.rivals)]
    try:
        return show(options)
    finally:
        for rival in rivals:
            rival.kill()
            rival.wait()


def show(options: argparse.Namespace) -> int:
    """Measure, and print a table."""
    if options.nice:
        os.nice(options.nice)
    with tempfile.TemporaryDirectory() as folder:
        result, spent = measure(Path(folder), options)
    print(f"edge-run  {options.frames} frames at {options.rate_hz:g} Hz  {result['machine']}")
    threads = options.threads or "by default"
    print(f"bundle {result['bundle']}  threads {threads}  niceness {options.nice}")
    print(
        f"others used {result['others']:.2f} of {os.cpu_count()} cores, {options.rivals} by intent"
    )
    print(f"ready {result['ready_s']:.2f} s after its start, golden frames included")
    print(table(result["ms"], "ms"))
    ratio = result["ms"][END_TO_END]["p99"] / result["ms"][END_TO_END]["p50"]
    print(f"p99 / p50 = {ratio:.2f}; verdicts: {result['reasons']}")
    print(f"p99 / p50 in blocks of {BLOCK} frames: {result['blocks']}")
    print(f"slowest 1 %, ms above the median by stage: {result['slowest']}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    if options.each:
        rows = np.column_stack(list(spent.values()))
        np.savetxt(options.each, rows, "%.3f", ",", header=",".join(spent), comments="")
    return 0


def prepared(folder: Path, demo: Path | None) -> tuple[Path, Path]:
    """The bundle, and frames for it."""
    if demo is not None:
        return (demo / "bundles" / "current").resolve(), (demo / "data/train/good").resolve()
    workshop = Workshop.open(folder / "workshop")
    return workshop.build(folder / "bundles").bundle.folder, workshop.data / "train" / "good"


def measure(folder: Path, options: argparse.Namespace) -> tuple[dict, dict[str, np.ndarray]]:
    """The figures, and every frame's milliseconds by stage."""
    bundle, frames = prepared(folder, options.demo)
    toml = line_toml(
        folder,
        bundle,
        trigger=f'mode = "software", budget_ms = {options.budget_ms}',
        camera=f'kind = "recorded", folder = "{frames}", loop = true',
        inspection=f"threads = {options.threads}" if options.threads else "",
    )
    each: list[dict[str, float]] = []
    reasons: Counter[str] = Counter()
    # As a PLC has no collector that stops it, neither has its stand-in.
    keep_what_is_loaded()
    gc.disable()
    started = time.monotonic()
    with RunningLine(toml, command=EDGE_RUN) as line:
        ready = line.state("operational.ready")
        ready_s = time.monotonic() - started
        with LineClient(f"ipc://{folder}/ctl", name="cadence") as client:
            before = busy(line)
            begin = time.monotonic() + 0.1
            for number in range(-options.warm_up, options.frames):
                due = begin + (number + options.warm_up) / options.rate_hz
                time.sleep(max(0.0, due - time.monotonic()))
                ms, verdict = one(client, str(number))
                if number >= 0:
                    each.append({END_TO_END: ms} | in_ms(verdict["lat_us"]))
                    reasons[verdict["reason"] or "ok"] += 1
                if number % 500 == 0:
                    line.listen(0)
                    line.topics.clear()
            others = (busy(line) - before) / (time.monotonic() - begin)
        line.stop()
    # A frame that was not judged has no stages.
    stages = max(each, key=len)
    spent = {stage: np.array([ms.get(stage, np.nan) for ms in each]) for stage in stages}
    return {
        "frames": options.frames,
        "rate_hz": options.rate_hz,
        "machine": machine(),
        "bundle": ready["bundle"],
        "ready_s": ready_s,
        "reasons": dict(reasons),
        "ms": {k: percentiles(v[np.isfinite(v)]) for k, v in spent.items()},
        "blocks": blocks(spent[END_TO_END]),
        "slowest": slowest(spent),
        "others": others,
    }, spent


def one(client: LineClient, trig: str) -> tuple[float, dict]:
    """Milliseconds from TRIGGER to its verdict, and the verdict."""

    def mine(heard: Heard) -> bool:
        return heard.kind == "verdict" and heard.fields["trig"] == trig

    started = time.monotonic()
    client.say("trigger", trig=trig)
    verdict = client.wait(mine, 30, f"trigger {trig}").fields
    ended = time.monotonic()
    client.acknowledge(verdict["seq"])
    while client.receive() is not None:
        pass
    return (ended - started) * 1e3, dict(verdict)


def in_ms(lat_us: dict[str, int]) -> dict[str, float]:
    """The stages of a verdict in milliseconds."""
    return {stage: us / 1e3 for stage, us in lat_us.items()}


def blocks(ends: np.ndarray) -> dict[str, float]:
    """p99 / p50 of each block: what is common to all is ours, what some have came from outside."""
    cut = len(ends) // BLOCK * BLOCK
    if not cut:
        return {}
    p50, p99 = np.percentile(ends[:cut].reshape(-1, BLOCK), [50, 99], axis=1)
    low, quarter, half, high = np.percentile(p99 / p50, [0, 25, 50, 100])
    found = {"least": low, "quarter": quarter, "median": half, "most": high}
    return {name: round(float(value), 2) for name, value in found.items()}


def slowest(spent: dict[str, np.ndarray]) -> dict[str, float]:
    """Where the slowest hundredth of the frames lost its time: mean ms above each median."""
    ends = spent[END_TO_END]
    slow = ends >= np.percentile(ends, 99)
    above = {k: float(np.nanmean(v[slow]) - np.nanmedian(v)) for k, v in spent.items()}
    return {stage: round(ms, 2) for stage, ms in above.items()}


def busy(line: RunningLine) -> float:
    """Core seconds that others have used since the machine started."""
    tick = os.sysconf("SC_CLK_TCK")
    user, nice, system, _idle, _wait, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().split("\n")[0].split()[1:]
    )
    own = 0
    for pid in [os.getpid(), line.process.pid, *line.children()]:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        own += int(fields[11]) + int(fields[12])
    return (user + nice + system + irq + softirq - own) / tick


if __name__ == "__main__":
    sys.exit(main())
