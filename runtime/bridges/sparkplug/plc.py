"""A simulated PLC's side of the Sparkplug bridge: a host that writes DCMD and hears DDATA."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from kenpin.config.bridge_sparkplug import SparkplugSettings
from kenpin.runtime.bridges.mqtt.plc import MqttPlc
from kenpin.runtime.bridges.process import HISTORY, BridgedLine
from kenpin.runtime.bridges.sparkplug.metrics import COMMANDS, METRICS, SAID, TO, TO_ALL, typed
from kenpin.runtime.bridges.sparkplug.node import EdgeNode
from kenpin.runtime.bridges.sparkplug.payload import Metric, Payload, decode, encode, signed
from kenpin.runtime.wire.client import Heard
from kenpin.runtime.wire.errors import WireError

__all__ = ["SparkplugPlc", "open_plc"]

_METRIC = {kind: name for name, (kind, _) in COMMANDS.items()}
_KEYS = {"hello": "session", "trigger": "trig", "ack": "seq", "prepare": "bundle"}
_KEYS |= {"activate": "bundle"}


def open_plc(
    settings: SparkplugSettings, facts: BridgedLine, session: str, _poll_s: float
) -> SparkplugPlc:
    """A PLC that talks with the line through this bridge; see `BridgeKind.plc`."""
    node = EdgeNode(settings.group, settings.node_of(facts.box, facts.line), facts.line)
    return SparkplugPlc(settings, facts.line, session, node)


class SparkplugPlc(MqttPlc):
    """Like a `LineClient`, through a broker on this computer: clocks are compared.

    node  whose topics are used
    """

    def __init__(
        self, settings: SparkplugSettings, line: str, session: str, node: EdgeNode
    ) -> None:
        self._node = node
        super().__init__(settings, line, session, "")

    def _topics(self) -> list[str]:
        return [self._node.topic("DDATA")]

    def _command(self, kind: str, fields: Mapping[str, Any]) -> tuple[str, bytes]:
        value = fields[_KEYS[kind]] if kind in _KEYS else True
        written = {_METRIC[kind]: value}
        if kind == "trigger":
            written[_METRIC["hello"]] = fields.get("session")
        now_ms = time.time_ns() // 1_000_000
        metrics = tuple(Metric(name, value, METRICS[name]) for name, value in written.items())
        payload = encode(Payload(metrics, now_ms), with_types=False)
        return self._node.topic("DCMD"), payload

    def _read(self, at_ns: int, topic: str, payload: bytes, retained: bool) -> None:  # noqa: ARG002
        try:
            metrics = {metric.name: metric for metric in decode(payload).metrics}
            said = metrics[SAID].value
            assert isinstance(said, str)
        except (ValueError, KeyError, AssertionError) as error:
            raise WireError(f"DDATA without {SAID}: {error!r}") from None
        fields = self._fields(said.encode())
        if metrics[SAID].historical:
            # It waited for the broker: for books, never for a gate.
            self._ready.append(Heard(HISTORY, fields, at_ns, topic))
        elif metrics[TO].value == TO_ALL:
            _agree(fields, metrics)
            self._overheard(fields, at_ns)
        else:
            self._direct_message(fields, at_ns)


def _agree(fields: Mapping[str, Any], metrics: Mapping[str, Metric]) -> None:
    """The metrics must say what the line said."""
    for name, meant in typed(fields).items():
        actual = signed(metrics[name].value, METRICS[name]) if name in metrics else None
        if actual != meant:
            raise WireError(f"{fields['type']}: {name} is {actual!r}, meant is {meant!r}")
