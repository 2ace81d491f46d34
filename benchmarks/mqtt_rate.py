"""A thousand verdicts a second through the bridges to a broker: do all arrive, and how soon?

    python benchmarks/mqtt_rate.py --rate-hz 1000 --seconds 10

The bridge's process in front of a line that only publishes, mosquitto, and one subscriber. Printed
for each: how many arrived, how many of them late (told as history), and ms from the line's message
until the subscriber has it. Exit code 1 if one is missing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import paho.mqtt.client as mqtt
import zmq
from edge_run import machine, percentiles, table
from paho.mqtt.enums import CallbackAPIVersion

from bridge_process import BridgeProcess, free_port, lying_facts
from kenpin.config.bridges import BRIDGES
from kenpin.runtime.bridges.sparkplug.metrics import SAID, TO, TO_ALL
from kenpin.runtime.bridges.sparkplug.payload import decode
from lying_line import LyingLine
from mosquitto import Mosquitto
from wire_samples import BOOT, verdict_message

SETTLED_S = 10.0
Heard = dict[int, tuple[float, bool]]


def main() -> int:
    """Print a row for each bridge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate-hz", type=float, default=1000.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    count, rows, missing = round(options.rate_hz * options.seconds), {}, 0
    for via in ("mqtt", "sparkplug"):
        heard = through(via, options.rate_hz, count)
        late = sum(stored for _, stored in heard.values())
        print(f"{via}: {len(heard)} of {count} arrived, {late} of them as history")
        rows[via] = percentiles([delay_ms for delay_ms, _ in heard.values()])
        missing += count - len(heard)
    print(table(rows, "ms"))
    print(f"{options.rate_hz:g} verdicts a second for {options.seconds:g} s, {machine()}")
    return int(missing > 0)


def through(via: str, rate_hz: float, count: int) -> Heard:
    """Delay in ms, and whether it came as history, by the verdict's number."""
    with tempfile.TemporaryDirectory() as name, zmq.Context() as context:
        folder, port = Path(name), free_port()
        pub = context.socket(zmq.XPUB)
        pub.setsockopt(zmq.SNDHWM, 0)
        pub.setsockopt(zmq.LINGER, 0)
        pub.bind(f"ipc://{folder}/own-pub")
        with LyingLine(folder) as line, Mosquitto(folder, port), subscriber(port) as heard:
            line.pub = f"ipc://{folder}/own-pub"
            settings = BRIDGES.find(via).settings.model_validate({"kind": via, "port": port})
            with BridgeProcess(settings, lying_facts(line)) as process:
                while not any(report.address for report in process.reports):
                    time.sleep(0.05)
                pub.poll(10_000)
                begin(pub)
                published(pub, rate_hz, count)
                end_s = time.monotonic() + SETTLED_S
                while len(heard) < count and time.monotonic() < end_s:
                    time.sleep(0.05)
        pub.close()
        return dict(heard)


def begin(pub: zmq.Socket[bytes]) -> None:
    """A heartbeat: Sparkplug's device is born with it."""
    for number in range(5):
        pub.send_multipart([b"v1/hb/web-1", msgpack.packb(beat(number))])
        time.sleep(0.1)


def beat(number: int) -> dict[str, Any]:
    """A heartbeat of now."""
    said = {"type": "hb", "boot": BOOT, "state": "operational.continuous", "cam_ok": True}
    return said | {"hb_seq": number, "last_seq": number, "t_mono_ns": time.monotonic_ns()}


def published(pub: zmq.Socket[bytes], rate_hz: float, count: int) -> None:
    """So many verdicts at that rate, with heartbeats between."""
    fields = verdict_message(1).model_dump(mode="json")
    begun_s = time.monotonic()
    for seq in range(1, count + 1):
        now_ns = time.monotonic_ns()
        said = fields | {"seq": seq, "t_mono_ns": now_ns}
        pub.send_multipart([b"v1/verdict/web-1", msgpack.packb(said)])
        if seq % max(1, round(rate_hz / 10)) == 0:
            pub.send_multipart([b"v1/hb/web-1", msgpack.packb(beat(seq))])
        time.sleep(max(0.0, begun_s + seq / rate_hz - time.monotonic()))


@contextmanager
def subscriber(port: int) -> Iterator[Heard]:
    """Hears all verdicts, by either bridge's topics."""
    heard: Heard = {}
    there = threading.Event()

    def keep(_client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        now_ns = time.monotonic_ns()
        if message.topic.startswith("spBv1.0"):
            metrics = {metric.name: metric for metric in decode(message.payload).metrics}
            if SAID not in metrics or metrics[TO].value != TO_ALL:
                return
            fields, stored = json.loads(str(metrics[SAID].value)), metrics[SAID].historical
        else:
            fields, stored = json.loads(message.payload), "stored" in message.topic
        if fields.get("type") == "verdict":
            heard.setdefault(fields["seq"], ((now_ns - fields["t_mono_ns"]) / 1e6, stored))

    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = keep
    client.on_subscribe = lambda *_: there.set()
    client.connect("127.0.0.1", port)
    topics = ["kenpin/web-1/verdict", "kenpin/web-1/stored/verdict", "spBv1.0/kenpin/DDATA/#"]
    client.subscribe([(topic, 1) for topic in topics])
    client.loop_start()
    there.wait(10)
    yield heard
    client.disconnect()
    client.loop_stop()


if __name__ == "__main__":
    sys.exit(main())
