"""The MQTT bridge's process: a hub between the line and a broker."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import time
from collections.abc import Callable
from typing import Any

from kenpin.config.bridge_mqtt import MqttSettings
from kenpin.runtime.bridges.line_watch import LineWatch
from kenpin.runtime.bridges.link import LineLink, Unsaid
from kenpin.runtime.bridges.mqtt.backlog import Backlog
from kenpin.runtime.bridges.mqtt.broker import UNDER_WAY, Client, Will, stay_connected
from kenpin.runtime.bridges.mqtt.hub import FRESH_NS, Hub, Outgoing, base_topic
from kenpin.runtime.bridges.mqtt.pictures import Pictures, collect
from kenpin.runtime.bridges.process import Bridged
from kenpin.runtime.wire.client import Heard
from kenpin.runtime.wire.map_encoding import MAX_MESSAGE_BYTES

__all__ = ["MqttBridge", "serve"]

# Messages that may wait for a broker that is there; what ages is not kept in them for long.
_ROOM = 5000
# Beside so many messages a picture does not wait: they are large.
_ROOM_FOR_PICTURES = 20
_HEALTH_S = 1.0


async def serve(settings: MqttSettings, bridged: Bridged) -> None:
    """The whole bridge; see `kenpin.runtime.bridges.process.Work`."""
    bridge = MqttBridge(settings, bridged)
    link = bridged.link(bridge.heard)
    connection = asyncio.create_task(
        stay_connected(settings, bridged, bridge.will, bridge.talk, bridge.lost)
    )
    work = [connection]
    if settings.picture_bytes:
        work.append(asyncio.create_task(collect(bridged, bridge.pictures)))
    try:
        await bridged.until_end()
    finally:
        for task in work:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        bridge.hub.close()
        link.close()


class MqttBridge:
    """Between the line's own link and one connection to a broker after another."""

    def __init__(self, settings: MqttSettings, bridged: Bridged) -> None:
        self._settings = settings
        self._bridged = bridged
        self._base = base_topic(settings.prefix, bridged.facts.line)
        self._waiting: asyncio.Queue[Outgoing] = asyncio.Queue(_ROOM)
        self._connected = False
        self._line = LineWatch()
        self.pictures = Pictures(settings.picture_bytes)
        self.store = Backlog(settings.store_bytes)
        self.hub = Hub(self._send, self._open, self.store, settings.clients, self.pictures)

    def heard(self, message: Heard | Unsaid) -> None:
        """Something that the line tells everybody."""
        now_ns = time.monotonic_ns()
        if isinstance(message, Heard):
            self._line.heard(message, now_ns)
        self.hub.published(message, now_ns)

    def _open(self, name: str, hear: Callable[[Heard | Unsaid], None]) -> LineLink:
        return self._bridged.link(hear, suffix=f"-{name}", listen=False)

    def _send(self, outgoing: Outgoing) -> bool:
        room = _ROOM if len(outgoing.payload) <= MAX_MESSAGE_BYTES else _ROOM_FOR_PICTURES
        if not self._connected or self._waiting.qsize() >= room:
            return False
        self._waiting.put_nowait(outgoing)
        return True

    # -- the connection --------------------------------------------------------------------

    def will(self) -> Will:
        """What the broker says when we are gone."""
        return Will(self._base + "health", self._health(online=False), 1, True)

    async def talk(self, client: Client) -> None:
        """As long as the broker is there."""
        settings = self._settings
        await client.subscribe(f"{self._base}in/+/+", qos=0)
        await client.subscribe(f"{self._base}alarm/+", qos=0)
        self._connected = True
        self._bridged.tell(address=f"mqtt://{settings.host}:{settings.port}/{self._base}")
        self.hub.connected()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hear(client))
            tasks.create_task(self._publish_all(client))
            tasks.create_task(self._publish_stored(client))
            tasks.create_task(self._tell_health(client))

    def lost(self) -> None:
        """What waits for a broker that has gone: verdicts are kept, the rest is of the past."""
        self._connected = False
        while not self._waiting.empty():
            self._keep(self._waiting.get_nowait())

    def _keep(self, outgoing: Outgoing) -> None:
        if outgoing.topic == "verdict":
            self.store.add(outgoing.payload)

    async def _hear(self, client: Client) -> None:
        async for message in client.messages:
            topic = str(message.topic).removeprefix(self._base)
            if topic.startswith("alarm/"):
                if message.retain:
                    self.hub.kept(topic, message.payload)
                continue
            self.hub.said(topic, message.payload, time.monotonic_ns(), retained=message.retain)

    async def _publish_all(self, client: Client) -> None:
        free = asyncio.Semaphore(UNDER_WAY)
        async with asyncio.TaskGroup() as tasks:
            while True:
                # Nothing is taken that could not be on its way at once: it would be nobody's.
                await free.acquire()
                outgoing = await self._waiting.get()
                if _too_old(outgoing):
                    self._keep(outgoing)
                    free.release()
                    continue
                task = tasks.create_task(self._publish(client, outgoing))
                task.add_done_callback(functools.partial(self._published, free, outgoing))

    async def _publish(self, client: Client, outgoing: Outgoing) -> None:
        topic = self._base + outgoing.topic
        await client.publish(topic, outgoing.payload, outgoing.qos, outgoing.retain)

    def _published(
        self, free: asyncio.Semaphore, outgoing: Outgoing, task: asyncio.Task[None]
    ) -> None:
        """Also of one that never began."""
        free.release()
        if task.cancelled() or task.exception() is not None:
            # It may have arrived: whoever reads it knows it by boot and seq.
            self._keep(outgoing)

    async def _publish_stored(self, client: Client) -> None:
        store = self.store
        while True:
            while store:
                payload = store.take()
                try:
                    await client.publish(f"{self._base}stored/verdict", payload, 1)
                except BaseException:
                    store.add(payload)
                    raise
            await asyncio.sleep(0.1)

    async def _tell_health(self, client: Client) -> None:
        while True:
            await client.publish(f"{self._base}health", self._health(online=True), 1, True)
            await asyncio.sleep(_HEALTH_S)

    def _health(self, *, online: bool) -> bytes:
        store, line = self.store, self._line
        said: dict[str, Any] = {"v": 1, "type": "health", "online": online}
        if online:
            said["line_well"] = line.well(time.monotonic_ns())
            said |= {"stored": len(store), "lost": store.lost, "t_wall_ns": time.time_ns()}
        return json.dumps(said).encode()


def _too_old(outgoing: Outgoing) -> bool:
    made_ns = outgoing.made_ns
    return made_ns is not None and time.monotonic_ns() - made_ns > FRESH_NS
