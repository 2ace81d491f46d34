"""The OPC UA bridge's process: asyncua's server in front of a dialogue, the line behind it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import socket
import time
from typing import Any

from asyncua import Server, ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.internal_server import InternalServer
from asyncua.server.internal_session import InternalSession, SessionState

from kenpin.config.bridge_opcua import OpcuaSettings
from kenpin.runtime.bridges.link import LineLink, Unsaid
from kenpin.runtime.bridges.opcua.access import (
    CALLER,
    application_uri,
    certificates_in,
    knows,
    read_certificate,
)
from kenpin.runtime.bridges.opcua.address_space import opened
from kenpin.runtime.bridges.opcua.decoding import bound_decoding
from kenpin.runtime.bridges.opcua.dialogue import Notice, OpcuaDialogue
from kenpin.runtime.bridges.opcua.methods import methods_of
from kenpin.runtime.bridges.opcua.vision_system import LINE_URI, VisionSystem
from kenpin.runtime.bridges.process import Bridged
from kenpin.runtime.wire.client import Heard

__all__ = ["serve"]

_NOBODY = User(role=UserRole.Anonymous)
# A port that is taken is tried again so often.
_AGAIN_S = 2.0
_LOOK_S = 0.05
_FRESH_NS = 300_000_000
# Answers that a client has not read; an honest one reads all the time.
_UNREAD_BYTES = 1024 * 1024
# Events that wait for a client's next request, and notifications that it has not acknowledged.
_QUEUED, _UNACKNOWLEDGED = 500, 100
_MAX_MESSAGE_BYTES = 1024 * 1024
# Notices that wait to be told; a loop that cannot keep up must not fill the memory.
_NOTICES = 2000


async def serve(settings: OpcuaSettings, bridged: Bridged) -> None:
    """The whole bridge; see `kenpin.runtime.bridges.process.BridgeWork`."""
    # It writes a line for each message that makes no sense: a flood of them would fill the log.
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    bound_decoding()
    bridge = _Bridge(settings, bridged)
    await bridge.build()
    work = asyncio.create_task(bridge.work())
    end = asyncio.create_task(bridged.until_end())
    try:
        done, _ = await asyncio.wait((work, end), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (work, end):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        bridge.link.close()
        await bridge.close()


class _Bridge:
    def __init__(self, settings: OpcuaSettings, bridged: Bridged) -> None:
        self._settings = settings
        self._bridged = bridged
        self._notices: asyncio.Queue[Notice] = asyncio.Queue(_NOTICES)
        self._failure: Exception | None = None
        self.dialogue = OpcuaDialogue(
            bridged.facts, settings.recipes, settings.hold_ms, self._say, self._tell, _alive
        )
        self.server = Server(_InternalServer(_Users(settings)))
        self._listening = False

    async def build(self) -> None:
        """All nodes, and the line; nobody is let in yet."""
        settings, server = self._settings, self.server
        await server.init()
        uri = f"urn:kenpin:{self._bridged.facts.box}:{self._bridged.facts.line}"
        if settings.certificate is not None and settings.private_key is not None:
            uri = application_uri(read_certificate(settings.certificate))
            for path, load in (
                (settings.certificate, server.load_certificate),
                (settings.private_key, server.load_private_key),
            ):
                # asyncua goes by the end of the name.
                data = path.read_bytes()
                await load(data, format="pem" if data.startswith(b"-----") else "der")
        await server.set_application_uri(uri)
        server.application_type = ua.ApplicationType.Server
        server.product_uri = "urn:kenpin"
        server.set_server_name(f"kenpin {self._bridged.facts.line}")
        host = f"[{settings.address}]" if ":" in settings.address else settings.address
        server.set_endpoint(f"opc.tcp://{host}:{settings.port}")
        server.socket_address = settings.address, settings.port
        safe = ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt
        safest = ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt
        plain = ua.SecurityPolicyType.NoSecurity
        server.set_security_policy([safest, safe] if settings.certificate else [plain])
        named = settings.users is not None
        server.set_identity_tokens(
            [ua.UserNameIdentityToken if named else ua.AnonymousIdentityToken]
        )
        _bound(server, settings.max_connections)
        space = await opened(server, settings.nodeset)
        index = await server.register_namespace(LINE_URI)
        self._system = VisionSystem(space, self._bridged.facts, index)
        await self._system.build(methods_of(self.dialogue, self._system, self._failed))
        self.link: LineLink = self._bridged.link(self._hear)

    def _failed(self, error: Exception) -> None:
        self._failure = error

    def _say(self, kind: str, **fields: Any) -> None:
        if kind == "hello":
            self.link.begin(fields["session"])
        else:
            self.link.say(kind, **fields)

    def _hear(self, message: Heard | Unsaid) -> None:
        self.dialogue.heard(message, time.monotonic_ns())

    def _tell(self, notice: Notice) -> None:
        if not self._notices.full():
            self._notices.put_nowait(notice)

    async def work(self) -> None:
        """Tell what is heard, keep the variables up to date, and the port open."""
        next_look_s = next_try_s = 0.0
        while True:
            notice = None
            with contextlib.suppress(TimeoutError):
                wait_s = max(0.0, next_look_s - time.monotonic())
                notice = await asyncio.wait_for(self._notices.get(), wait_s)
            if notice is not None and not _stale(notice):
                await self._system.tell(notice)
            if self._failure is not None:
                raise self._failure
            now_s = time.monotonic()
            if now_s >= next_look_s or (notice is not None and notice.fields["type"] != "verdict"):
                next_look_s = now_s + _LOOK_S
                await self._look()
            if not self._listening and now_s >= next_try_s:
                next_try_s = now_s + _AGAIN_S
                await self._listen()

    async def _look(self) -> None:
        await self._system.show(self.dialogue.line, time.monotonic_ns())
        self.dialogue.greet_again()
        if self._listening:
            where = f"{self._settings.address}:{self._settings.port}"
            self._bridged.tell(address=f"opcua://{where}", fault=self.dialogue.line.refusal)
        for transport in list(self.server.iserver.asyncio_transports):
            if transport.get_write_buffer_size() > _UNREAD_BYTES:
                transport.abort()

    async def _listen(self) -> None:
        settings = self._settings
        try:
            # asyncua's own server cannot be started a second time.
            family = socket.AF_INET6 if ":" in settings.address else socket.AF_INET
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((settings.address, settings.port))
        except OSError:
            where = f"{settings.address}:{settings.port}"
            self._bridged.tell(
                fault=f"{where} cannot be had: taken, or not allowed; stop its owner or change port"
            )
            return
        await self.server.start()
        self._listening = True

    async def close(self) -> None:
        """Let everybody go."""
        if self._listening:
            await self.server.stop()


def _bound(server: Server, connections: int) -> None:
    """What one client, or all of them, may ask for."""
    inside = server.iserver
    inside.max_connections = connections
    inside.max_subscriptions = 4 * connections
    inside.max_monitored_item_queue_size = _QUEUED
    inside.max_unacked_messages_per_subscription = _UNACKNOWLEDGED
    inside.max_pending_activation_seconds = 5.0
    server.limits.max_message_size = _MAX_MESSAGE_BYTES
    server.limits.max_chunk_count = _MAX_MESSAGE_BYTES // server.limits.max_recv_buffer + 1


def _stale(notice: Notice) -> bool:
    """A heartbeat that waited somewhere for so long says nothing of the present."""
    fields = notice.fields
    made_ns: int = fields.get("t_mono_ns", 0)
    return fields["type"] == "hb" and time.monotonic_ns() - made_ns > _FRESH_NS


def _alive(caller: Any) -> bool:
    return bool(caller.state is SessionState.Activated)


class _InternalServer(InternalServer):  # type: ignore[misc]
    """Its sessions tell methods who calls."""

    def create_session(
        self, name: str, user: User = _NOBODY, external: bool = False
    ) -> InternalSession:
        """One more."""
        return _Session(
            self, self.aspace, self.subscription_service, name, user=user, external=external
        )


class _Session(InternalSession):  # type: ignore[misc]
    async def call(self, params: list[ua.CallMethodRequest]) -> list[ua.CallMethodResult]:
        """Of methods."""
        CALLER.set(self)
        found: list[ua.CallMethodResult] = await super().call(params)
        return found


class _Users:
    """Lets in whom the settings allow.

    The certificate is that of the encrypted channel itself: whoever holds none of the trusted ones'
    keys gets no session, whatever else he says.
    """

    def __init__(self, settings: OpcuaSettings) -> None:
        self._settings = settings

    def get_user(
        self,
        _server: InternalServer,
        username: str | None = None,
        password: str | bytes | None = None,
        certificate: bytes | None = None,
    ) -> User | None:
        """Who he is; None: nobody who may."""
        settings, now = self._settings, datetime.datetime.now(datetime.UTC)
        if settings.trusted is not None and (
            certificate is None or certificate not in certificates_in(settings.trusted, now)
        ):
            return None
        if settings.users is not None:
            said = password.decode() if isinstance(password, bytes) else password
            if not username or not said or not knows(settings.users, username, said):
                return None
        return User(role=UserRole.User, name=username)
