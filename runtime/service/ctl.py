"""The control socket: commands of clients, and what is said to one client alone."""

from __future__ import annotations

from collections.abc import Callable

import zmq

from kenpin.runtime.codecs import Codec
from kenpin.runtime.commands import Command
from kenpin.runtime.sockets import check_endpoint
from kenpin.runtime.wire import MAX_MESSAGE_BYTES, WireError

__all__ = ["ControlSocket"]

# A flood of one client may not hold up a verdict for another; the rest waits a turn.
_COMMANDS_PER_TURN = 64
_SEND_HWM = 1000


class ControlSocket:
    """A ROUTER. Use it from one thread. Sending never waits, and a full reader loses.

    context   of all sockets of the line
    codec     how clients speak
    refused   commands that were not understood, and answers that found no room
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, codec: Codec
    ) -> None:
        check_endpoint(endpoint)
        self._codec = codec
        self.refused = 0
        self.socket = context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.SNDHWM, _SEND_HWM)
        self.socket.setsockopt(zmq.LINGER, 200)
        self.socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        # A client that vanished and returns under its name takes its own place over.
        self.socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self.socket.setsockopt(zmq.HEARTBEAT_IVL, 200)
        self.socket.bind(endpoint)
        self.endpoint = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def receive(
        self, handle: Callable[[bytes, Command], None], refuse: Callable[[bytes, str], None]
    ) -> bool:
        """Hand over what has come, a portion of it; whether more may wait.

        handle  obeys a client's command
        refuse  tells a client that nobody understood it
        """
        for _ in range(_COMMANDS_PER_TURN):
            try:
                client, *parts = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return False
            try:
                command = self._command(parts)
            except WireError as error:
                self.refused += 1
                refuse(client, str(error))
                continue
            handle(client, command)
        return True

    def _command(self, parts: list[bytes]) -> Command:
        # REQ sockets, and bindings that imitate them, send an empty part first.
        if len(parts) != 1:
            raise WireError(f"{len(parts)} parts, expected one; use a DEALER socket")
        return self._codec.command(parts[0])

    def send(self, client: bytes, payload: bytes) -> None:
        """Say something to one client, if it is still there."""
        try:
            self.socket.send_multipart([client, payload], zmq.NOBLOCK)
        except zmq.Again:
            self.refused += 1
