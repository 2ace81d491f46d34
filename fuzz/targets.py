"""What strangers' bytes go into, and the only errors that may come out.

Each target takes bytes and returns; any exception that leaves it is a finding.
Used by `fuzz.py` (atheris) and by `tests/test_hostile_bytes.py` (hypothesis).
"""

from __future__ import annotations

import asyncio
import json
import struct
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import msgpack
from zmq.utils import z85

from kenpin.config.bridges import ModbusSettings
from kenpin.config.errors import ConfigError
from kenpin.config.line import load_line
from kenpin.config.text import shorten
from kenpin.runtime.bridges.link import Unsaid
from kenpin.runtime.bridges.modbus.dialogue import ModbusDialogue
from kenpin.runtime.bridges.modbus.registers import CONTROL, CONTROL_AT, END
from kenpin.runtime.bridges.mqtt.backlog import Backlog
from kenpin.runtime.bridges.mqtt.hub import Hub
from kenpin.runtime.bridges.mqtt.pictures import Pictures
from kenpin.runtime.bridges.opcua.dialogue import OpcuaDialogue
from kenpin.runtime.bridges.process import BridgedLine
from kenpin.runtime.bridges.sparkplug.node import asks_rebirth, commands_of
from kenpin.runtime.bridges.sparkplug.payload import Metric, MetricType, Payload, PayloadError
from kenpin.runtime.bridges.sparkplug.payload import decode as read_payload
from kenpin.runtime.bridges.sparkplug.payload import encode as write_payload
from kenpin.runtime.bundles.manifest import BundleError, parse_manifest
from kenpin.runtime.wire.client import Heard
from kenpin.runtime.wire.encodings import CODECS
from kenpin.runtime.wire.field_types import MAX_DETAIL_CHARS
from kenpin.runtime.wire.keys import parse_keys
from kenpin.runtime.wire.line_messages import REPLIES
from kenpin.runtime.wire.map_encoding import Encoding, WireError, decode, decode_any, encode
from kenpin.runtime.wire.struct_encoding import pack, unpack

__all__ = ["HOSTILE", "TARGETS", "corpus", "good"]

_BOOT = "3f2b8c1e-5d0a-4c77-9e21-0a6b7c8d9e10"
_FACTS = BridgedLine("box-1", "web-1", True, 100, "", "", "msgpack", "msgpack")
_VECTORS = Path(__file__).resolve().parent.parent / "tests" / "vectors" / "wire.json"


def _command(payload: bytes, encoding: str) -> None:
    try:
        CODECS[encoding].command(payload)
    except WireError as error:
        # The gateway sends this text back; it must survive its own encoding.
        head = {"v": 1, "type": "error", "box": "box-1", "line": "web-1", "boot": _BOOT}
        fields = head | {
            "about": None,
            "trig": None,
            "t_mono_ns": 1,
            "detail": shorten(str(error), MAX_DETAIL_CHARS),
        }
        CODECS[encoding].write(REPLIES["error"](**fields))


def _message(payload: bytes, encoding: Encoding) -> None:
    for read in (decode, decode_any):
        with suppress(WireError):
            # What was accepted can be passed on.
            encode(read(payload, encoding), encoding)


def _struct(payload: bytes) -> None:
    with suppress(WireError):
        unpack(payload)


def _manifest(payload: bytes) -> None:
    with suppress(BundleError):
        parse_manifest(Path("/bundle"), payload)


def _line(payload: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".toml", dir=_memory()) as file:
        file.write(payload)
        file.flush()
        with suppress(ConfigError):
            load_line(Path(file.name))


def _keys(payload: bytes) -> None:
    with suppress(ValueError):
        for key in parse_keys(payload).values():
            # What libzmq would not take for a key would stop the line at its start.
            assert len(z85.decode(key)) == 32


def _modbus(payload: bytes) -> None:
    """A PLC that writes whatever it likes wherever it may, and reads all after each."""
    dialogue = ModbusDialogue(_FACTS, ModbusSettings(kind="modbus"), lambda *_, **__: None)
    at = 0
    while at + 2 <= len(payload) and at < 200:
        start = payload[at] % CONTROL.size
        count = 1 + payload[at + 1] % (CONTROL.size - start)
        chunk = payload[at + 2 : at + 2 + 2 * count].ljust(2 * count, b"\0")
        dialogue.written(CONTROL_AT + start, list(struct.unpack(f">{count}H", chunk)))
        assert len(dialogue.shown.image(at)) == END
        at += 2 + 2 * count


def _mqtt(payload: bytes) -> None:
    """A client of the broker that publishes whatever it likes: topic, a zero byte, payload."""
    hub = Hub(lambda _: True, lambda *_: Deaf(), Backlog(1000), 2, Pictures(100))
    topic, _, said = payload.partition(b"\0")
    hub.kept("alarm/x", said)
    hub.said("in/" + topic.decode(errors="replace"), said, 0, retained=False)
    for kind in ("trigger", "hello", "ack", "picture"):
        hub.said(f"in/plc/{kind}", said, 0, retained=False)


def _sparkplug(payload: bytes) -> None:
    """A host that publishes whatever it likes; what was read can be written again."""
    for read in (asks_rebirth, commands_of):
        with suppress(PayloadError):
            read(payload)
    with suppress(PayloadError):
        found = read_payload(payload)
        again = replace(found, metrics=tuple(_typed(metric) for metric in found.metrics))
        assert read_payload(write_payload(again, with_types=True)).seq == found.seq


def _typed(metric: Metric) -> Metric:
    kinds = {bool: MetricType.BOOLEAN, int: MetricType.UINT64, str: MetricType.STRING}
    kind = kinds.get(type(metric.value))
    return Metric(metric.name, metric.value if kind else None, kind, metric.timestamp)


class Deaf:
    """A line that nobody answers from."""

    def say(self, kind: str, **fields: object) -> None:
        assert kind not in fields

    def begin(self, session: str) -> None:
        assert session

    def close(self) -> None:
        """Nothing was open."""


class _OpcuaSession:
    """A client in the midst of a session: one result waits for it."""

    def __init__(self) -> None:
        from kenpin.runtime.bridges.opcua.access import CALLER
        from kenpin.runtime.bridges.opcua.address_space import AddressSpace
        from kenpin.runtime.bridges.opcua.decoding import bound_decoding
        from kenpin.runtime.bridges.opcua.methods import methods_of
        from kenpin.runtime.bridges.opcua.structures import define_structures
        from kenpin.runtime.bridges.opcua.table import companion
        from kenpin.runtime.bridges.opcua.vision_system import VisionSystem

        bound_decoding()
        self.loop = asyncio.new_event_loop()
        define_structures(2)
        self.dialogue = OpcuaDialogue(
            _FACTS, ("a@0123456789ab",), 100, self._away, lambda _: None, lambda _: True
        )
        system = VisionSystem(AddressSpace(None, 2, companion()), _FACTS, 3)  # type: ignore[arg-type]
        self.methods = list(methods_of(self.dialogue, system, self._failed).values())
        CALLER.set(self)
        self.loop.run_until_complete(self.dialogue.open_session(self, "77"))
        for message in _canonical():
            if message["type"] in ("verdict", "state"):
                fields = message | {"session": "77", "trig": "4711/left"}
                fields |= {"t_wall_ns": 10**18, "lat_us": {"total": 900}}
                self.dialogue.heard(Heard(message["type"], fields, 0), 0)

    def _away(self, kind: str, **fields: object) -> None:
        """A line that is not there: nothing that it would be asked is waited for."""
        # What a message can carry only, else the thread that talks with the line would end.
        msgpack.packb(fields)
        self.dialogue.heard(Unsaid(kind, fields, ""), 0)

    def _failed(self, error: Exception) -> None:
        raise AssertionError(f"ends the bridge: {error!r}")

    def call(self, number: int, given: list[Any]) -> None:
        """A method with what a client gave; what it gives must have bytes."""
        from asyncua import ua
        from asyncua.ua.ua_binary import variant_to_binary

        found = self.loop.run_until_complete(
            self.methods[number % len(self.methods)](ua.NodeId(), *given)
        )
        for variant in found if isinstance(found, list) else ():
            variant_to_binary(variant)


_opcua_session = cache(_OpcuaSession)


def _opcua(payload: bytes) -> None:
    """A call as a client writes it: a method's number, then variants of any kind."""
    from asyncua.common.utils import Buffer
    from asyncua.ua.ua_binary import variant_from_binary

    session, rest, given = _opcua_session(), Buffer(payload[1:]), []
    # What asyncua cannot read reaches no method; that it lives is tried on its socket.
    with suppress(Exception):
        while len(rest):
            given.append(variant_from_binary(rest))
    session.call(payload[0] if payload else 0, given)


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "command-msgpack": lambda payload: _command(payload, "msgpack"),
    "command-json": lambda payload: _command(payload, "json"),
    "command-struct": lambda payload: _command(payload, "struct"),
    "message-struct": _struct,
    "message-msgpack": lambda payload: _message(payload, Encoding.MSGPACK),
    "message-json": lambda payload: _message(payload, Encoding.JSON),
    "manifest": _manifest,
    "line": _line,
    "keys": _keys,
    "modbus": _modbus,
    "mqtt": _mqtt,
    "sparkplug": _sparkplug,
    "opcua": _opcua,
}


# Deeper than any recursion limit, and what is costly to take apart.
HOSTILE = (
    b"[" * 4000,
    b'{"v":' * 1500,
    b"\x91" * 4000,
    b"\xdc\x0f\xff" + b"\x90" * 4095,
    b"a = " + b"[" * 4000,
)


def corpus(target: str) -> list[bytes]:
    """Bytes to start from: good ones, and some that are known to hurt."""
    return [*good(target), *HOSTILE]


def good(target: str) -> list[bytes]:
    """Bytes that the target accepts, or nearly."""
    if target == "line":
        folder = Path(__file__).resolve().parent.parent / "config"
        return [path.read_bytes() for path in sorted(folder.glob("line-*.toml"))]
    if target == "keys":
        lines = (
            b"curve",
            b'    public-key = "%s"' % (b"0" * 40),
            b'    line-key = "%s"' % (b"z" * 40),
        )
        return [b"\n".join(lines)]
    if target == "modbus":
        return [bytes([0, 15, 0, 7, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1]) + bytes(20)]
    if target == "mqtt":
        return [b'plc-1/trigger\0{"trig": "7", "session": "3"}', b'plc-1/picture\0{"seq": 3}']
    if target == "sparkplug":
        trigger = (
            Metric("Command/Session", "77", MetricType.STRING, 5),
            Metric("Command/Trigger", "p-1", MetricType.STRING),
            Metric("Command/Acknowledge", 3, MetricType.UINT64, historical=True),
            Metric("Node Control/Rebirth", True, MetricType.BOOLEAN),
            Metric("d", 0.5, MetricType.DOUBLE),
        )
        return [
            write_payload(Payload(trigger, 7, 255), with_types=typed) for typed in (True, False)
        ]
    if target == "opcua":
        return _opcua_calls()
    if target == "manifest":
        return [b'{"schema_version": 1, "name": "a", "versions": {}, "files": {}}']
    if target.startswith("command"):
        messages = [
            {"v": 1, "type": "hello"},
            {"v": 1, "type": "trigger", "trig": "7", "recipe": "parts", "budget_us": 40000},
            {"v": 1, "type": "ack", "seq": 1},
            {"v": 1, "type": "prepare", "bundle": "fabric-0123456789ab"},
            {"v": 1, "type": "roll_start", "name": "roll 7"},
        ]
    else:
        messages = _canonical()
    if target.endswith("struct"):
        return [pack(message) for message in messages if message["type"] not in ("prepare", "web")]
    write = msgpack.packb if target.endswith("msgpack") else lambda m: json.dumps(m).encode()
    return [write(message) for message in messages]


def _canonical() -> list[dict[str, Any]]:
    return [case["message"] for case in json.loads(_VECTORS.read_text())["canonical"]]


def _opcua_calls() -> list[bytes]:
    """One of each method, with as many empty, numeric or structured arguments as it takes."""
    from asyncua import ua
    from asyncua.ua.ua_binary import variant_to_binary

    from kenpin.runtime.bridges.opcua.structures import define_structures

    made = define_structures(2)
    named = [
        ua.Variant(made[kind](Id=text), ua.VariantType.ExtensionObject)
        for kind, text in (
            ("MeasIdDataType", "4712"), ("PartIdDataType", "left"),
            ("RecipeIdInternalDataType", "a@0123456789ab"),
            ("ResultIdDataType", f"{_BOOT}:1"), ("JobIdDataType", ""),
        )
    ]  # fmt: skip
    numbers = [ua.Variant(0, ua.VariantType.Int32), ua.Variant(1, ua.VariantType.UInt32)]
    texts = [ua.Variant("77", ua.VariantType.String), ua.Variant()]
    found = []
    for number in range(16):
        for given in (
            texts[:1], named[2:3], named[3:4], [*named[3:4], *numbers[:1]], numbers, named[:2],
            [*named[:3], named[4], *texts[1:]], [*named[2:4], *numbers, *numbers],
            [numbers[0], *named, *texts[1:], *named[:2], *numbers, numbers[0]],
        ):  # fmt: skip
            found.append(bytes([number]) + b"".join(variant_to_binary(one) for one in given))
    return found
