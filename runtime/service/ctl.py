"""The control socket: commands of clients, and what is said to one client alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgpack
import zmq
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from kenpin.runtime.door import Door
from kenpin.runtime.endpoints import EndpointError, refuse_taken
from kenpin.runtime.messages import explain
from kenpin.runtime.service.patience import PAUSE_NS, Patience
from kenpin.runtime.wire import MAX_MESSAGE_BYTES, Encoding, plain_map

__all__ = [
    "MAX_COMMAND_BYTES",
    "Ack",
    "Activate",
    "Command",
    "ControlSocket",
    "Hello",
    "Prepare",
    "Reset",
    "RollStart",
    "RollStop",
    "Selftest",
    "Status",
    "Trigger",
    "answer",
    "read_command",
]

# A flood of one client may not hold up a verdict for another; the rest waits a turn.
_COMMANDS_PER_TURN = 64
_PARTS_PER_TURN = 256
_SEND_HWM = 1000
_NO_PATIENCE = f"; too many mistakes: nothing is listened to for {PAUSE_NS / 1e9:g} s"
# The longest command, a trigger whose every character is escaped, has 4.7 KiB.
MAX_COMMAND_BYTES = 8 * 1024

_Id = Annotated[str, StringConstraints(min_length=1, max_length=128)]
_Name = Annotated[str, StringConstraints(min_length=1, max_length=250)]


class _Command(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)
    v: Literal[1]


class Hello(_Command):
    """Who is there? Answered with the state and the verdicts not yet acknowledged."""

    type: Literal["hello"]


class Trigger(_Command):
    """One part, one verdict. The same id again returns the same verdict."""

    type: Literal["trigger"]
    trig: _Id
    recipe: _Name | None = None
    budget_us: Annotated[int, Field(ge=1, le=60_000_000)] | None = None


class Ack(_Command):
    """The verdict of that number has arrived."""

    type: Literal["ack"]
    seq: Annotated[int, Field(ge=1, le=2**64 - 1)]


class Prepare(_Command):
    """Prove another bundle of the store beside the running line."""

    type: Literal["prepare"]
    bundle: _Name


class Activate(_Command):
    """Let the prepared bundle judge from the next frame on."""

    type: Literal["activate"]


class Selftest(_Command):
    """Judge the golden frames again, in pauses."""

    type: Literal["selftest"]


class RollStart(_Command):
    """A roll of the web begins with the next line that a verdict covers."""

    type: Literal["roll_start"]
    name: Annotated[str, StringConstraints(max_length=64)] = ""


class RollStop(_Command):
    """The running roll ends with the last line that a verdict covered."""

    type: Literal["roll_stop"]


class Reset(_Command):
    """Begin anew after a failure; always allowed."""

    type: Literal["reset"]


class Status(_Command):
    """Where does the line stand?"""

    type: Literal["status"]


Command = (
    Hello | Trigger | Ack | Prepare | Activate | Selftest | RollStart | RollStop | Reset | Status
)
_COMMANDS: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="type")])


def read_command(payload: bytes, encoding: Encoding) -> Command:
    """The command in the bytes of a stranger.

    Raises
    ------
    ValueError
        If they are too many, or are no command; it says what was found.
    """
    _, plain = plain_map(payload, encoding, MAX_COMMAND_BYTES)
    try:
        return _COMMANDS.validate_json(plain)
    except ValidationError as error:
        raise ValueError(explain(error)) from None


class ControlSocket:
    """A ROUTER. Use it from one thread. Sending never waits, and a full reader loses.

    door      lets clients in
    refused   commands that were not understood, or not even looked at
    """

    def __init__(
        self,
        door: Door,
        endpoint: str,
        encoding: Encoding,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        refuse_taken(endpoint)
        self._door = door
        self._encoding = encoding
        self.refused = 0
        self._patience = Patience(clock_ns)
        self._drain = False
        self.socket = door.context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.SNDHWM, _SEND_HWM)
        self.socket.setsockopt(zmq.LINGER, 200)
        self.socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        # A client that vanished and returns under its name takes its own place over.
        self.socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self.socket.setsockopt(zmq.HEARTBEAT_IVL, 200)
        try:
            self.endpoint = door.bind(self.socket, endpoint)
        except EndpointError:
            self.socket.close(linger=0)
            raise

    def receive(self, handle: Callable[[bytes, Command], None]) -> bool:
        """Hand over what has come, a portion of it; whether more may wait."""
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
                    self._door.cut(frame)
                    return True
            if not self._door.admits(frame) or not self._patience.listens(client):
                self.refused += 1
                continue
            try:
                if not whole:
                    raise ValueError("more than one part, expected one")
                command = read_command(frame.bytes, self._encoding)
            except ValueError as error:
                self.refused += 1
                lost = self._patience.lose(client)
                detail = str(error)[:400] + (_NO_PATIENCE if lost else "")
                self.send(client, {"v": 1, "type": "error", "detail": detail})
                continue
            handle(client, command)
        return True

    def _drained(self) -> bool:
        """Throw the rest of a message away, a portion of it; whether it was all."""
        for _ in range(_PARTS_PER_TURN):
            if not self.socket.recv(zmq.NOBLOCK, copy=False).more:
                self._drain = False
                return True
        return False

    def send(self, client: bytes, message: Mapping[str, Any] | bytes) -> None:
        """Say something to one client, if it is still there."""
        if not isinstance(message, bytes):
            message = answer(message, self._encoding)
        try:
            self.socket.send_multipart([client, message], zmq.NOBLOCK)
        except zmq.Again:
            self.refused += 1


def answer(message: Mapping[str, Any], encoding: Encoding) -> bytes:
    """What is said to a client, as bytes."""
    if encoding is Encoding.JSON:
        return json.dumps(message).encode()
    packed: bytes = msgpack.packb(message)
    return packed
