"""A reader's connection to a line: made, watched, and made anew when the other side hangs up."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, Protocol, TypeVar

import zmq

from kenpin.runtime.wire.map_encoding import MAX_MESSAGE_BYTES

__all__ = ["RECEIVE_HWM", "Keys", "Link", "Published", "connecting", "published", "subscribing"]

SocketKind = TypeVar("SocketKind", bound=zmq.Socket[Any])

# Messages that wait in a client; ZeroMQ drops those that find no room.
RECEIVE_HWM = 1000
_REOPEN_S = 0.1
_FAILURES = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)


class Keys(Protocol):
    """Whatever puts the keys of an encrypted connection on a socket before it connects."""

    def on(self, socket: zmq.Socket[bytes]) -> None:
        """Set CURVE's options."""
        ...


class Link:
    """One socket that is opened anew when the other side hangs up.

    libzmq 4.3.5 never calls again by itself after a message over MAXMSGSIZE, so
    its own reconnecting is not enough: the reader would be deaf without knowing it.

    make    the socket, not connected yet
    cuts    how often it was opened anew

    Raises
    ------
    ValueError
        If the endpoint is none.
    """

    def __init__(self, endpoint: str, make: Callable[[], zmq.Socket[bytes]]) -> None:
        self.endpoint = endpoint
        self._make = make
        self.cuts = 0
        self._opened_s = time.monotonic()
        self._open()

    def _open(self) -> None:
        self.socket = self._make()
        self.hangups = self.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | _FAILURES)
        try:
            self.socket.connect(self.endpoint)
        except zmq.ZMQError as error:
            self.close(0)
            raise ValueError(f"endpoint {self.endpoint!r}: {error}") from error

    def reopen(self) -> str:
        """Connect once more, not so often that it would be a flood.

        Gives why the line turned this reader away; empty if there was a connection, and it
        has ended. A line that does not admit this reader's key hangs up at once, always.
        """
        refused = self._refused()
        self.close(0)
        self.cuts += 1
        time.sleep(max(0.0, self._opened_s + _REOPEN_S - time.monotonic()))
        self._opened_s = time.monotonic()
        self._open()
        return refused

    def _refused(self) -> str:
        why = ""
        with suppress(zmq.Again):
            while True:
                event = struct.unpack("=HI", self.hangups.recv_multipart(zmq.NOBLOCK)[0])[0]
                if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                    why = "its key is not admitted, or no longer; edge-run keys list"
                elif event & _FAILURES:
                    why = "a side has no keys, or this reader has another line's; see --keys"
        return why

    def close(self, linger_ms: int) -> None:
        """Let go."""
        self.socket.disable_monitor()
        self.hangups.close(linger=0)
        self.socket.close(linger=linger_ms)


def connecting(context: zmq.Context[SocketKind], kind: int, keys: Keys | None) -> SocketKind:
    """A socket of a reader, bounded, with its keys on."""
    socket = context.socket(kind)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.IPV6, 1)  # takes IPv4 too
    if keys is not None:
        keys.on(socket)
    return socket


def subscribing(
    context: zmq.Context[zmq.Socket[bytes]], keys: Keys | None, backlog: int = RECEIVE_HWM
) -> zmq.Socket[bytes]:
    """One for all that a line publishes."""
    socket = connecting(context, zmq.SUB, keys)
    socket.setsockopt(zmq.RCVHWM, backlog)
    # One subscription for all, sorted out later: whoever has got a state is then
    # certain to get the verdicts. Of two, one could come into force much later.
    socket.subscribe(b"v1/")
    return socket


class Published(NamedTuple):
    """A message that was published: its topic, what that says, and its bytes."""

    topic: str
    kind: str
    line: str
    payload: bytes


def published(parts: list[bytes]) -> Published:
    """The parts of what came; version 1 has two, a reader ignores what is added behind them."""
    topic = parts[0].decode("utf-8", "replace")
    kind, _, line = topic.removeprefix("v1/").partition("/")
    return Published(topic, kind, line, parts[1] if len(parts) > 1 else b"")
