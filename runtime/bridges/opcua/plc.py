"""A simulated PLC's side of the OPC UA bridge: methods that it calls, and events that it hears.

A result counts for what the specification's fields say of it; what the line itself said
travels with each event and must agree with them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import queue
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from asyncua import Client, ua

from kenpin.config.bridge_opcua import OpcuaSettings
from kenpin.config.errors import ConfigError
from kenpin.runtime.bridges.nonsense import send_nonsense
from kenpin.runtime.bridges.opcua.result_fields import PART_MARK, ids_of, job_id, result_fields
from kenpin.runtime.bridges.opcua.structures import define_structures
from kenpin.runtime.bridges.opcua.table import COMPANION_URI
from kenpin.runtime.bridges.opcua.vision_system import LINE_URI
from kenpin.runtime.bridges.process import BridgedLine
from kenpin.runtime.bridges.refusal import TriggerRefusal
from kenpin.runtime.wire.client import Heard, LineSilentError
from kenpin.runtime.wire.errors import WireError
from kenpin.runtime.wire.map_encoding import Encoding, decode

__all__ = ["OpcuaPlc", "open_plc", "reduced", "stall"]

_CONNECT_S = 3.0
_AGAIN_S = 0.3
_LOOK_S = 0.05
# What was published longer ago is of no use to a gate; as in the MQTT bridge.
_FRESH_NS = 300_000_000
_FIELDS = (
    "EventType", "Said", "Topic", "ResultId", "ResultState", "IsPartial", "IsSimulated", "JobId",
    "MeasId", "PartId", "InternalRecipeId", "ResultContent", "CreationTime",
)  # fmt: skip
_REASONS = {-TriggerRefusal.STALE: "stale", -TriggerRefusal.DUPLICATE: "duplicate"}
_Work = Callable[[], Coroutine[Any, Any, None]]
_QUIET = logging.getLogger("asyncua")


def open_plc(settings: OpcuaSettings, facts: BridgedLine, session: str, _poll_s: float) -> OpcuaPlc:
    """A PLC that talks with the line through this bridge; see `BridgeKind.plc`."""
    return OpcuaPlc(settings, facts.line, session)


def reduced(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """A published verdict as `OpcuaPlc` tells it: its PartId is a field of its own."""
    return dict(verdict) | {"trig": ids_of(verdict["trig"])[0] or None}


class OpcuaPlc:
    """Like a `LineClient`, through an OPC UA server on this computer: clocks are compared.

    session  that it opens

    Raises
    ------
    LineSilentError
        If nobody lets it in.
    """

    numbered = "seq"

    def __init__(self, settings: OpcuaSettings, line: str, session: str) -> None:
        if settings.certificate is not None:
            raise ConfigError("edge-plc talks OPC UA without certificates only, on this computer")
        _QUIET.setLevel(logging.CRITICAL)
        self._settings = settings
        self._line = line
        self._session = session
        self._arrived: queue.SimpleQueue[Heard | WireError] = queue.SimpleQueue()
        self._unacknowledged: set[int] = set()
        # Since when the bridge knows our session; before, it names no parts of ours either.
        self._opened_ns: int | None = None
        self._boot = ""
        self._tasks: list[asyncio.Task[None]] = []
        self._loop = asyncio.new_event_loop()
        self._commands: asyncio.Queue[_Work] = asyncio.Queue()
        self._thread = threading.Thread(target=self._run, name="edge-plc-opcua", daemon=True)
        self._thread.start()
        self._where = f"opc.tcp://{settings.address}:{settings.port}"
        self._client = Client(self._where, timeout=_CONNECT_S)
        try:
            self._wait(self._enter())
        except (OSError, TimeoutError, ua.UaError, asyncio.CancelledError) as error:
            self.close()
            raise LineSilentError(f"nobody lets us in at {self._where} ({error!r})") from None

    def _run(self) -> None:
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(3 * _CONNECT_S)

    async def _enter(self) -> None:
        await self._client.connect()
        self._index = await self._client.get_namespace_index(LINE_URI)
        self._companion = await self._client.get_namespace_index(COMPANION_URI)
        subscription = await self._client.create_subscription(0, self)
        node = self._client.get_node(self._id("Line"))
        await subscription.subscribe_events(node, evfilter=self._filter(), queuesize=0)
        self._tasks = [
            asyncio.create_task(work) for work in (self._obey(), self._look_for_results())
        ]

    def _filter(self) -> ua.EventFilter:
        wanted = []
        for name in _FIELDS:
            index = {"EventType": 0, "Said": self._index, "Topic": self._index}
            operand = ua.SimpleAttributeOperand(
                TypeDefinitionId=ua.NodeId(ua.ObjectIds.BaseEventType),
                BrowsePath=[ua.QualifiedName(name, index.get(name, self._companion))],
                AttributeId=ua.AttributeIds.Value,
            )
            wanted.append(operand)
        return ua.EventFilter(SelectClauses=wanted)

    def _id(self, path: str) -> ua.NodeId:
        return ua.NodeId(f"VisionSystem.{path}", self._index)

    def _structure(self, kind: str, text: str) -> ua.Variant:
        made = define_structures(self._companion)[kind](Id=text)
        return ua.Variant(made, ua.VariantType.ExtensionObject)

    def close(self) -> None:
        """Let go. Closing twice is harmless."""
        if self._loop.is_closed() or not self._thread.is_alive():
            return
        with contextlib.suppress(OSError, TimeoutError, ua.UaError, asyncio.CancelledError):
            asyncio.run_coroutine_threadsafe(self._leave(), self._loop).result(2)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    async def _leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        try:
            await asyncio.wait_for(self._client.disconnect(), 1.0)
        finally:
            self._client.disconnect_socket()

    # -- saying ----------------------------------------------------------------------------

    def say(self, kind: str, *, within_s: float = 5.0, **fields: Any) -> None:  # noqa: ARG002
        """Call the method that does what this command does.

        Raises
        ------
        LineSilentError
            If this client was closed.
        """
        works: Mapping[str, _Work] = {
            "hello": self._hello,
            "trigger": lambda: self._trigger(fields["trig"]),
            "ack": lambda: self._acknowledge(fields["seq"]),
            "prepare": lambda: self._change("RecipeManagement.PrepareRecipe", fields["bundle"]),
            "activate": lambda: self._change("Line.ActivateRecipe", fields["bundle"]),
        }
        if self._loop.is_closed():
            raise LineSilentError(f"not connected with {self._where}")
        if kind in works:
            self._loop.call_soon_threadsafe(self._commands.put_nowait, works[kind])

    def say_raw(self, *parts: bytes, within_s: float = 5.0) -> None:
        """Bytes that are no message, over a connection of their own: ours would be cut."""
        send_nonsense(self._settings.address, self._settings.port, parts, within_s)

    async def _obey(self) -> None:
        while True:
            command = await self._commands.get()
            # Silence: the PLC rejects, and whoever drives it connects again.
            with contextlib.suppress(OSError, TimeoutError, ua.UaError):
                await command()

    async def _call(self, path: str, *given: ua.Variant) -> list[Any]:
        parent = self._client.get_node(self._id(path.rpartition(".")[0]))
        found = await parent.call_method(self._id(path), *given)
        return found if isinstance(found, list) else [found]

    async def _hello(self) -> None:
        while (await self._call("Line.OpenSession", ua.Variant(self._session)))[0]:
            await asyncio.sleep(_AGAIN_S)
        self._opened_ns = self._opened_ns or time.monotonic_ns()
        # Of parts before: their events went to a connection that has gone.
        await self._list_results(missed=True)

    async def _trigger(self, trig: str) -> None:
        part = str(int(trig) % 1000)
        nothing = ua.Variant([], ua.VariantType.Variant, is_array=True)
        _, error = await self._call(
            "VisionStateMachine.AutomaticModeStateMachine.StartSingleJob",
            self._structure("MeasIdDataType", trig), self._structure("PartIdDataType", part),
            self._structure("RecipeIdExternalDataType", ""),
            self._structure("ProductIdDataType", ""), nothing,
        )  # fmt: skip
        if error:
            about: dict[str, Any] = {"type": "error", "about": "trigger", "trig": trig}
            about |= {"reason": _REASONS.get(error), "detail": f"trigger {trig} refused: {error}"}
            self._arrived.put(Heard("error", about, time.monotonic_ns()))

    async def _acknowledge(self, seq: int) -> None:
        self._unacknowledged.discard(seq)
        named = self._structure("ResultIdDataType", f"{self._boot}:{seq}")
        await self._call("Line.Acknowledge", named)

    async def _change(self, path: str, label: str) -> None:
        recipe = self._structure("RecipeIdInternalDataType", label)
        given = [recipe]
        if path.endswith("PrepareRecipe"):
            given = [self._structure("RecipeIdExternalDataType", ""), recipe]
        error = (await self._call(path, *given))[-1]
        if error:
            said = {"type": "failed", "detail": f"{path} failed: {error}"}
            self._arrived.put(Heard("failed", said, time.monotonic_ns()))

    # -- hearing ---------------------------------------------------------------------------

    def receive(self, timeout_s: float = 0.0) -> Heard | None:
        """The next message, or None.

        Raises
        ------
        WireError
            If an event contradicts itself.
        """
        try:
            found = self._arrived.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            return None
        if isinstance(found, WireError):
            raise found
        return found

    def event_notification(self, event: Any) -> None:
        """An event came, on the thread of ours."""
        at_ns = time.monotonic_ns()
        if event.Said is None:
            return  # of the state machine, which the line's own state tells as well
        try:
            fields: dict[str, Any] = json.loads(event.Said)
            if fields["type"] in ("verdict", "state"):
                decode(event.Said.encode(), Encoding.JSON)
            if fields["type"] == "verdict":
                _agree(fields, event, named=self._must_name(fields))
        except (WireError, ValueError, TypeError) as error:
            self._arrived.put(WireError(str(error)))
            return
        self._boot = fields.get("boot", self._boot)
        kind, topic = fields["type"], event.Topic
        if kind == "verdict":
            self._verdict(fields, at_ns, topic)
        elif not topic:
            self._arrived.put(Heard(kind, _cut(fields), at_ns))
        elif kind == "alarm" or at_ns - fields["t_mono_ns"] <= _FRESH_NS:
            self._arrived.put(Heard(kind, fields, at_ns, topic))

    def _must_name(self, fields: Mapping[str, Any]) -> bool:
        """Whether an event about this verdict names the part; it may not if it is not ours."""
        since_ns = self._opened_ns
        ours = fields["trig"] and fields.get("session") == self._session
        return bool(ours) and since_ns is not None and fields["t_mono_ns"] > since_ns

    def _verdict(self, fields: dict[str, Any], at_ns: int, topic: str) -> None:
        fields = reduced(fields)
        if topic and at_ns - fields["t_mono_ns"] <= _FRESH_NS:
            self._arrived.put(Heard("verdict", fields, at_ns, topic))
        if fields["trig"] and fields.get("session") == self._session:
            self._unacknowledged.add(fields["seq"])
            self._arrived.put(Heard("verdict", fields, at_ns))

    async def _look_for_results(self) -> None:
        """Ask for what was not acknowledged, as a PLC does that may have missed an event."""
        while True:
            await asyncio.sleep(_LOOK_S)
            if self._unacknowledged:
                with contextlib.suppress(OSError, TimeoutError, ua.UaError):
                    await self._list_results()

    async def _list_results(self, *, missed: bool = False) -> None:
        given = [ua.Variant(0, ua.VariantType.Int32)]
        for kind in (
            "MeasIdDataType", "PartIdDataType", "RecipeIdExternalDataType",
            "RecipeIdInternalDataType", "ConfigurationIdDataType", "ConfigurationIdDataType",
            "ProductIdDataType", "JobIdDataType",
        ):  # fmt: skip
            given.append(self._structure(kind, ""))
        given += [ua.Variant(0, ua.VariantType.UInt32)] * 2
        given.append(ua.Variant(0, ua.VariantType.Int32))
        found = await self._call("ResultManagement.GetResultListFiltered", *given)
        listed = set()
        for result in found[3] or []:
            fields, now_ns = (
                reduced(json.loads(result.ResultContent[-1].Value)),
                time.monotonic_ns(),
            )
            listed.add(fields["seq"])
            # An answer overtakes events that are under way, so a result is read in the list only
            # if its event has come, or will come no more.
            known = missed or fields["seq"] in self._unacknowledged
            known |= now_ns - fields["t_mono_ns"] > _FRESH_NS
            if known and fields.get("session") == self._session:
                self._arrived.put(Heard("verdict", fields, now_ns))
        self._unacknowledged &= listed


def _cut(fields: dict[str, Any]) -> dict[str, Any]:
    trig = fields.get("trig")
    return fields | {"trig": trig.partition(PART_MARK)[0]} if trig else fields


def _agree(fields: Mapping[str, Any], event: Any, *, named: bool) -> None:
    """The specification's fields must say what the line said, and the part's names if `named`."""
    wanted = result_fields(fields)
    ids = event.MeasId.Id if event.MeasId else "", event.PartId.Id if event.PartId else ""
    found = {
        "ResultId": (event.ResultId.Id, wanted.result),
        "ResultState": (event.ResultState, wanted.state),
        "IsPartial": (event.IsPartial, False),
        "IsSimulated": (event.IsSimulated, wanted.simulated),
        "JobId": (event.JobId.Id, job_id(fields)),
        "MeasId and PartId": (ids, (wanted.meas, wanted.part) if named or any(ids) else ids),
        "InternalRecipeId": (event.InternalRecipeId.Hash or b"", wanted.recipe_hash),
        "ResultContent": ([v.Value for v in event.ResultContent][:3], list(wanted.content[:3])),
    }
    for name, (actual, meant) in found.items():
        if actual != meant:
            raise WireError(f"result {wanted.result}: {name} is {actual!r}, meant is {meant!r}")


def stall(settings: OpcuaSettings) -> Callable[[], None]:
    """A client that says hello to the server, asks on, and never reads; what ends it."""
    url = f"opc.tcp://{settings.address}:{settings.port}".encode()
    one = socket.create_connection((settings.address, settings.port), 5)
    sizes = [0, 65536, 65536, 0, 0, len(url)]
    body = b"".join(size.to_bytes(4, "little") for size in sizes) + url
    one.sendall(b"HELF" + (8 + len(body)).to_bytes(4, "little") + body)
    return one.close
