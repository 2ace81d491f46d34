"""How long after its deadline NG late is heard, while the inspection is stalled all the time.

    python benchmarks/deadline.py --frames 1000

Each frame's inspection sleeps, holds the GIL, spins or is stopped by a signal past the
deadline. `made`: from the deadline until the gateway had made the verdict, which it then gives to
ZeroMQ; `heard`: until a client on the same cores received it, which waits for a core itself.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import tempfile
from pathlib import Path

from edge_run import RunningLine, Workshop, line_toml, machine, percentiles, table

STILL = 'kind = "synthetic", height_px = 128, width_px = 320, seed = 3'
BUDGET_MS = 30
FAULTS, STOP = ("sleep", "gil", "spin"), "stop"


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1000, help="of each kind of stall")
    options = parser.parse_args()
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = Workshop.open(folder / "workshop").build(folder / "bundles").bundle
        trigger = f'mode = "software", budget_ms = {BUDGET_MS}'
        toml = line_toml(folder, bundle.folder, trigger=trigger, camera=STILL)
        for stall in (*FAULTS, STOP):
            with RunningLine(toml) as line:
                line.state("operational.ready")
                made, heard = zip(*overshoots_ms(line, stall, options.frames), strict=True)
                rows[f"{stall} made"] = percentiles(made)
                rows[f"{stall} heard"] = percentiles(heard)
    print(f"NG late after its deadline, {options.frames} frames each, {machine()}")
    print(table(rows, "ms"))
    return 0


def overshoots_ms(line: RunningLine, stall: str, frames: int) -> list[tuple[float, float]]:
    """Milliseconds from each deadline until the verdict was made, and heard."""
    client, found, inspection = line.client(), [], line.child()
    # The client's own collections would count as the line's delay.
    gc.collect()
    gc.freeze()
    for number in range(frames):
        if stall == STOP:
            os.kill(inspection, signal.SIGSTOP)
        else:
            line.fault(f"{stall} {2 * BUDGET_MS / 1e3}")
        verdict = client.ask(str(number))
        heard_ns = round(client.heard[-1][0] * 1e9)
        if stall == STOP:
            os.kill(inspection, signal.SIGCONT)
        client.say("ack", seq=verdict["seq"])
        accepted = next(m for _, m in client.heard if m["type"] == "trigger_ack")
        if verdict["reason"] == "late":
            times = verdict["t_mono_ns"], heard_ns
            found.append(tuple((at - accepted["deadline_ns"]) / 1e6 for at in times))
        client.hear(1.5 * BUDGET_MS / 1e3)
        client.heard.clear()
        line.listen(0)
        line.topics.clear()
    return found


if __name__ == "__main__":
    sys.exit(main())
