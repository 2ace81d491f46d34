"""How long after its deadline NG late is heard, while the inspection is stalled all the time.

    python benchmarks/deadline.py --frames 1000
    python benchmarks/deadline.py --frames 1000 --hogs 2 --stalls sleep stop

With hogs, so many processes that only compute run beside it, and the line is measured with
the gateway's priority and without it (`gateway.realtime_priority`), in turn, in five rounds.
Each frame's inspection sleeps, holds the GIL, spins or is stopped by a signal past the
deadline. `made`: from the deadline until the gateway had made the verdict, which it then gives to
ZeroMQ; `heard`: until a client on the same cores received it. Where it may, the client has the
gateway's priority: what is measured is the line, and not how long the client waits for a core.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from edge_run import RunningLine, Workshop, line_toml, machine, percentiles, table

from kenpin.processes.memory import keep_what_is_loaded
from kenpin.runtime.service.realtime import claim_priority
from running_line import Client

STILL = 'kind = "synthetic", height_px = 128, width_px = 320, seed = 3'
BUDGET_MS = 30
PRIORITY = 10
# docs/protocol.md: within so much of the deadline, at the 99.9th percentile.
PROMISE_MS = 2
ROUNDS = 5
FAULTS, STOP = ("sleep", "gil", "spin"), "stop"


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1000, help="of each kind of stall")
    parser.add_argument("--hogs", type=int, default=0, help="processes that want every core")
    parser.add_argument("--stalls", nargs="+", default=[*FAULTS, STOP], choices=[*FAULTS, STOP])
    options = parser.parse_args()
    priorities = (PRIORITY, 0) if options.hogs else (PRIORITY,)
    rounds = ROUNDS if options.hogs else 1
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = Workshop.open(folder / "workshop").build(folder / "bundles").bundle
        trigger = f'mode = "software", budget_ms = {BUDGET_MS}'
        for _, stall, priority in product(range(rounds), options.stalls, priorities):
            gateway = f"realtime_priority = {priority}"
            toml = line_toml(folder, bundle.folder, trigger=trigger, camera=STILL, gateway=gateway)
            with RunningLine(toml) as line:
                line.state("operational.ready")
                # Its sockets' threads, too.
                client = line.client()
                with hogs(options.hogs), coming_first():
                    overshoots = overshoots_ms(line, client, stall, options.frames // rounds)
            found[f"priority {priority}: {stall}" if options.hogs else stall] += overshoots
    rows: dict[str, Any] = {}
    for name, times in found.items():
        made, heard = zip(*times, strict=True)
        late = sum(ms > PROMISE_MS for ms in made)
        print(f"{name}: {late} of {len(times)} made more than {PROMISE_MS} ms late")
        rows |= {f"{name} made": percentiles(made), f"{name} heard": percentiles(heard)}
    how = f"{options.frames} frames each, {options.hogs} hogs"
    print(f"NG late after its deadline, {how}, {machine()}")
    print(table(rows, "ms"))
    return 0


@contextlib.contextmanager
def hogs(count: int) -> Iterator[None]:
    """So many processes that do nothing but compute, at ordinary priority."""
    # They end with us, whatever ends us.
    code = "import os; ours = os.getppid()\nwhile os.getppid() == ours: pass"
    words = [sys.executable, "-c", code]
    running = [subprocess.Popen(words) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


@contextlib.contextmanager
def coming_first() -> Iterator[None]:
    """Every thread of this client, if it may: one that waited for a core would hold the others."""
    refused = claim_priority(PRIORITY)
    if refused:
        print(f"the client waits for a core, too: {refused}")
    else:
        # Without SCHED_RESET_ON_FORK, which libzmq's threads do not bear while they start.
        schedule(os.SCHED_FIFO, PRIORITY)
    try:
        yield
    finally:
        schedule(os.SCHED_OTHER, 0)


def schedule(policy: int, priority: int) -> None:
    """Set it for every thread of this process."""
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setscheduler(int(thread.name), policy, os.sched_param(priority))


def overshoots_ms(
    line: RunningLine, client: Client, stall: str, frames: int
) -> list[tuple[float, float]]:
    """Milliseconds from each deadline until the verdict was made, and heard."""
    found, inspection = [], line.child()
    # The client's own collections would count as the line's delay.
    keep_what_is_loaded()
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
