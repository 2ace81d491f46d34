"""The running line's latency while another bundle is prepared beside it, against itself before.

    python benchmarks/changeover.py --rounds 5

The candidate verifies, compiles, warms up and judges its golden frames in a
process of its own, with a niceness and one thread. Rounds are interleaved: some
seconds of peace, then PREPARE again and again for as long.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from edge_run import EDGE_RUN, RunningLine, Workshop, line_toml, machine, percentiles, table

from kenpin.runtime.bundles.durable import point

STILL = 'kind = "recorded", folder = "{}", loop = true'


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each half of a round")
    parser.add_argument("--rate-hz", type=float, default=25.0)
    parser.add_argument("--niceness", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        peace, change, prepared = measure(Path(name), options)
    rows = {"in peace": percentiles(peace), "PREPARE": percentiles(change)}
    print(f"end to end at {options.rate_hz:g} Hz, niceness {options.niceness}, {machine()}")
    print(table(rows, "ms"))
    print(f"{len(peace)} and {len(change)} verdicts, {prepared} bundles prepared meanwhile")
    return 0


def measure(folder: Path, options: argparse.Namespace) -> tuple[list[float], list[float], int]:
    """Milliseconds in peace, milliseconds while preparing, and bundles prepared."""
    workshop = Workshop.open(folder / "workshop")
    store = folder / "bundles"
    one = workshop.build(store).bundle
    other = workshop.build(store, "method.coreset_rows=150").bundle
    point(store / "current", one.folder)
    toml = line_toml(
        folder,
        store,
        trigger='mode = "software", budget_ms = 1000',
        camera=STILL.format(workshop.data / "train" / "good"),
        inspection=f"threads = 1, prepare_niceness = {options.niceness}",
    )
    spent: dict[bool, list[float]] = {False: [], True: []}
    prepared = number = 0
    with RunningLine(toml, command=EDGE_RUN) as line:
        line.state("operational.ready")
        plc, engineer = line.client(), line.client("engineer")
        for half in range(2 * options.rounds):
            changing = half % 2 == 1
            end = time.monotonic() + options.seconds
            if changing:
                engineer.say("prepare", bundle=other.label)
            while time.monotonic() < end:
                due = time.monotonic() + 1 / options.rate_hz
                number += 1
                started = time.monotonic()
                verdict = plc.ask(str(number))
                spent[changing].append((time.monotonic() - started) * 1e3)
                plc.say("ack", seq=verdict["seq"])
                done = [m for m in engineer.hear(0) if m["type"] == "prepared"]
                if changing and done:
                    prepared += 1
                    engineer.say("prepare", bundle=other.label)
                line.listen(max(0.0, due - time.monotonic()))
            plc.heard.clear()
            line.topics.clear()
        line.stop()
    return spent[False], spent[True], prepared


if __name__ == "__main__":
    sys.exit(main())
