"""Malformed frames on the OPC UA bridge's socket, and payloads through a broker to the other two.

    python fuzz/bridge_sockets.py --via opcua --seconds 600 --seed 1

OPC UA: headers of every kind with absurd sizes, cut and altered copies of what a client says.
MQTT and Sparkplug: their topics with noise and altered commands, by a real mosquitto. Exit code 1
if the bridge's process ended, a part was not answered meanwhile, or the memory grew by more than
`--limit-kib`.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import targets
from modbus_socket import resident_kib

from bridge_process import BridgeProcess, free_port, lying_facts
from kenpin.config.bridges import BRIDGES, BridgeSettings
from kenpin.config.registry import load_object
from kenpin.runtime.plc.via import PlcClient
from lying_line import LyingLine
from mosquitto import Mosquitto

URL = b"opc.tcp://127.0.0.1:4840"
HELLO = b"HELF" + struct.pack("<IIIIIII", 32 + len(URL), 0, 65536, 65536, 0, 0, len(URL)) + URL
OPEN = b"OPNF" + struct.pack("<II", 60, 0) + bytes(52)
MESSAGE = b"MSGF" + struct.pack("<IIIII", 40, 1, 1, 1, 1) + bytes(16)
KINDS = (b"HELF", b"ACKF", b"ERRF", b"OPNF", b"MSGF", b"MSGC", b"CLOF", b"RHEF", b"XXXX")
# Parts that the PLC asks about meanwhile.
EVERY_S = 1.0
# A crowded machine may be slow; a bridge that is deaf stays so.
PATIENCE_S = 300
RECONNECT_S = 15
Noise = Callable[[random.Random], int]


def main() -> int:
    """Print how many frames there were, and what became of the bridge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--via", choices=["mqtt", "opcua", "sparkplug"], required=True)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit-kib", type=int, default=8192)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder, port = Path(name), free_port()
        if options.via != "opcua":
            stack.enter_context(Mosquitto(folder, port))
        line = stack.enter_context(LyingLine(folder))
        kind = BRIDGES.find(options.via)
        settings = kind.settings.model_validate({"kind": options.via, "port": port})
        process = stack.enter_context(BridgeProcess(settings, lying_facts(line)))
        noise = at_opcua(port) if options.via == "opcua" else through_broker(options.via, port)
        return attacked(process, lambda: reached(settings, line, kind.plc or ""), noise, options)


def attacked(
    process: BridgeProcess,
    connect: Callable[[], PlcClient],
    noise: Noise,
    options: argparse.Namespace,
) -> int:
    """Noise until the end, and a part now and then."""
    rng, frames, parts, slowest_s = random.Random(options.seed), 0, 0, 0.0
    plc, again = connect(), 0
    pid, before = process.pid, resident_kib(process.pid)
    end_s = time.monotonic() + options.seconds
    while (now_s := time.monotonic()) < end_s:
        while time.monotonic() < now_s + EVERY_S:
            with contextlib.suppress(OSError):
                frames += noise(rng)
        parts += 1
        begun_s = time.monotonic()
        while not judged(plc, str(parts), RECONNECT_S):
            # As edge-plc does: a connection that a crowded machine has cut stays cut.
            plc.close()
            if time.monotonic() > begun_s + PATIENCE_S:
                raise SystemExit(f"part {parts} was not answered: the bridge is deaf")
            plc, again = connect(), again + 1
        slowest_s = max(slowest_s, time.monotonic() - begun_s)
    plc.close()
    grown, ended = resident_kib(pid) - before, process.process.restarts
    print(
        f"{options.via}: {frames} frames in {options.seconds:g} s, seed {options.seed}: the bridge "
        f"ended {ended} times, grew by {grown} KiB; {parts} parts, the slowest took "
        f"{slowest_s * 1e3:.0f} ms, {again} connections made anew"
    )
    return int(bool(ended) or grown > options.limit_kib)


def reached(settings: BridgeSettings, line: LyingLine, plc: str) -> PlcClient:
    """A PLC that is in."""
    end_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            client: PlcClient = load_object(plc)(settings, lying_facts(line), "77", 0.01)
        except OSError:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.1)
            continue
        client.say("hello")
        if heard_of(client, lambda kind, _: kind == "state", PATIENCE_S) is None:
            raise SystemExit("the bridge never said where its line stands")
        return client


def judged(plc: PlcClient, trig: str, within_s: float) -> bool:
    """Whether a part got its verdict; asked again, as a PLC does that was not heard."""
    end_s = time.monotonic() + within_s
    while time.monotonic() < end_s:
        plc.say("trigger", trig=trig)
        fields = heard_of(plc, lambda kind, of: kind == "verdict" and of == trig, EVERY_S)
        if fields is not None:
            plc.say("ack", seq=fields["seq"])
            return True
    return False


def heard_of(
    plc: PlcClient, wanted: Callable[[str, object], bool], within_s: float
) -> dict[str, int] | None:
    """The message that is waited for."""
    end_s = time.monotonic() + within_s
    while time.monotonic() < end_s:
        heard = plc.receive(0.1)
        if heard is not None and not heard.topic and wanted(heard.kind, heard.fields.get("trig")):
            return dict(heard.fields)
    return None


def at_opcua(port: int) -> Noise:
    """Nonsense on the bridge's own socket."""

    def noise(rng: random.Random) -> int:
        count = rng.randrange(1, 8)
        with socket.create_connection(("127.0.0.1", port), 2) as one:
            if rng.random() < 0.7:
                one.sendall(HELLO)
            for _ in range(count):
                frame = bytearray(rng.choice([HELLO, OPEN, MESSAGE]))
                match rng.randrange(4):
                    case 0:
                        frame[rng.randrange(len(frame))] = rng.randrange(256)
                    case 1:
                        del frame[rng.randrange(len(frame)) :]
                    case 2:
                        frame[:4] = rng.choice(KINDS)
                        frame[4:8] = rng.choice([0, 7, 8, 2**31, 2**32 - 1]).to_bytes(4, "little")
                    case _:
                        frame = bytearray(rng.randbytes(rng.randrange(600)))
                one.sendall(frame)
        return count

    return noise


def through_broker(via: str, port: int) -> Noise:
    """Nonsense under the bridge's topics."""
    host = mqtt.Client(CallbackAPIVersion.VERSION2)
    host.connect("127.0.0.1", port)
    host.loop_start()
    # Before the zero byte of MQTT's stands the topic, which is chosen here.
    seeds = [seed.partition(b"\0")[2] if via == "mqtt" else seed for seed in targets.good(via)]
    topics = ["spBv1.0/kenpin/NCMD/box-7-web-1", "spBv1.0/kenpin/DCMD/box-7-web-1/web-1"]
    if via == "mqtt":
        kinds = ("trigger", "hello", "ack", "picture", "prepare", "nothing")
        topics = [f"kenpin/web-1/in/stranger/{kind}" for kind in kinds]

    def noise(rng: random.Random) -> int:
        payload = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(4)):
            payload[rng.randrange(len(payload))] = rng.randrange(256)
        if rng.random() < 0.3:
            payload = bytearray(rng.randbytes(rng.randrange(9000)))
        host.publish(rng.choice(topics), bytes(payload), rng.randrange(3), False)
        time.sleep(0.002)  # a flood is another test's
        return 1

    return noise


if __name__ == "__main__":
    sys.exit(main())
