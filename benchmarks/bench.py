"""A frame against its floor: OpenVINO alone on the same network and the same tiles.

    python benchmarks/bench.py                          all cases, 16 tiles, back to back
    python benchmarks/bench.py --only "PatchCore 1000"  some of them
    python benchmarks/bench.py --tiles 64 --every-ms 100 --json bench.json

Everything runs in one process, interleaved: in each round floor, frame and rival
once, in an order drawn anew, because each leaves caches and threads behind that the next
one finds. A ratio is taken within each round, so that what else the machine does
meets both sides. The rival is the same network with the simplest numpy
distances. With --every-ms the process naps between frames, as at a line's
cadence. `reading` is the time it takes to read the statistics once.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from bench_cases import Bench, Case, cases
from edge_run import machine

from kenpin.config.tuning import Tuning
from kenpin.runtime.judging.crew import Crew
from kenpin.runtime.judging.pipeline import Stopwatch

WARM_UP = 2
# The rival's products leave OpenBLAS's threads spinning for more work; then they sleep.
BLAS_RESTS_S = 0.1


def main() -> int:
    """Print a table; write JSON if asked to."""
    options = _options()
    tuning = Tuning(batch=options.batch, streams=options.streams, device=options.device)
    chosen = [
        replace(case, tiles=tiles)
        for tiles in options.tiles
        for case in cases()
        if options.only in replace(case, tiles=tiles).name
    ]
    print(f"{machine()}  batch {options.batch}, {options.streams} streams, halo {options.halo} px")
    print(f"{'':52}{'floor':>8}{'frame':>8}{'p99':>8}{'rival':>8}   frame / floor (IQR)")
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.networks or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for case in chosen:
            found = measure(case, folder, tuning, options)
            results.append(found)
            print(line(found), flush=True)
    if options.json:
        whole = {"machine": machine(), "tuning": tuning.model_dump(), "cases": results}
        options.json.write_text(json.dumps(whole, indent=1))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--tiles", type=int, nargs="+", default=[16])
    parser.add_argument("--halo", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--every-ms", type=float, default=0.0, help="nap until the next frame")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--streams", type=int, default=2)
    parser.add_argument("--device", default="CPU")
    parser.add_argument("--threads", type=int, help="cores; default: all")
    parser.add_argument("--networks", type=Path, help="folder that keeps the quantised networks")
    parser.add_argument("--no-rival", action="store_true")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def measure(case: Case, folder: Path, tuning: Tuning, options: argparse.Namespace) -> dict:
    """Milliseconds of each arm and stage, and the ratios within each round."""
    bench = Bench.set_up(case, folder, tuning, options.halo, options.threads)
    spent: dict[str, list[float]] = defaultdict(list)
    arms: dict[str, Any] = {"floor": bench.floor}
    watch = Stopwatch(time.monotonic_ns)
    arms["frame"] = lambda: bench.stages.measure(bench.pixels, watch)
    if not options.no_rival:
        arms["rival"] = lambda: bench.rival.measure(bench.pixels)
        arms["reading"] = _reading(bench, options.threads)
        arms["rest"] = lambda: time.sleep(BLAS_RESTS_S)
    grown = 0
    order = np.random.default_rng(0)
    due = time.monotonic()
    for number in range(options.rounds + WARM_UP):
        if number == WARM_UP:
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for arm in _drawn(order, list(arms)):
            if options.every_ms:
                due = max(due + options.every_ms / 1e3, time.monotonic())
                time.sleep(max(0.0, due - time.monotonic()))
            begun = time.perf_counter()
            arms[arm]()
            if number >= WARM_UP:
                spent[arm].append((time.perf_counter() - begun) * 1e3)
                if arm == "frame":
                    for stage, us in watch.stages_us.items():
                        spent[stage].append(us / 1e3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ratio = np.array(spent["frame"]) / np.array(spent["floor"])
    result = {
        "case": case.name,
        "tiles": case.tiles,
        "rounds": options.rounds,
        "every_ms": options.every_ms,
        "ms": {name: _spread(values) for name, values in spent.items()},
        "frame_over_floor": _spread(ratio),
        "statistics_mib": round(bench.statistics_mib, 1),
        "peak_rss_mib": peak // 1024,
        "grown_mib": (peak - grown) / 1024,
    }
    if "rival" in spent:
        result["rival_over_frame"] = _spread(np.array(spent["rival"]) / np.array(spent["frame"]))
    return result


def _drawn(order: np.random.Generator, arms: list[str]) -> list[str]:
    """The arms in a random order; the rest comes after the rival."""
    found = list(order.permutation([arm for arm in arms if arm != "rest"]))
    if "rest" in arms:
        found.insert(found.index("rival") + 1, "rest")
    return found


def _reading(bench: Bench, threads: int | None) -> Any:
    """Reads the statistics' memory once, on all cores, with numpy's fastest reduction."""
    scorer: Any = bench.stages._scorer  # the benchmark looks inside
    array = scorer.whitening if hasattr(scorer, "whitening") else scorer.bank
    flat = array.swapaxes(-1, -2) if hasattr(scorer, "whitening") else array
    flat = np.ascontiguousarray(flat).reshape(-1)
    crew = Crew(threads)
    step = 1 << 18
    parts = -(-len(flat) // step)

    def read(first: int, last: int) -> None:
        for part in range(first, last):
            flat[part * step : (part + 1) * step].max()

    return lambda: crew.share(read, parts)


def _spread(values: Any) -> dict[str, float]:
    found = np.percentile(values, [25, 50, 75, 99])
    return {
        name: round(float(value), 3)
        for name, value in zip(("p25", "p50", "p75", "p99"), found, strict=True)
    }


def line(found: dict) -> str:
    """A row of the table."""
    ms, ratio = found["ms"], found["frame_over_floor"]
    rival = f"{ms['rival']['p50']:8.1f}" if "rival" in ms else f"{'-':>8}"
    stages = " ".join(f"{name} {ms[name]['p50']:.1f}" for name in ("infer", "dist", "join"))
    if "reading" in ms:
        stages += f" reading {ms['reading']['p50']:.1f}"
    return (
        f"{found['case']:52}{ms['floor']['p50']:8.1f}{ms['frame']['p50']:8.1f}"
        f"{ms['frame']['p99']:8.1f}{rival}   {ratio['p50']:.2f} "
        f"({ratio['p25']:.2f}-{ratio['p75']:.2f})   {stages}   "
        f"{found['peak_rss_mib']} MiB"
    )


if __name__ == "__main__":
    sys.exit(main())
