"""How long after its deadline NG late is heard, while the inspection is stalled all the time.

    python benchmarks/deadline.py --frames 1000
    python benchmarks/deadline.py --frames 1000 --hogs 2 --stalls sleep stop

With hogs, so many processes that only compute run beside it, and the line is measured with
the gateway's priority and without it (`gateway.realtime_priority`), one after the other.
Each frame's inspection sleeps, holds the GIL, spins or is stopped by a signal past the
deadline. `made`: from the deadline until the gateway had made the verdict, which it then gives to
ZeroMQ; `heard`: until a client on the same cores received it. Where it may, the client has the
gateway's priority: what is measured is the line, and not how long the client waits for a core.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edge_run import RunningLine, Workshop, line_toml, machine, percentiles, table

from kenpin.runtime.service.realtime import claim_priority

STILL = 'kind = "synthetic", height_px = 128, width_px = 320, seed = 3'
BUDGET_MS = 30
PRIORITY = 10
FAULTS, STOP = ("sleep", "gil", "spin"), "stop"


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1000, help="of each kind of stall")
    parser.add_argument("--hogs", type=int, default=0, help="processes that want every core")
    parser.add_argument("--stalls", nargs="+", default=[*FAULTS, STOP], choices=[*FAULTS, STOP])
    options = parser.parse_args()
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = Workshop.open(folder / "workshop").build(folder / "bundles").bundle
        trigger = f'mode = "software", budget_ms = {BUDGET_MS}'
        for priority in (PRIORITY, 0) if options.hogs else (PRIORITY,):
            gateway = f"realtime_priority = {priority}"
            toml = line_toml(folder, bundle.folder, trigger=trigger, camera=STILL, gateway=gateway)
            how = f"priority {priority}: " if options.hogs else ""
            for stall in options.stalls:
                with RunningLine(toml) as line:
                    line.state("operational.ready")
                    with hogs(options.hogs):
                        found = overshoots_ms(line, stall, options.frames)
                made, heard = zip(*found, strict=True)
                rows[f"{how}{stall} made"] = percentiles(made)
                rows[f"{how}{stall} heard"] = percentiles(heard)
    how = f"{options.frames} frames each, {options.hogs} hogs"
    print(f"NG late after its deadline, {how}, {machine()}")
    print(table(rows, "ms"))
    return 0


@contextlib.contextmanager
def hogs(count: int) -> Iterator[None]:
    """So many processes that do nothing but compute, at ordinary priority."""
    words = [sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(words) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def overshoots_ms(line: RunningLine, stall: str, frames: int) -> list[tuple[float, float]]:
    """Milliseconds from each deadline until the verdict was made, and heard."""
    client, found, inspection = line.client(), [], line.child()
    refused = claim_priority(PRIORITY)
    if refused:
        print(f"the client waits for a core, too: {refused}")
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
