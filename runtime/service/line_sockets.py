"""A line's sockets: who may come in, what is published, and where commands enter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kenpin.config.line import WireSpec
from kenpin.runtime.service.ctl import ControlSocket
from kenpin.runtime.service.refusal import Refusal
from kenpin.runtime.wire.authentication import AccessControl, Connection
from kenpin.runtime.wire.commands import Command
from kenpin.runtime.wire.encodings import CODECS
from kenpin.runtime.wire.endpoints import EndpointError
from kenpin.runtime.wire.sockets import VerdictPublisher

__all__ = ["LineSockets"]


class LineSockets:
    """Opens them as a line's settings say. Use it from one thread.

    access     who may come in, and who was turned away
    publisher  for whoever subscribes
    control    for single clients; None where the line takes no commands

    Raises
    ------
    EndpointError
        If an address cannot be had.
    """

    def __init__(self, wire: WireSpec, clock_ns: Callable[[], int]) -> None:
        self.access = AccessControl(wire.keys, ipc_group=wire.ipc_group, clock_ns=clock_ns)
        self.publisher = VerdictPublisher(wire.pub, access=self.access)
        self.control: ControlSocket | None = None
        if wire.ctl:
            try:
                codec = CODECS[wire.encoding]
                self.control = ControlSocket(self.access, wire.ctl, codec, clock_ns)
            except EndpointError:
                self.publisher.close()
                raise

    @property
    def polled(self) -> tuple[Any, ...]:
        """What to poll."""
        control = () if self.control is None else (self.control.socket,)
        return (self.publisher.socket, *control, *self.access.sockets)

    def receive(
        self,
        obey: Callable[[bytes, Connection | None, Command], None],
        refuse: Callable[[bytes, Refusal], None],
    ) -> None:
        """Hand over what clients command, and those whose commands nobody understood."""
        if self.control is not None:
            self.control.receive(obey, refuse)

    def close(self) -> None:
        """Send what is queued, for a moment at most, and let go."""
        if self.control is not None:
            self.control.socket.close()
        self.publisher.close()
