"""The control socket: commands of clients, and what is said to one client alone."""

from __future__ import annotations

import time
from collections.abc import Callable

import zmq

from kenpin.config.text import shorten
from kenpin.runtime.service.error_limit import PAUSE_NS, ErrorLimit
from kenpin.runtime.service.refusal import Refusal
from kenpin.runtime.wire.authentication import AccessControl, Connection
from kenpin.runtime.wire.commands import Command
from kenpin.runtime.wire.encodings import Codec
from kenpin.runtime.wire.endpoints import EndpointError, refuse_taken
from kenpin.runtime.wire.field_types import MAX_DETAIL_CHARS
from kenpin.runtime.wire.map_encoding import MAX_MESSAGE_BYTES, WireError

__all__ = ["ControlSocket"]

# A flood of one client may not hold up a verdict for another; the rest waits a turn.
_COMMANDS_PER_TURN = 64
_PARTS_PER_TURN = 256
_SEND_HWM = 1000
# Its id, its recipe and its session, each at its longest, fit twice.
_LONGEST_TRIGGER_BYTES = 2048
_MS = 1_000_000
# Seconds of silence, then a probe each second, so many of them.
_KEEP_ALIVE = {
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 2,
    zmq.TCP_KEEPALIVE_INTVL: 1,
    zmq.TCP_KEEPALIVE_CNT: 3,
}
_PAUSED = f"; too many mistakes: nothing is listened to for {PAUSE_NS / 1e9:g} s"


class ControlSocket:
    """A ROUTER. Use it from one thread. Sending never waits, and a full reader loses.

    access    lets clients in
    codec     how clients speak
    refused   commands that were not understood or not even looked at, and answers
              that found no room
    """

    def __init__(
        self,
        access: AccessControl,
        endpoint: str,
        codec: Codec,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        refuse_taken(endpoint)
        self._access = access
        self._codec = codec
        self.refused = 0
        self._error_limit = ErrorLimit(clock_ns)
        self._drain = False
        self.socket = access.context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.SNDHWM, _SEND_HWM)
        self.socket.setsockopt(zmq.LINGER, 200)
        self.socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        # A client that vanished and returns under its name takes its own place over.
        self.socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        # No ZMTP pings: libzmq 4.3.5 ends the process ("!_io_error") when one is due on a
        # connection that has gone while what it had sent could not be taken, such as the
        # older one of two of one name. A peer whose box has died is the kernel's to notice.
        for option, value in _KEEP_ALIVE.items():
            self.socket.setsockopt(option, value)
        try:
            self.endpoint = access.bind(self.socket, endpoint)
        except EndpointError:
            self.socket.close(linger=0)
            raise

    def receive(
        self,
        handle: Callable[[bytes, Connection | None, Command], None],
        refuse: Callable[[bytes, Refusal], None],
    ) -> bool:
        """Hand over what has come, a portion of it; whether more may wait.

        handle  obeys a client's command, which came over a connection
        refuse  tells a client that nobody understood it, or that nobody listens to it now
        """
        for _ in range(_COMMANDS_PER_TURN):
            try:
                if self._drain and not self._drained():
                    return True
                client = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return False
            frame = self.socket.recv(zmq.NOBLOCK, copy=False)
            whole = not frame.more
            if not whole:
                self._drain = True
                if not self._drained():
                    # A million parts are no mistake: hang up, and throw them away.
                    self.refused += 1
                    self._access.cut(frame)
                    return True
            if not self._access.admits(frame):
                self.refused += 1
                continue
            left_ns = self._error_limit.left_ns(client)
            if left_ns:
                self.refused += 1
                refusal = self._paused(frame, left_ns) if whole else None
                if refusal is not None:
                    refuse(client, refusal)
                continue
            try:
                if not whole:
                    # REQ sockets, and bindings that imitate them, send an empty part first.
                    raise WireError("more than one part, expected one; use a DEALER socket")
                command = self._codec.command(frame.bytes)
            except WireError as error:
                self.refused += 1
                lost = self._error_limit.count(client)
                about, trig = self._codec.about(frame.bytes) if whole else (None, None)
                detail = shorten(str(error), MAX_DETAIL_CHARS - len(_PAUSED))
                refuse(
                    client,
                    Refusal(detail + _PAUSED, about, trig, "paused", PAUSE_NS // _MS)
                    if lost
                    else Refusal(detail, about, trig),
                )
                continue
            handle(client, self._access.connection(self.endpoint, frame), command)
        return True

    def _paused(self, frame: zmq.Frame, left_ns: int) -> Refusal | None:
        """What a client is told that is not listened to, if this is a TRIGGER: a part waits."""
        # Rubbish is thrown away unread, or it would cost as much as before.
        if len(frame) > _LONGEST_TRIGGER_BYTES:
            return None
        about, trig = self._codec.about(frame.bytes)
        if about != "trigger":
            return None
        left_ms = -(-left_ns // _MS)
        detail = f"paused: ignored for another {left_ms} ms, after too many mistakes"
        return Refusal(detail, about, trig, "paused", left_ms, log=False)

    def _drained(self) -> bool:
        """Throw the rest of a message away, a portion of it; whether it was all."""
        for _ in range(_PARTS_PER_TURN):
            if not self.socket.recv(zmq.NOBLOCK, copy=False).more:
                self._drain = False
                return True
        return False

    def send(self, client: bytes, payload: bytes) -> None:
        """Say something to one client, if it is still there."""
        try:
            self.socket.send_multipart([client, payload], zmq.NOBLOCK)
        except zmq.Again:
            self.refused += 1
