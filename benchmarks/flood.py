"""What a client feels of another one that sends malformed commands, against peace.

    python benchmarks/flood.py --rounds 10 --rate 1000

Rounds are interleaved: a window of peace, a window of flood. The flooder is a
process of its own. `answer` is the time from STATUS to its answer, `verdict`
from TRIGGER to the verdict.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from edge_run import EDGE_RUN, RunningLine, Workshop, line_toml, machine, percentiles, table

from flooder import Flooder
from running_line import Client

STILL = 'kind = "recorded", folder = "{}", loop = true'


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each half of a round")
    parser.add_argument("--rate", type=int, default=1000, help="malformed messages a second")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows, sent = measure(Path(name), options)
    seconds = options.rounds * options.seconds
    print(f"{sent / seconds:.0f} malformed messages a second, {seconds:g} s each, {machine()}")
    print(table({name: percentiles(values) for name, values in rows.items()}, "ms"))
    return 0


def measure(folder: Path, options: argparse.Namespace) -> tuple[dict[str, list[float]], int]:
    """Milliseconds by what was measured, and messages sent in all."""
    workshop = Workshop.open(folder / "workshop")
    bundle = workshop.build(folder / "bundles").bundle
    toml = line_toml(
        folder,
        bundle.folder,
        trigger='mode = "software", budget_ms = 1000',
        camera=STILL.format(workshop.data / "train" / "good"),
    )
    names = ("answer", "answer+f", "verdict", "verdict+f")
    rows: dict[str, list[float]] = {name: [] for name in names}
    sent = number = 0
    with RunningLine(toml, command=EDGE_RUN) as line:
        line.state("operational.ready")
        plc, flooder = line.client(), Flooder(f"ipc://{folder}/ctl")
        for half in range(2 * options.rounds):
            flooding = "+f" if half % 2 else ""
            if flooding:
                flooder.flood(options.rate, options.seconds)
            end = time.monotonic() + options.seconds
            while time.monotonic() < end:
                number += 1
                rows["answer" + flooding].append(timed(plc))
                rows["verdict" + flooding].append(timed(plc, str(number)))
                plc.hear(0.01)
                plc.heard.clear()
            sent += flooder.sent() if flooding else 0
            line.listen(0)
            line.topics.clear()
        flooder.close()
    return rows, sent


def timed(plc: Client, trig: str | None = None) -> float:
    """Milliseconds to an answer, or to a verdict."""
    started = time.monotonic()
    if trig is None:
        plc.say("status")
        plc.of_kind("state")
    else:
        plc.say("ack", seq=plc.ask(trig)["seq"])
    return (time.monotonic() - started) * 1e3


if __name__ == "__main__":
    sys.exit(main())
