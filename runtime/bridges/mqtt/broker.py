"""A broker, to a bridge: connected to, and again whenever it goes away.

The one module that knows aiomqtt.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable

import aiomqtt

from kenpin.config.bridge_mqtt import BrokerSettings
from kenpin.config.errors import ConfigError
from kenpin.runtime.bridges.process import Bridged

__all__ = ["UNDER_WAY", "Client", "Message", "MqttError", "Will", "stay_connected"]

# The library's names, which no other module of the bridge imports from it.
Client = aiomqtt.Client
Message = aiomqtt.Message
Will = aiomqtt.Will
MqttError = aiomqtt.MqttError

_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
# Without an answer for so long, and half of it, the broker is away.
_KEEPALIVE_S = 5
_HEARD_ROOM = 1000
# Messages that the broker has not acknowledged.
UNDER_WAY = 20


async def stay_connected(
    settings: BrokerSettings,
    bridged: Bridged,
    will: Callable[[], Will],
    talk: Callable[[Client], Awaitable[None]],
    lost: Callable[[], None],
) -> None:
    """Connect, and again whenever the broker goes away, at growing pauses; never returns.

    will  made anew for each connection
    talk  lives as long as a connection does
    lost  called when one has ended; an alarm says why
    """
    where = f"{settings.host}:{settings.port}"
    failures = 0
    while True:
        begun_s = time.monotonic()
        try:
            async with _client(settings, bridged, will()) as client:
                await talk(client)
        except* aiomqtt.MqttError as errors:
            lost()
            bridged.tell(fault=f"no broker at {where}: {_first(errors)}")
        if time.monotonic() - begun_s > _KEEPALIVE_S:
            failures = 0
        await asyncio.sleep(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)])
        failures += 1


def _client(settings: BrokerSettings, bridged: Bridged, will: Will) -> Client:
    facts = bridged.facts
    tls = aiomqtt.TLSParameters(ca_certs=str(settings.ca)) if settings.ca else None
    quiet = logging.getLogger("kenpin.mqtt")
    quiet.setLevel(logging.CRITICAL)
    return aiomqtt.Client(
        settings.host,
        settings.port,
        username=settings.user,
        password=_password(settings),
        identifier=f"kenpin-{facts.box}-{facts.line}-{settings.called}",
        will=will,
        clean_session=True,
        keepalive=_KEEPALIVE_S,
        max_queued_incoming_messages=_HEARD_ROOM,
        max_inflight_messages=UNDER_WAY,
        tls_params=tls,
        # Small messages must not wait for the acknowledgement of others: 40 ms each.
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        logger=quiet,
    )


def _first(errors: BaseException) -> BaseException:
    """The first of those that tasks beside each other raised."""
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return errors


def _password(settings: BrokerSettings) -> str | None:
    if settings.password_file is None:
        return None
    try:
        return settings.password_file.read_text(encoding="utf-8").splitlines()[0]
    except (OSError, IndexError, UnicodeDecodeError) as error:
        raise ConfigError(f"{settings.password_file}: holds no password ({error})") from None
