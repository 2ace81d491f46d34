"""Two ends of a line between a process and the child that it spawned."""

from __future__ import annotations

import select
import socket
from collections.abc import Mapping
from typing import Any, Self

import msgpack

__all__ = ["MAX_PACKET_BYTES", "Channel"]

MAX_PACKET_BYTES = 64 * 1024
# Room for a second of a fast line's messages while the other side is busy.
_BUFFER_BYTES = 1 << 20


class Channel:
    """Whole messages in both directions, in order; sending never waits.

    A message is a map of plain values. A pair is made for each start of a
    child, so nothing of an earlier child can arrive. The end that is handed to
    the child must then be closed here, or its death would go unseen.

    refused  messages that found no room, and were not sent
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        self._ended = False
        self.refused = 0

    @classmethod
    def pair(cls) -> tuple[Self, Self]:
        """The two ends."""
        # SEQPACKET: whole messages like datagrams, and an end that dies is noticed.
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one), cls(other)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._socket.setblocking(False)  # a duplicate forgets it

    def fileno(self) -> int:
        """For pollers: readable when a message has come, or the other side has gone."""
        return self._socket.fileno()

    @property
    def ended(self) -> bool:
        """The other side has closed or died, and everything it said has been received."""
        return self._ended

    def send(self, message: Mapping[str, Any]) -> bool:
        """Send a message; False if there was no room for it, or nobody to take it.

        Raises
        ------
        ValueError
            If it is larger than MAX_PACKET_BYTES.
        """
        packet: bytes = msgpack.packb(message)
        if len(packet) > MAX_PACKET_BYTES:
            raise ValueError(
                f"a message of {len(packet)} bytes, at most {MAX_PACKET_BYTES} are allowed: "
                "put pixels and maps into the frame ring"
            )
        try:
            self._socket.send(packet)
        except BlockingIOError:
            self.refused += 1
            return False
        except (BrokenPipeError, ConnectionResetError):
            # Its death shows in `ended`, after what it still had to say.
            self.refused += 1
            return False
        return True

    def receive(self, limit: int = 256) -> list[dict[str, Any]]:
        """What has come, in order, `limit` messages at most; waits for nothing."""
        messages: list[dict[str, Any]] = []
        while len(messages) < limit and not self._ended:
            try:
                packet = self._socket.recv(MAX_PACKET_BYTES)
            except BlockingIOError:
                break
            except ConnectionResetError:
                packet = b""
            if not packet:
                self._ended = True
                break
            messages.append(msgpack.unpackb(packet))
        return messages

    def wait(self, timeout_s: float) -> bool:
        """Whether something has come within `timeout_s` seconds: a message, or the end."""
        # poll, because select refuses handles from 1024 on.
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        return bool(poller.poll(max(0.0, timeout_s) * 1000))

    def close(self) -> None:
        """Let go of this end. Closing twice is harmless."""
        self._socket.close()
