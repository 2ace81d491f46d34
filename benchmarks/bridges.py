"""What a bridge adds between TRIGGER and verdict, beside the direct client in one run.

    python benchmarks/bridges.py --parts 500

The real edge-run with a small bundle; each part is triggered directly, then the next one through
the bridge, at its own look's distance, in turn. A PLC that looks every 10 ms waits for its look,
once for the answer: that is the PLC's time, not the bridge's, so a row with looks as fast as they
come stands beside it. The line's own time, last scan line to verdict, is in both.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from edge_run import EDGE_RUN, RunningLine, Workshop, line_toml, machine, percentiles, table

from bridge_process import free_port
from kenpin.config.line import load_line
from kenpin.runtime.plc.via import PlcClient, bridge_of
from kenpin.runtime.wire.client import LineClient

STILL = 'kind = "synthetic", height_px = 128, width_px = 320, seed = 3'
BETWEEN_S = 0.02


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=500, help="of each way")
    parser.add_argument("--looks-ms", type=float, nargs="+", default=[0.5, 10, 32])
    options = parser.parse_args()
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = Workshop.open(folder / "workshop").build(folder / "bundles").bundle
        trigger = 'mode = "software", budget_ms = 500'
        toml = line_toml(folder, bundle.folder, trigger=trigger, camera=STILL)
        text = f'\n[[bridges]]\nkind = "modbus"\nport = {free_port()}\n'
        toml.write_text(toml.read_text() + text)
        with RunningLine(toml, command=EDGE_RUN) as line:
            line.state("operational.ready")
            for look_ms in options.looks_ms:
                spent = in_turn(toml, look_ms / 1000, options.parts)
                for way, values in spent.items():
                    rows[f"{way} {look_ms:g}"] = percentiles(values)
    print(f"TRIGGER to verdict, {options.parts} parts each way, looks in ms, {machine()}")
    print(table(rows, "ms"))
    return 0


def in_turn(toml: Path, look_s: float, parts: int) -> dict[str, list[float]]:
    """Milliseconds from TRIGGER until the verdict was heard, by way."""
    line = load_line(toml)
    assert line.wire.ctl is not None
    bridge = bridge_of(line, toml, "modbus", look_s)
    end_s = time.monotonic() + 30
    while not bridge.answers() and time.monotonic() < end_s:
        time.sleep(0.05)
    session = str(time.time_ns() // 10**6 % 32000 + 1)
    ways: dict[str, PlcClient] = {
        "direct": LineClient(line.wire.ctl, name="direct", session=session),
        "modbus": bridge.connect(session),
    }
    spent: dict[str, list[float]] = defaultdict(list)
    for client in ways.values():
        client.say("hello")
        wait(client, "state", None)
    for number in range(1, parts + 1):
        for way, client in ways.items():
            before_s = time.monotonic()
            client.say("trigger", trig=str(number))
            seq = wait(client, "verdict", str(number))
            spent[way].append((time.monotonic() - before_s) * 1e3)
            client.say("ack", seq=seq)
            rest(client)
    for client in ways.values():
        client.close()
    bridge.close()
    return spent


def wait(client: PlcClient, kind: str, trig: str | None) -> int:
    """The number of the verdict that is waited for."""
    end_s = time.monotonic() + 30
    while time.monotonic() < end_s:
        heard = client.receive(0.1)
        if heard is not None and heard.kind == kind and trig in (None, heard.fields.get("trig")):
            seq: int = heard.fields.get("seq", 0)
            return seq
    raise SystemExit(f"no {kind} about {trig} within 30 s")


def rest(client: PlcClient) -> None:
    """Let the line come to rest, and hear what is still said."""
    end_s = time.monotonic() + BETWEEN_S
    while (left_s := end_s - time.monotonic()) > 0:
        client.receive(left_s)


if __name__ == "__main__":
    sys.exit(main())
