"""The Sparkplug bridge's process: an edge node between the line and a broker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kenpin.config.bridge_sparkplug import SparkplugSettings
from kenpin.runtime.bridges.line_watch import LineWatch
from kenpin.runtime.bridges.link import LineLink, Unsaid
from kenpin.runtime.bridges.mqtt.backlog import Backlog
from kenpin.runtime.bridges.mqtt.broker import Client, Message, MqttError, Will, stay_connected
from kenpin.runtime.bridges.mqtt.hub import FRESH_NS
from kenpin.runtime.bridges.process import Bridged
from kenpin.runtime.bridges.sparkplug.node import EdgeNode, asks_rebirth, commands_of
from kenpin.runtime.bridges.sparkplug.payload import PayloadError
from kenpin.runtime.wire.client import Heard

__all__ = ["SparkplugBridge", "serve"]

_ROOM = 5000
# Between two looks whether the line is heard, and what waits in the store.
_LOOK_S = 0.1
_GOODBYE_S = 1.0
# What a state or an alarm says is true until the next one; these are of their moment.
_AGES = frozenset({"verdict", "hb"})


async def serve(settings: SparkplugSettings, bridged: Bridged) -> None:
    """The whole bridge; see `kenpin.runtime.bridges.process.BridgeWork`."""
    bridge = SparkplugBridge(settings, bridged)
    connection = asyncio.create_task(
        stay_connected(settings, bridged, bridge.will, bridge.talk, bridge.lost)
    )
    try:
        await bridged.until_end()
    finally:
        connection.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await connection
        bridge.link.close()


@dataclass(frozen=True, slots=True)
class _Said:
    """A message of the line on its way.

    to_all  it was published; else it was said to whoever commands
    """

    fields: Mapping[str, Any]
    to_all: bool

    @property
    def old(self) -> bool:
        """Whether it says nothing of the present any more; what answers somebody does not age."""
        ages = self.to_all and self.fields["type"] in _AGES
        return ages and time.monotonic_ns() - self.fields["t_mono_ns"] > FRESH_NS


class SparkplugBridge:
    """Between the line's own link and one connection to a broker after another."""

    def __init__(self, settings: SparkplugSettings, bridged: Bridged) -> None:
        self._settings = settings
        self._bridged = bridged
        facts = bridged.facts
        self._node = EdgeNode(settings.group, settings.node_of(facts.box, facts.line), facts.line)
        self.store = Backlog(settings.store_bytes)
        self._waiting: asyncio.Queue[_Said | None] = asyncio.Queue(_ROOM)
        self._connected = self._birth_is_due = False
        self._line = LineWatch()
        self.link: LineLink = bridged.link(self._heard)

    # -- from the line ---------------------------------------------------------------------

    def _heard(self, message: Heard | Unsaid) -> None:
        if isinstance(message, Unsaid):
            self._error(message.kind, message.fields.get("trig"), message.why)
            return
        self._line.heard(message, time.monotonic_ns())
        self._node.note(message.fields)
        self._offer(_Said(message.fields, to_all=bool(message.topic)))

    def _error(self, about: str, trig: object, detail: str) -> None:
        said = {"v": 1, "type": "error", "about": about, "trig": trig, "detail": detail}
        self._offer(_Said(said, to_all=False))

    def _offer(self, said: _Said) -> None:
        if not self._connected or self._waiting.full():
            self._keep(said)
        else:
            self._waiting.put_nowait(said)

    def _keep(self, said: _Said) -> None:
        """A verdict waits for the broker; everything else is of the past."""
        if said.to_all and said.fields["type"] == "verdict":
            self.store.add(json.dumps(said.fields, separators=(",", ":")).encode())

    # -- the connection --------------------------------------------------------------------

    def will(self) -> Will:
        """NDEATH."""
        return Will(self._node.topic("NDEATH"), self._node.will(), 1, False)

    def lost(self) -> None:
        """The broker has gone."""
        self._connected = False
        while not self._waiting.empty():
            said = self._waiting.get_nowait()
            if said is not None:
                self._keep(said)

    async def talk(self, client: Client) -> None:
        """As long as the broker is there; NDEATH goes before our own DISCONNECT."""
        for kind in ("NCMD", "DCMD"):
            await client.subscribe(self._node.topic(kind), qos=1)
        settings = self._settings
        self._node.connected()
        self._connected = self._birth_is_due = True
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._hear(client))
                tasks.create_task(self._publish(client))
                self._bridged.tell(
                    address=f"sparkplug://{settings.host}:{settings.port}/{settings.group}"
                )
        except asyncio.CancelledError:
            death = client.publish(self._node.topic("NDEATH"), self._node.death(), 1)
            with contextlib.suppress(TimeoutError, MqttError):
                await asyncio.wait_for(death, _GOODBYE_S)
            raise

    async def _publish(self, client: Client) -> None:
        """Everything goes through here, one by one: so `seq` has no gap."""
        while True:
            said = await self._next()
            try:
                await self._certify(client)
                if said is not None and self._node.born and not said.old:
                    data = self._node.data(said.fields, _now_ms(), to_all=said.to_all)
                    await self._send(client, "DDATA", data)
                    said = None
            finally:
                # Whatever it is that was not said.
                if said is not None:
                    self._keep(said)
            if self._may_tell_history:
                await self._publish_stored(client)

    async def _next(self) -> _Said | None:
        """What is to be told; None: nothing of the present."""
        if self._waiting.empty() and not self._may_tell_history:
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(self._waiting.get(), _LOOK_S)
        return None if self._waiting.empty() else self._waiting.get_nowait()

    @property
    def _may_tell_history(self) -> bool:
        """Whether something is stored, and nothing of the present waits."""
        return bool(self.store) and self._waiting.empty() and self._node.born

    async def _certify(self, client: Client) -> None:
        """Births and deaths that are due, before anything else is said."""
        node, now_ms = self._node, _now_ms()
        if self._birth_is_due:
            self._birth_is_due = False
            await self._send(client, "NBIRTH", node.birth(now_ms))
        there = self._line.state_number(time.monotonic_ns()) != 0
        if there and not node.born:
            await self._send(client, "DBIRTH", node.device_birth(now_ms))
            # Of alarms a birth itself could tell the last one only.
            for alarm in tuple(self._line.alarms.values()):
                await self._send(client, "DDATA", node.data(alarm, now_ms, to_all=True))
        elif node.born and not there:
            await self._send(client, "DDEATH", node.device_death(now_ms))

    async def _publish_stored(self, client: Client) -> None:
        """The oldest that waited, as history."""
        payload = self.store.take()
        data = self._node.data(json.loads(payload), _now_ms(), to_all=True, historical=True)
        try:
            await self._send(client, "DDATA", data)
        except BaseException:
            self.store.add(payload)
            raise
        await asyncio.sleep(0)  # thousands may wait, and the line is to be heard meanwhile

    async def _send(self, client: Client, kind: str, payload: bytes) -> None:
        await client.publish(self._node.topic(kind), payload, 0, False)

    # -- from hosts ------------------------------------------------------------------------

    async def _hear(self, client: Client) -> None:
        async for message in client.messages:
            try:
                self._command(message)
            except PayloadError as error:
                self._error("", None, f"no Sparkplug payload: {error}")

    def _command(self, message: Message) -> None:
        payload = message.payload
        assert isinstance(payload, bytes)
        if str(message.topic) == self._node.topic("NCMD"):
            if asks_rebirth(payload):
                self._birth_is_due = True
                self._wake()
            return
        if message.retain:
            self._error("", None, "a retained command: the part has long gone; publish it anew")
            return
        for kind, fields, why in commands_of(payload):
            if fields is None:
                self._error(kind, None, why)
            elif kind == "hello":
                self.link.begin(fields["session"])
            else:
                self.link.say(kind, **fields)

    def _wake(self) -> None:
        if self._waiting.empty():
            self._waiting.put_nowait(None)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
