"""Latency at cadence: triggers from a real client through edge-run, each stage and end to end.

    python benchmarks/cadence.py --frames 10000 --rate-hz 50 --json cadence.json

`end to end` is measured by the client: from before TRIGGER is sent until the
verdict is decoded. The stages are those of the verdict; `grab` is the simulated
camera, `wait` all that is spent between the processes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from edge_run import EDGE_RUN, RunningLine, Workshop, line_toml, machine, percentiles, table


def main() -> int:
    """Print a table; write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--rate-hz", type=float, default=50.0)
    parser.add_argument("--budget-ms", type=float, default=100.0)
    parser.add_argument("--warm-up", type=int, default=100, help="frames not counted")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), options)
    print(f"edge-run  {options.frames} frames at {options.rate_hz:g} Hz  {machine()}")
    print(table(result["ms"], "ms"))
    ratio = result["ms"]["end to end"]["p99"] / result["ms"]["end to end"]["p50"]
    print(f"p99 / p50 = {ratio:.2f}; verdicts: {result['reasons']}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    return 0


def measure(folder: Path, options: argparse.Namespace) -> dict:
    """Milliseconds by stage, and the verdicts by reason."""
    workshop = Workshop.open(folder / "workshop")
    bundle = workshop.build(folder / "bundles").bundle
    toml = line_toml(
        folder,
        bundle.folder,
        trigger=f'mode = "software", budget_ms = {options.budget_ms}',
        camera=f'kind = "recorded", folder = "{workshop.data / "train" / "good"}", loop = true',
    )
    spent: dict[str, list[float]] = defaultdict(list)
    reasons: Counter[str] = Counter()
    with RunningLine(toml, command=EDGE_RUN) as line:
        line.state("operational.ready")
        client = line.client()
        begin = time.monotonic() + 0.1
        for number in range(options.frames + options.warm_up):
            time.sleep(max(0.0, begin + number / options.rate_hz - time.monotonic()))
            started = time.monotonic()
            verdict = client.ask(str(number))
            ended = time.monotonic()
            client.say("ack", seq=verdict["seq"])
            if number >= options.warm_up:
                spent["end to end"].append((ended - started) * 1e3)
                for stage, us in verdict["lat_us"].items():
                    spent[stage].append(us / 1e3)
                reasons[verdict["reason"] or "ok"] += 1
            if number % 500 == 0:
                client.heard.clear()
                line.listen(0)
                line.topics.clear()
        line.stop()
    return {
        "frames": options.frames,
        "rate_hz": options.rate_hz,
        "machine": machine(),
        "bundle": bundle.label,
        "reasons": dict(reasons),
        "ms": {stage: percentiles(values) for stage, values in spent.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
