"""What a bridge adds between TRIGGER and verdict, beside the direct client in one run.

    python benchmarks/bridges.py --parts 500

The real edge-run with a small bundle; a part is triggered directly, and the next ones through each
bridge, in turn. A PLC that looks every 10 ms at its registers waits for its look: that is the
PLC's time, not the bridge's, so a row with looks as fast as they come stands beside it. MQTT and
Sparkplug need mosquitto, which is started here. The line's own time, from TRIGGER to verdict, is
in all of them.
"""

from __future__ import annotations

import argparse
import contextlib
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
from mosquitto import MOSQUITTO, Mosquitto

STILL = 'kind = "synthetic", height_px = 128, width_px = 320, seed = 3'
BETWEEN_S = 0.02


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=500, help="of each way")
    parser.add_argument("--looks-ms", type=float, nargs="+", default=[0.5, 10, 32])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = Workshop.open(folder / "workshop").build(folder / "bundles").bundle
        trigger = 'mode = "software", budget_ms = 500'
        toml = line_toml(folder, bundle.folder, trigger=trigger, camera=STILL)
        text = f'\n[[bridges]]\nkind = "modbus"\nport = {free_port()}\n'
        text += f'[[bridges]]\nkind = "opcua"\nport = {free_port()}\n'
        with contextlib.ExitStack() as stack:
            if MOSQUITTO is not None:
                broker = stack.enter_context(Mosquitto(folder, free_port()))
                for kind in ("mqtt", "sparkplug"):
                    text += f'[[bridges]]\nkind = "{kind}"\nport = {broker.port}\n'
            toml.write_text(toml.read_text() + text)
            line = stack.enter_context(RunningLine(toml, command=EDGE_RUN))
            line.state("operational.ready")
            spent = in_turn(toml, options.looks_ms, options.parts)
        rows = {way: percentiles(values) for way, values in spent.items()}
    print(f"TRIGGER to verdict, {options.parts} parts, looks of a PLC in ms, {machine()}")
    print(table(rows, "ms"))
    return 0


def in_turn(toml: Path, looks_ms: list[float], parts: int) -> dict[str, list[float]]:
    """Milliseconds from TRIGGER until the verdict was heard, by way."""
    line = load_line(toml)
    assert line.wire.ctl is not None
    wanted = [("modbus", look_ms) for look_ms in looks_ms]
    wanted += [(bridge.kind, 0.5) for bridge in line.bridges if bridge.kind != "modbus"]
    spent: dict[str, list[float]] = defaultdict(list)
    for kind, look_ms in wanted:
        bridge = bridge_of(line, toml, kind, look_ms / 1000)
        end_s = time.monotonic() + 30
        while not bridge.answers() and time.monotonic() < end_s:
            time.sleep(0.05)
        session = str(time.time_ns() // 10**6 % 32000 + 1)
        way = f"{kind} {look_ms:g}" if kind == "modbus" else kind
        ways: dict[str, PlcClient] = {
            # A session of its own: OPC UA tells everybody, and each takes its own session's.
            "direct": LineClient(line.wire.ctl, name="direct", session=f"{session}-direct"),
            way: bridge.connect(session),
        }
        for client in ways.values():
            client.say("hello")
            wait(client, "state", None)
        for number in range(1, parts + 1):
            for name, client in ways.items():
                spent[name].append(one_part(client, number))
        for client in ways.values():
            client.close()
        bridge.close()
    return spent


def one_part(client: PlcClient, number: int) -> float:
    """Milliseconds of one part."""
    before_s = time.monotonic()
    client.say("trigger", trig=str(number))
    seq = wait(client, "verdict", str(number))
    spent_ms = (time.monotonic() - before_s) * 1e3
    client.say("ack", seq=seq)
    rest(client)
    return spent_ms


def wait(client: PlcClient, kind: str, trig: str | None) -> int:
    """The number of the verdict that is waited for."""
    end_s = time.monotonic() + 30
    while time.monotonic() < end_s:
        heard = client.receive(0.1)
        matches = heard is not None and not heard.topic and heard.kind == kind
        if heard is not None and matches and trig in (None, heard.fields.get("trig")):
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
