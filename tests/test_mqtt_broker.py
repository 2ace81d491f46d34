"""The MQTT bridge with a real broker: every promise, a broker that goes away, TLS, a flood."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import ipaddress
import json
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import paho.mqtt.client as mqtt
import pytest
import zmq
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from paho.mqtt.enums import CallbackAPIVersion

from bridge_process import BridgeProcess, free_port, lying_facts
from bridge_promises import check_every_promise, check_real_line
from kenpin.config.bridge_mqtt import MqttSettings
from kenpin.runtime.bundles.bundle import Bundle
from lying_line import LyingLine
from mosquitto import MOSQUITTO, Mosquitto
from running_line import PATIENCE_S
from test_bridges import Each, inspect, until
from test_mqtt import kept
from wire_samples import verdict_message

pytestmark = [
    pytest.mark.clock,
    pytest.mark.real,
    pytest.mark.skipif(MOSQUITTO is None, reason="no mosquitto: apt-get install mosquitto"),
]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path, free_port()) as broker:
        yield broker


@contextlib.contextmanager
def bridged(line: LyingLine, port: int, **how: Any) -> Iterator[tuple[MqttSettings, BridgeProcess]]:
    """A bridge that is connected."""
    settings = MqttSettings.model_validate({"kind": "mqtt", "port": port} | how)
    with BridgeProcess(settings, lying_facts(line, triggered=True)) as process:
        until(
            lambda: any(t.address for t in process.reports), f"the bridge: {process.process.ended}"
        )
        yield settings, process


class Ear:
    """A subscriber to everything of the line, that keeps what it hears."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._keep
        self._client.on_connect = lambda client, *_: client.subscribe("kenpin/web-1/#", qos=1)
        self.there = threading.Event()
        self._client.on_subscribe = lambda *_: self.there.set()
        self._client.reconnect_delay_set(0.1, 0.2)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self.there.wait(PATIENCE_S)

    def _keep(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        topic = message.topic.removeprefix("kenpin/web-1/")
        self.heard.append((topic, json.loads(message.payload)))

    def of(self, *topics: str) -> list[dict[str, Any]]:
        """What was heard on these topics."""
        return [fields for topic, fields in list(self.heard) if topic in topics]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextlib.contextmanager
def ear(port: int) -> Iterator[Ear]:
    found = Ear(port)
    yield found
    found.close()


def test_every_promise_holds_through_mqtt_whatever_goes_wrong(
    tmp_path: Path, broker: Mosquitto
) -> None:
    with LyingLine(tmp_path) as line, bridged(line, broker.port) as (settings, process):
        watch = inspect(line, settings, process, Each(), parts=55)
        assert process.process.restarts == 1
    check_every_promise(watch, 55)


def test_no_verdict_is_lost_while_the_broker_is_away(tmp_path: Path, broker: Mosquitto) -> None:
    with (
        LyingLine(tmp_path, free=True) as line,
        bridged(line, broker.port) as (_, process),
        ear(broker.port) as listener,
    ):
        until(lambda: len(listener.of("verdict")) > 20, "no verdicts")
        broker.stop()
        until(lambda: "no broker" in process.fault, "nothing was complained of")
        # The listener is back first: a broker keeps nothing for whoever is not there.
        os.kill(process.pid, signal.SIGSTOP)
        listener.there.clear()
        broker.start()
        assert listener.there.wait(PATIENCE_S)
        os.kill(process.pid, signal.SIGCONT)
        until(lambda: len(listener.of("stored/verdict")) > 5, "nothing was kept")
        until(lambda: process.fault == "", "the alarm stays")
        fresh = len(listener.of("verdict"))
        until(lambda: len(listener.of("verdict")) > fresh + 20, "it does not go on")

        def whole() -> bool:
            found = {fields["seq"] for fields in listener.of("verdict", "stored/verdict")}
            # A verdict of before the bridge was connected may be stored, and told when the
            # listener has come; the next ones it was too late for.
            return found >= set(range(listener.of("verdict")[0]["seq"], max(found) - 20))

        until(whole, "a verdict is lost")


def test_what_the_broker_kept_of_a_former_start_is_ended(tmp_path: Path, broker: Mosquitto) -> None:
    host = mqtt.Client(CallbackAPIVersion.VERSION2)
    host.connect("127.0.0.1", broker.port)
    host.loop_start()
    topic, former = kept("camera", str(uuid.UUID(int=1)))
    host.publish(f"kenpin/web-1/{topic}", former, 1, retain=True)
    with ear(broker.port) as listener:
        until(lambda: listener.of("alarm/camera") != [], "the broker kept nothing")
        with LyingLine(tmp_path) as line, bridged(line, broker.port):
            until(lambda: not listener.of("alarm/camera")[-1]["active"], "it is still open")
    host.disconnect()
    host.loop_stop()


def test_a_bridge_that_dies_is_told_by_its_will(tmp_path: Path, broker: Mosquitto) -> None:
    with (
        LyingLine(tmp_path) as line,
        bridged(line, broker.port) as (_, process),
        ear(broker.port) as listener,
    ):
        until(lambda: any(h["online"] for h in listener.of("health")), "no health")
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: not listener.of("health")[-1]["online"], "no will")
        until(lambda: listener.of("health")[-1]["online"], "it did not come back")


def test_a_thousand_verdicts_in_a_second_all_arrive(tmp_path: Path, broker: Mosquitto) -> None:
    count = 1000
    (tmp_path / "unused").mkdir()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    pub = context.socket(zmq.XPUB)
    pub.setsockopt(zmq.SNDHWM, 0)
    pub.bind(f"ipc://{tmp_path}/pub")
    with LyingLine(tmp_path / "unused") as line:
        line.pub = f"ipc://{tmp_path}/pub"
        with bridged(line, broker.port), ear(broker.port) as listener:
            assert pub.poll(10_000)
            begun = time.monotonic()
            for seq in range(1, count + 1):
                fields = verdict_message(seq).model_dump(mode="json")
                fields["t_mono_ns"] = time.monotonic_ns()
                pub.send_multipart([b"v1/verdict/web-1", msgpack.packb(fields)])
                time.sleep(max(0.0, begun + seq / 1000 - time.monotonic()))
            until(
                lambda: len({f["seq"] for f in listener.of("verdict", "stored/verdict")}) == count,
                "verdicts are missing",
            )
    context.destroy(linger=0)


def test_a_broker_with_tls_and_passwords_lets_in_who_may(tmp_path: Path) -> None:
    certificate, key = _certificate(tmp_path)
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "line", "right"], check=True)
    secret = tmp_path / "secret"
    secret.write_text("wrong\n")
    port = free_port()
    lines = (
        f"certfile {certificate}", f"keyfile {key}", f"password_file {passwords}",
        "allow_anonymous false", "user root",
    )  # fmt: skip
    how = {"ca": certificate, "user": "line", "password_file": secret, "port": port}
    with LyingLine(tmp_path) as line, Mosquitto(tmp_path, port, *lines):
        settings = MqttSettings.model_validate({"kind": "mqtt"} | how)
        with BridgeProcess(settings, lying_facts(line)) as process:
            until(lambda: "no broker" in process.fault, "let in with a wrong password")
            secret.write_text("right\n")
            until(lambda: bool(process.reports[-1].address) and not process.fault, process.fault)


def test_a_real_line_keeps_its_promises_through_mqtt(
    patchcore: Bundle, tmp_path: Path, broker: Mosquitto
) -> None:
    faults = ("bridge-killed", "bridge-stopped", "broker-away", "double")
    check_real_line(tmp_path, patchcore.folder, "mqtt", faults, 0.4, port=broker.port)


def test_a_client_of_the_broker_sees_the_picture_of_a_rejected_part(
    tmp_path: Path, broker: Mosquitto
) -> None:
    png, good = b"\x89PNG" + bytes(300_000), b"a good part's"
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    img = context.socket(zmq.XPUB)
    img.setsockopt(zmq.LINGER, 0)
    img.bind(f"ipc://{tmp_path}/img")
    with LyingLine(tmp_path) as line:
        facts = dataclasses.replace(lying_facts(line), img=f"ipc://{tmp_path}/img")
        settings = MqttSettings(kind="mqtt", port=broker.port, picture_bytes=1_000_000)
        with BridgeProcess(settings, facts) as process:
            until(lambda: any(t.address for t in process.reports), process.fault)
            assert img.poll(10_000), "it never subscribed"
            for seq, verdict, shown in ((17, 2, png), (18, 1, good)):
                head = {"boot": "b", "seq": seq, "verdict": verdict, "type": "img"}
                img.send_multipart([b"v1/img/web-1", json.dumps(head).encode(), shown])
            until(lambda: picture(broker.port) == png, "another picture")
    context.destroy(linger=0)


def picture(port: int) -> bytes:
    """The newest picture of an NG part, as a client of the broker gets it."""
    got: list[bytes] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _client, _data, message: got.append(message.payload)
    client.on_subscribe = lambda *_: client.publish("kenpin/web-1/in/hmi/picture", "{}")
    client.on_connect = lambda *_: client.subscribe("kenpin/web-1/to/hmi/#")
    client.connect("127.0.0.1", port)
    client.loop_start()
    until(lambda: bool(got), "no answer")
    client.disconnect()
    client.loop_stop()
    return got[0]


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / "broker.pem", folder / "broker.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, secret
