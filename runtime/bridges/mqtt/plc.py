"""A simulated PLC's side of the MQTT bridge: what it publishes, and what it hears by topic."""

from __future__ import annotations

import contextlib
import json
import math
import queue
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from kenpin.config.bridge_mqtt import BrokerSettings, MqttSettings
from kenpin.runtime.bridges.mqtt.hub import FRESH_NS, base_topic
from kenpin.runtime.bridges.process import HISTORY, BridgedLine
from kenpin.runtime.wire.client import Heard, LineSilentError
from kenpin.runtime.wire.errors import WireError
from kenpin.runtime.wire.map_encoding import Encoding, decode

__all__ = ["MqttPlc", "open_plc", "stall"]

_CONNECT_S = 2.0
_GREET_S = 0.3
_STORED = "stored/verdict"
_PUBLISHED = ("verdict", _STORED, "state", "hb", "alarm", "late", "roll")


def open_plc(settings: MqttSettings, facts: BridgedLine, session: str, _poll_s: float) -> MqttPlc:
    """A PLC that talks with the line through this bridge; see `BridgeKind.plc`."""
    return MqttPlc(settings, facts.line, session, base_topic(settings.prefix, facts.line))


class MqttPlc:
    """Like a `LineClient`, through a broker on this computer: clocks are compared.

    session  names the PLC and its session
    base     what every topic of the line begins with

    Raises
    ------
    LineSilentError
        If there is no broker.
    """

    numbered = "seq"

    def __init__(self, settings: BrokerSettings, line: str, session: str, base: str) -> None:
        self._base = base
        self._line = line
        self._session = session
        self._name = f"plc-{session}"
        self._arrived: queue.SimpleQueue[tuple[int, str, bytes, bool]] = queue.SimpleQueue()
        self._ready: list[Heard] = []
        self._seen_beat = False
        self._sim = False
        self._greet_s = math.inf
        self._subscribed = threading.Event()
        self._client = _client(settings)
        self._client.on_message = self._heard
        self._client.on_socket_open = _without_delay
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._where = f"mqtt://{settings.host}:{settings.port}"
        self._enter(settings)

    def _topics(self) -> list[str]:
        """That it subscribes to."""
        topics = [f"{self._base}to/{self._name}/+", f"{self._base}alarm/+", f"{self._base}health"]
        return topics + [self._base + kind for kind in _PUBLISHED if kind != "alarm"]

    def _enter(self, settings: BrokerSettings) -> None:
        try:
            self._client.connect(settings.host, settings.port, keepalive=5)
        except OSError as error:
            raise LineSilentError(f"no broker at {self._where} ({error})") from None
        self._client.subscribe([(topic, 0) for topic in self._topics()])
        self._client.loop_start()
        if not self._subscribed.wait(_CONNECT_S):
            self.close()
            raise LineSilentError(f"the broker at {self._where} does not answer")

    def close(self) -> None:
        """Let go. Closing twice is harmless."""
        self._client.disconnect()
        self._client.loop_stop()

    def _heard(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        # On the library's thread.
        self._arrived.put(
            (time.monotonic_ns(), message.topic, bytes(message.payload), message.retain)
        )

    # -- talking ---------------------------------------------------------------------------

    def say(self, kind: str, *, within_s: float = 5.0, **fields: Any) -> None:  # noqa: ARG002
        """Publish a command.

        Raises
        ------
        LineSilentError
            If the broker has gone.
        """
        if kind in ("hello", "trigger"):
            fields = {"session": self._session} | fields
        if kind == "hello":
            self._greet_s = time.monotonic() + _GREET_S
        self._publish(*self._command(kind, fields))

    def say_raw(self, *parts: bytes, within_s: float = 5.0) -> None:  # noqa: ARG002
        """Publish what is no command."""
        self._publish(self._command("trigger", {"trig": "0"})[0], b"".join(parts))

    def _command(self, kind: str, fields: Mapping[str, Any]) -> tuple[str, bytes]:
        """Topic and payload of a command."""
        return f"{self._base}in/{self._name}/{kind}", json.dumps(fields).encode()

    def _publish(self, topic: str, payload: bytes) -> None:
        if self._client.publish(topic, payload).rc != mqtt.MQTT_ERR_SUCCESS:
            raise LineSilentError(f"no broker at {self._where}")

    # -- hearing ---------------------------------------------------------------------------

    def receive(self, timeout_s: float = 0.0) -> Heard | None:
        """The next message, or None.

        Raises
        ------
        WireError
            If it breaks the protocol.
        """
        end_s = time.monotonic() + timeout_s
        while not self._ready:
            if time.monotonic() > self._greet_s:
                # Nobody may have been there to hear it.
                with contextlib.suppress(LineSilentError):
                    self.say("hello")
            try:
                arrived = self._arrived.get(timeout=max(0.0, end_s - time.monotonic()))
            except queue.Empty:
                return None
            self._read(*arrived)
        return self._ready.pop(0)

    def _read(self, at_ns: int, topic: str, payload: bytes, retained: bool) -> None:
        fields = self._fields(payload)
        if topic.startswith(f"{self._base}to/"):
            self._direct_message(fields, at_ns)
        elif topic == f"{self._base}{_STORED}":
            self._ready.append(Heard(HISTORY, fields, at_ns, topic))
        # Retained was true once: nothing of now is learnt from what a broker has kept.
        elif not retained and fields["type"] != "health":
            self._overheard(fields, at_ns)

    def _direct_message(self, fields: dict[str, Any], at_ns: int) -> None:
        """The line said something to us."""
        if fields["type"] == "state":
            self._greet_s = math.inf
        self._ready.append(Heard(fields["type"], fields, at_ns))

    def _overheard(self, fields: dict[str, Any], at_ns: int) -> None:
        """The line said something to all."""
        kind = fields["type"]
        # A broker, or a bridge, that stood still hands on what waited in it. A gate looks at
        # the age of what it hears, and so do we.
        published = f"v1/{kind}/{self._line}"
        if at_ns - fields.get("t_mono_ns", 0) > FRESH_NS:
            if kind == "verdict":
                self._ready.append(Heard(HISTORY, fields, at_ns, published))
            return
        if kind == "hb" and not self._seen_beat:
            self._seen_beat = True
            state = fields | {"type": "state", "sim": self._sim}
            self._ready.append(Heard("state", state, at_ns, published.replace("hb", "state")))
        self._ready.append(Heard(kind, fields, at_ns, published))

    @staticmethod
    def _fields(payload: bytes) -> dict[str, Any]:
        """A message of the line, as it came."""
        try:
            found = json.loads(payload)
        except ValueError as error:
            raise WireError(f"not readable: {error}") from None
        if not isinstance(found, dict) or not isinstance(found.get("type"), str):
            raise WireError(f"found a {type(found).__name__}, expected a map with a type")
        if found["type"] in ("verdict", "state"):
            decode(payload, Encoding.JSON)
        return found


def _client(settings: BrokerSettings) -> mqtt.Client:
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2, f"edge-plc-{secrets.token_hex(6)}", clean_session=True
    )
    if settings.ca:
        client.tls_set(ca_certs=str(settings.ca))
    if settings.user and settings.password_file:
        password = settings.password_file.read_text(encoding="utf-8").splitlines()[0]
        client.username_pw_set(settings.user, password)
    return client


def _without_delay(_client: Any, _data: Any, opened: Any) -> None:
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def stall(settings: BrokerSettings) -> Callable[[], None]:
    """A subscriber to everything that never reads; what ends him."""
    client = _client(settings)
    client.connect(settings.host, settings.port, keepalive=3600)
    client.subscribe("#")
    client.loop_write()
    return client.disconnect  # type: ignore[return-value]
