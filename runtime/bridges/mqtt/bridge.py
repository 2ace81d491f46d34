"""The MQTT bridge's process: a hub between the line and a broker.

The one module that knows aiomqtt.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

import aiomqtt

from kenpin.config.bridge_mqtt import MqttSettings
from kenpin.config.errors import ConfigError
from kenpin.runtime.bridges.line_watch import LineWatch
from kenpin.runtime.bridges.link import LineLink, Unsaid
from kenpin.runtime.bridges.mqtt.backlog import Backlog
from kenpin.runtime.bridges.mqtt.hub import FRESH_NS, Hub, Outgoing, base_topic
from kenpin.runtime.bridges.process import Bridged
from kenpin.runtime.wire.client import Heard

__all__ = ["serve"]

_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
# Without an answer for so long, and half of it, the broker is away.
_KEEPALIVE_S = 5
# Messages that may wait for a broker that is there; what ages is not kept in them for long.
_ROOM = 5000
_HEARD_ROOM = 1000
_UNDER_WAY = 20
_HEALTH_S = 1.0


async def serve(settings: MqttSettings, bridged: Bridged) -> None:
    """The whole bridge; see `kenpin.runtime.bridges.process.Work`."""
    bridge = _MqttBridge(settings, bridged)
    link = bridged.link(bridge.heard)
    connection = asyncio.create_task(bridge.keep_connected())
    try:
        await bridged.until_end()
    finally:
        connection.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await connection
        bridge.hub.close()
        link.close()


class _MqttBridge:
    def __init__(self, settings: MqttSettings, bridged: Bridged) -> None:
        self._settings = settings
        self._bridged = bridged
        self._base = base_topic(settings.prefix, bridged.facts.line)
        self._waiting: asyncio.Queue[Outgoing] = asyncio.Queue(_ROOM)
        self._connected = False
        self._line = LineWatch()
        self.hub = Hub(self._send, self._open, Backlog(settings.store_bytes), settings.clients)

    def heard(self, message: Heard | Unsaid) -> None:
        """Something that the line tells everybody."""
        now_ns = time.monotonic_ns()
        if isinstance(message, Heard):
            self._line.heard(message, now_ns)
        self.hub.published(message, now_ns)

    def _open(self, name: str, hear: Callable[[Heard | Unsaid], None]) -> LineLink:
        return self._bridged.link(hear, suffix=f"-{name}", listen=False)

    def _send(self, outgoing: Outgoing) -> bool:
        if not self._connected or self._waiting.full():
            return False
        self._waiting.put_nowait(outgoing)
        return True

    # -- the connection --------------------------------------------------------------------

    async def keep_connected(self) -> None:
        """Connect, and again whenever the broker goes away, at growing pauses."""
        where = f"{self._settings.host}:{self._settings.port}"
        failures = 0
        while True:
            begun_s = time.monotonic()
            try:
                async with self._client() as client:
                    await self._talk(client, where)
            except* aiomqtt.MqttError as errors:
                self._lost()
                self._bridged.tell(fault=f"no broker at {where}: {_first(errors)}")
            if time.monotonic() - begun_s > _KEEPALIVE_S:
                failures = 0
            await asyncio.sleep(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)])
            failures += 1

    def _client(self) -> aiomqtt.Client:
        settings, facts = self._settings, self._bridged.facts
        tls = aiomqtt.TLSParameters(ca_certs=str(settings.ca)) if settings.ca else None
        quiet = logging.getLogger("kenpin.mqtt")
        quiet.setLevel(logging.CRITICAL)
        return aiomqtt.Client(
            settings.host,
            settings.port,
            username=settings.user,
            password=_password(settings),
            identifier=f"kenpin-{facts.box}-{facts.line}-{settings.called}",
            will=aiomqtt.Will(self._base + "health", self._health(online=False), 1, True),
            clean_session=True,
            keepalive=_KEEPALIVE_S,
            max_queued_incoming_messages=_HEARD_ROOM,
            max_inflight_messages=_UNDER_WAY,
            tls_params=tls,
            # Small messages must not wait for the acknowledgement of others: 40 ms each.
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
            logger=quiet,
        )

    async def _talk(self, client: aiomqtt.Client, where: str) -> None:
        await client.subscribe(f"{self._base}in/+/+", qos=0)
        self._connected = True
        self._bridged.tell(address=f"mqtt://{where}/{self._base}")
        self.hub.connected()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hear(client))
            tasks.create_task(self._publish_all(client))
            tasks.create_task(self._publish_stored(client))
            tasks.create_task(self._tell_health(client))

    def _lost(self) -> None:
        """What waits for a broker that has gone: verdicts are kept, the rest is of the past."""
        self._connected = False
        while not self._waiting.empty():
            self._keep(self._waiting.get_nowait())

    def _keep(self, outgoing: Outgoing) -> None:
        if outgoing.topic == "verdict":
            self.hub.store.add(outgoing.payload)

    async def _hear(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            topic = str(message.topic).removeprefix(self._base)
            self.hub.said(topic, message.payload, retained=message.retain)

    async def _publish_all(self, client: aiomqtt.Client) -> None:
        room = asyncio.Semaphore(_UNDER_WAY)
        async with asyncio.TaskGroup() as tasks:
            while True:
                outgoing = await self._waiting.get()
                if _too_old(outgoing):
                    self._keep(outgoing)
                    continue
                await room.acquire()
                tasks.create_task(self._publish(client, outgoing, room))

    async def _publish(
        self, client: aiomqtt.Client, outgoing: Outgoing, room: asyncio.Semaphore
    ) -> None:
        done = False
        try:
            await client.publish(
                self._base + outgoing.topic, outgoing.payload, outgoing.qos, outgoing.retain
            )
            done = True
        finally:
            room.release()
            if not done:
                # It may have arrived: whoever reads it knows it by boot and seq.
                self._keep(outgoing)

    async def _publish_stored(self, client: aiomqtt.Client) -> None:
        store = self.hub.store
        while True:
            while store:
                payload = store.take()
                try:
                    await client.publish(f"{self._base}stored/verdict", payload, 1)
                except BaseException:
                    store.add(payload)
                    raise
            await asyncio.sleep(0.1)

    async def _tell_health(self, client: aiomqtt.Client) -> None:
        while True:
            await client.publish(f"{self._base}health", self._health(online=True), 1, True)
            await asyncio.sleep(_HEALTH_S)

    def _health(self, *, online: bool) -> bytes:
        store, line = self.hub.store, self._line
        said: dict[str, Any] = {"v": 1, "type": "health", "online": online}
        if online:
            said["line_well"] = line.well(time.monotonic_ns())
            said |= {"stored": len(store), "lost": store.lost, "t_wall_ns": time.time_ns()}
        return json.dumps(said).encode()


def _first(errors: BaseException) -> BaseException:
    """The first of those that tasks beside each other raised."""
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return errors


def _too_old(outgoing: Outgoing) -> bool:
    made_ns = outgoing.made_ns
    return made_ns is not None and time.monotonic_ns() - made_ns > FRESH_NS


def _password(settings: MqttSettings) -> str | None:
    if settings.password_file is None:
        return None
    try:
        return settings.password_file.read_text(encoding="utf-8").splitlines()[0]
    except (OSError, IndexError, UnicodeDecodeError) as error:
        raise ConfigError(f"{settings.password_file}: holds no password ({error})") from None
