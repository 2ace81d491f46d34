"""A Sparkplug edge node with one device, the line: certificates, numbers, commands. No socket.

Names in brackets are those of the specification's testable assertions, version 3.0.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kenpin.runtime.bridges.commands import checked
from kenpin.runtime.bridges.sparkplug.metrics import COMMANDS, METRICS, metrics_of, stays, typed
from kenpin.runtime.bridges.sparkplug.payload import (
    Metric,
    MetricType,
    Payload,
    PayloadError,
    decode,
    encode,
)
from kenpin.runtime.wire.map_encoding import MAX_COMMAND_BYTES

__all__ = ["REBIRTH", "EdgeNode", "asks_rebirth", "commands_of"]

# The command by which a host asks for all births again.
REBIRTH = "Node Control/Rebirth"
_BDSEQ = "bdSeq"
_NUMBERS = 256


class EdgeNode:
    """What is published under which topic; every call is one message, in this order.

    group, node, device  of its topics, without + / #
    """

    def __init__(self, group: str, node: str, device: str) -> None:
        self._group, self._node, self._device = group, node, device
        self._bdseq = 0
        self._seq = 0
        self._begun = False
        self._current: dict[str, Any] = {}
        self.born = False

    def topic(self, kind: str) -> str:
        """Of messages of this kind, such as NBIRTH or DDATA [topic-structure]."""
        node = f"spBv1.0/{self._group}/{kind}/{self._node}"
        return f"{node}/{self._device}" if kind.startswith("D") else node

    # -- the node ------------------------------------------------------------------------------

    def connected(self) -> None:
        """A session begins, under the will that was given."""
        self._begun = True

    def will(self) -> bytes:
        """NDEATH, for a CONNECT; its bdSeq counts sessions [topics-nbirth-bdseq-increment]."""
        if self._begun:
            self._bdseq, self._begun = (self._bdseq + 1) % _NUMBERS, False
        self.born = False
        return self.death()

    def death(self) -> bytes:
        """NDEATH, to be published before a DISCONNECT: bdSeq alone [topics-ndeath-payload]."""
        return encode(Payload((Metric(_BDSEQ, self._bdseq, MetricType.INT64),)), with_types=True)

    def birth(self, now_ms: int) -> bytes:
        """NBIRTH, the first message, and again when a host asks for it [payloads-nbirth-seq]."""
        self._seq, self.born = 0, False
        metrics = (
            Metric(_BDSEQ, self._bdseq, MetricType.INT64, now_ms),
            Metric(REBIRTH, False, MetricType.BOOLEAN, now_ms),
        )
        return encode(Payload(metrics, now_ms, 0), with_types=True)

    def _next(self) -> int:
        self._seq = (self._seq + 1) % _NUMBERS
        return self._seq

    # -- the line ------------------------------------------------------------------------------

    def note(self, fields: Mapping[str, Any]) -> None:
        """What the line said last, for births."""
        if stays(fields["type"]):
            self._current |= typed(fields)

    def device_birth(self, now_ms: int) -> bytes:
        """DBIRTH: every metric that there will ever be, its type and value [topics-dbirth-metrics].

        No verdict is told again by a birth: nothing is current of it, so it is null.
        """
        self.born = True
        metrics = tuple(
            Metric(name, self._current.get(name), datatype, now_ms)
            for name, datatype in METRICS.items()
        )
        return encode(Payload(metrics, now_ms, self._next()), with_types=True)

    def data(
        self, fields: Mapping[str, Any], now_ms: int, *, to_all: bool, historical: bool = False
    ) -> bytes:
        """DDATA about one message of the line."""
        metrics = metrics_of(fields, now_ms, to_all=to_all, historical=historical)
        return encode(Payload(metrics, now_ms, self._next()), with_types=False)

    def device_death(self, now_ms: int) -> bytes:
        """DDEATH: the line is not heard any more [operational-behavior-device-ddeath]."""
        self.born = False
        return encode(Payload((), now_ms, self._next()), with_types=False)


def asks_rebirth(payload: bytes) -> bool:
    """Whether an NCMD asks for a new birth [operational-behavior-data-commands-ncmd-rebirth-name].

    Raises
    ------
    PayloadError
        If it is no payload.
    """
    return any(
        metric.name == REBIRTH and metric.value is True for metric in _bounded(payload).metrics
    )


def _bounded(payload: bytes) -> Payload:
    if len(payload) > MAX_COMMAND_BYTES:
        raise PayloadError(f"{len(payload)} bytes, at most {MAX_COMMAND_BYTES} are allowed")
    return decode(payload)


def commands_of(payload: bytes) -> list[tuple[str, dict[str, Any] | None, str]]:
    """The line's commands in a DCMD: kind, fields, or why there are none.

    A session opens one where it stands alone, and is the trigger's where one comes with it.

    Raises
    ------
    PayloadError
        If it is no payload.
    """
    found = {metric.name: metric.value for metric in _bounded(payload).metrics}
    session = found.get("Command/Session")
    commands: list[tuple[str, dict[str, Any] | None, str]] = []
    for name, value in found.items():
        if name not in COMMANDS:
            commands.append(("", None, f"{name!r} cannot be written; see the birth's Command/…"))
            continue
        kind = COMMANDS[name][0]
        if kind == "hello" and "Command/Trigger" in found:
            continue
        if kind in ("selftest", "reset") and value is not True:
            commands.append((kind, None, f"{name} is {value!r}; write true"))
            continue
        commands.append((kind, *checked(kind, _fields(kind, value, session))))
    return commands


def _fields(kind: str, value: Any, session: Any) -> dict[str, Any]:
    given = {
        "hello": {"session": value},
        "trigger": {"trig": value, "session": session},
        "ack": {"seq": value},
        "prepare": {"bundle": value},
        "activate": {"bundle": value},
    }.get(kind, {})
    return {key: found for key, found in given.items() if found is not None}
