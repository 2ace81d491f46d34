"""Two ends of a line between a process and the child that it spawned."""

from __future__ import annotations

import select
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
from pydantic import BaseModel

if TYPE_CHECKING:
    from typing_extensions import TypeForm

__all__ = ["MAX_PACKET_BYTES", "Channel", "Message", "Stop"]

# Of one message, encoded.
MAX_PACKET_BYTES = 64 * 1024
# Room for a second of a fast line's messages while the other side is busy.
_BUFFER_BYTES = 1 << 20


class Message(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """What one process tells another: a subclass for each kind, its fields typed.

    Fields may be plain values, enums, frozen dataclasses, tuples, mappings, paths and
    pydantic models. Nothing is taken for something else: `True` is no 1, 1.0 is no
    integer, and a field too many or too few is an error.
    """


class Stop(Message, frozen=True):
    """End, after what you have been given so far."""


Sent = TypeVar("Sent", bound=Message)
Heard = TypeVar("Heard", bound=Message)
_Ours = TypeVar("_Ours", bound=Message)
_Theirs = TypeVar("_Theirs", bound=Message)


class Channel(Generic[Sent, Heard]):
    """Whole messages in both directions, in order; sending never waits.

    A pair is made for each start of a child, so nothing of an earlier child can
    arrive. The end that is handed to the child must then be closed here, or its
    death would go unseen.

    heard    the kinds of message that may come
    refused  messages that found no room, and were not sent
    """

    def __init__(self, end: socket.socket, heard: TypeForm[Heard]) -> None:
        self._socket = end
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        self._heard = heard
        self._ended = False
        self.refused = 0
        self._prepare()

    def _prepare(self) -> None:
        self._socket.setblocking(False)  # a duplicate forgets it
        self._encoder = msgspec.msgpack.Encoder(enc_hook=_plain)
        self._decoder: msgspec.msgpack.Decoder[Heard] = msgspec.msgpack.Decoder(
            self._heard, dec_hook=_typed
        )

    @staticmethod
    def pair(
        ours: TypeForm[_Ours], theirs: TypeForm[_Theirs]
    ) -> tuple[Channel[_Ours, _Theirs], Channel[_Theirs, _Ours]]:
        """The two ends: one that says `ours` and hears `theirs`, and the other."""
        # SEQPACKET: whole messages like datagrams, and an end that dies is noticed.
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return Channel(one, theirs), Channel(other, ours)

    def __getstate__(self) -> tuple[Any, ...]:
        return self._socket, self._heard

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._socket, self._heard = state
        self._ended, self.refused = False, 0
        self._prepare()

    def fileno(self) -> int:
        """For pollers: readable when a message has come, or the other side has gone."""
        return self._socket.fileno()

    @property
    def ended(self) -> bool:
        """The other side has closed or died, and everything it said has been received."""
        return self._ended

    def send(self, message: Sent) -> bool:
        """Send a message; False if there was no room for it, or nobody to take it.

        Raises
        ------
        ValueError
            If it is larger than MAX_PACKET_BYTES.
        """
        packet = self._encoder.encode(message)
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

    def receive(self, limit: int = 256) -> list[Heard]:
        """What has come, in order, `limit` messages at most; waits for nothing."""
        messages: list[Heard] = []
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
            messages.append(self._decoder.decode(packet))
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


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(
        f"a {type(value).__name__} in a message between processes: expected a plain value, "
        "such as int or float; convert it where the message is made"
    )


def _typed(kind: type, value: Any) -> Any:
    if issubclass(kind, BaseModel):
        return kind.model_validate(value)
    if issubclass(kind, Path):
        return kind(value)
    raise TypeError(f"messages cannot carry a {kind.__name__}")
