"""A connection to a line: what is sent on `ctl`, and what comes there and on `pub`, in order.

Every wait has an end. A cut connection is made anew by itself and greeted with HELLO.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import zmq

from kenpin.config.text import brief
from kenpin.runtime.wire.encodings import CODECS
from kenpin.runtime.wire.errors import WireError
from kenpin.runtime.wire.link import RECEIVE_HWM, Keys, Link, connecting, published, subscribing
from kenpin.runtime.wire.map_encoding import MAX_MESSAGE_BYTES, Encoding
from kenpin.runtime.wire.own_parts import OwnParts
from kenpin.runtime.wire.verdict_messages import StateMessage, VerdictMessage

__all__ = ["Heard", "LineConnection", "LineSilentError", "WireOptions"]

# What nobody has asked for yet; beyond it the oldest are dropped and counted.
KEPT = 10_000
# Between two looks whether what was published early has waited long enough.
_LOOK_S = 0.02
# Numbers from 32768 are chosen by the line.
_SESSIONS = 32767


class LineSilentError(TimeoutError):
    """The line did not answer in time, or cannot be reached."""


@dataclass(frozen=True, slots=True)
class WireOptions:
    """How a line is spoken to.

    encoding, pub_encoding
              as the line's settings say; the second if it differs
    keys      for a line that wants CURVE
    backlog   published messages that may wait unread here; more are lost, as the
              gap in `seq` shows
    """

    encoding: str = Encoding.MSGPACK
    pub_encoding: str | None = None
    keys: Keys | None = None
    backlog: int = RECEIVE_HWM


@dataclass(frozen=True, slots=True)
class Heard:
    """One message of the line.

    fields   all of it, as it was sent; a verdict and a state have passed their schema
    at_ns    when it was received, monotonic
    topic    where it was published; empty: it was said to this client alone
    """

    kind: str
    fields: Mapping[str, Any]
    at_ns: int
    topic: str = ""

    def verdict(self) -> VerdictMessage:
        """The same with types; for messages of kind `verdict`."""
        return VerdictMessage.model_validate_json(json.dumps(self.fields))

    def state(self) -> StateMessage:
        """The same with types; for messages of kind `state`."""
        return StateMessage.model_validate_json(json.dumps(self.fields))


class LineConnection:
    """Sends to one line and hears it. Use it from one thread, and in a `with`.

    ctl      endpoint for commands; None: only listen
    pub      endpoint of what is published; None: only talk
    name     under this name the line knows this client, also over a cut connection; no two
             may share one, so by default it is made of the box's name and the process
    session  of its triggers' ids; another one for each object, unless one is given, so
             that a program that starts anew and counts from 1 again never gets an old
             verdict
    line     of this line only; None: of whatever is published there
    options  how it is spoken to

    Raises
    ------
    ValueError
        If an endpoint or a key is none.
    """

    def __init__(
        self,
        ctl: str | None,
        pub: str | None = None,
        *,
        name: str | None = None,
        session: str | None = None,
        line: str | None = None,
        options: WireOptions | None = None,
    ) -> None:
        self._name = name or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._session = session or str(1 + secrets.randbelow(_SESSIONS))
        self._line = line
        self._options = options = options or WireOptions()
        self._codec = CODECS[options.encoding]
        self._pub_codec = CODECS[options.pub_encoding or options.encoding]
        self._kept: deque[Heard] = deque()
        self.dropped = 0
        self._own = OwnParts()
        # Published, and waiting for what the line says to us about the same part.
        self._early: Heard | None = None
        self._greet = False
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._ctl = self._pub = None
        try:
            self._pub = Link(pub, self._subscriber) if pub else None
            self._ctl = Link(ctl, self._dealer) if ctl else None
        except (zmq.ZMQError, ValueError):
            self._context.destroy(linger=0)
            raise

    @property
    def session(self) -> str:
        """That its triggers' ids count in, and its verdicts name."""
        return self._session

    def begin(self, session: str) -> None:
        """Let HELLO and TRIGGER name another session from now on; HELLO opens it."""
        self._session = session

    def _dealer(self) -> zmq.Socket[bytes]:
        socket = connecting(self._context, zmq.DEALER, self._options.keys)
        socket.setsockopt(zmq.IDENTITY, self._name.encode())
        # Triggers must not pile up for a line that is away: late parts would be shot.
        socket.setsockopt(zmq.IMMEDIATE, 1)
        socket.setsockopt(zmq.HEARTBEAT_IVL, 200)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 1000)
        return socket

    def _subscriber(self) -> zmq.Socket[bytes]:
        return subscribing(self._context, self._options.keys, self._options.backlog)

    # -- talking ---------------------------------------------------------------------------

    @property
    def cuts(self) -> int:
        """How often a connection was cut and made anew."""
        return sum(link.cuts for link in (self._ctl, self._pub) if link)

    def say(self, kind: str, *, within_s: float = 5.0, **fields: Any) -> None:
        """Send a command; HELLO and TRIGGER name this client's session.

        Raises
        ------
        LineSilentError
            If the line cannot be reached within `within_s` seconds.
        """
        if kind in ("hello", "trigger"):
            fields = {"session": self._session} | fields
        self.say_raw(self._codec.pack({"v": 1, "type": kind} | fields), within_s=within_s)
        if kind == "trigger":
            self._own.asked(fields["session"], fields.get("trig", ""))

    def say_raw(self, *parts: bytes, within_s: float = 5.0) -> None:
        """Send anything at all, such as what a line must refuse.

        Raises
        ------
        LineSilentError
            If nobody takes it within `within_s` seconds.
        """
        end_s = time.monotonic() + within_s
        while True:
            link = self._talking()
            try:
                link.socket.send_multipart(list(parts), zmq.NOBLOCK)
                return
            except zmq.Again:
                left_s = end_s - time.monotonic()
                if left_s <= 0:
                    raise LineSilentError(
                        f"nobody answers at {link.endpoint}; is edge-run running there?"
                    ) from None
            # Short: a link that was cut meanwhile must be seen.
            link.socket.poll(min(100, math.ceil(left_s * 1000)), zmq.POLLOUT)
            self._mend(link)

    def _talking(self) -> Link:
        if self._ctl is None:
            raise ValueError("this client only listens; give it the line's ctl endpoint")
        return self._ctl

    def _mend(self, link: Link) -> None:
        """Open a link anew if the other side has hung up."""
        if link.hangups.poll(0):
            link.reopen()
            self._greet |= link is self._ctl

    # -- listening -------------------------------------------------------------------------

    def receive(self, timeout_s: float = 0.0, *, wake: int | None = None) -> Heard | None:
        """The next message, or None if none came within `timeout_s` seconds.

        wake  a file handle; when it can be read, the wait ends

        Raises
        ------
        WireError
            If what came cannot be read. The next call goes on behind it.
        """
        return self._kept.popleft() if self._kept else self._receive(timeout_s, wake)

    def _receive(self, timeout_s: float, wake: int | None = None) -> Heard | None:
        end_s = time.monotonic() + timeout_s
        while True:
            heard = self._next()
            if heard is not None:
                return heard
            left_s = end_s - time.monotonic()
            if left_s <= 0 or self._poll(left_s, wake):
                return None

    def _next(self) -> Heard | None:
        """A message that is there: what is said to us comes before what is published of it."""
        if self._ctl is not None and (said := self._take(self._ctl)) is not None:
            self._own.answered(said.kind, said.fields)
            return said
        if self._early is None and self._pub is not None:
            self._early = self._take(self._pub)
        found = self._early
        if found is None or self._own.early(
            found.kind, found.fields, found.at_ns, time.monotonic_ns()
        ):
            return None
        self._early = None
        return found

    def _take(self, link: Link) -> Heard | None:
        try:
            parts = link.socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            # What came before a hang-up has been read first.
            self._mend(link)
            return None
        return self._read(parts, time.monotonic_ns(), to_all=link is self._pub)

    def _poll(self, left_s: float, wake: int | None) -> bool:
        """Wait for a message, or a hang-up; whether `wake` ended it."""
        poller = zmq.Poller()
        if wake is not None:
            poller.register(wake, zmq.POLLIN)
        if self._early is not None:
            left_s = min(left_s, _LOOK_S)
        for link in (self._ctl, None if self._early else self._pub):
            if link is None:
                continue
            greeting = self._greet and link is self._ctl
            poller.register(link.socket, zmq.POLLIN | (zmq.POLLOUT if greeting else 0))
            poller.register(link.hangups, zmq.POLLIN)
        ready = dict(poller.poll(math.ceil(left_s * 1000)))
        if self._greet and self._ctl and ready.get(self._ctl.socket, 0) & zmq.POLLOUT:
            # If it was cut this very moment, the next turn greets.
            with contextlib.suppress(LineSilentError):
                self.say("hello", within_s=0)
                self._greet = False
        return wake in ready

    def _read(self, parts: list[bytes], at_ns: int, *, to_all: bool) -> Heard | None:
        topic = kind = line = ""
        payload = parts[0] if parts else b""
        if to_all:
            topic, kind, line, payload = published(parts)
            if self._line is not None and line != self._line:
                return None
        codec = self._pub_codec if to_all else self._codec
        if len(payload) > MAX_MESSAGE_BYTES:
            raise WireError(f"{len(payload)} bytes, at most {MAX_MESSAGE_BYTES} are allowed")
        fields = codec.unpack(payload)
        if not isinstance(fields.get("type"), str):
            raise WireError(f"found {brief(fields)}, expected a map with a type")
        found: str = fields["type"]
        if found in ("verdict", "state"):
            codec.check(payload)
        if to_all and (kind, line) != (found, fields.get("line", line)):
            raise WireError(
                f"topic {topic!r} does not fit a {found} of {brief(fields.get('line'))}"
            )
        return Heard(found, fields, at_ns, topic)

    def wait(self, wanted: Callable[[Heard], bool], timeout_s: float, what: str) -> Heard:
        """The next message that is wanted; the others are kept for `receive`.

        Raises
        ------
        LineSilentError
            If it has not come within `timeout_s` seconds.
        """
        found = self.next_of(wanted, timeout_s)
        if found is None:
            raise LineSilentError(f"{what}: nothing came within {timeout_s:g} s")
        return found

    def next_of(self, wanted: Callable[[Heard], bool], timeout_s: float) -> Heard | None:
        """As `wait`; None if it has not come."""
        end_s = time.monotonic() + timeout_s
        while True:
            heard = self._receive(max(0.0, end_s - time.monotonic()))
            if heard is None or wanted(heard):
                return heard
            self._kept.append(heard)
            if len(self._kept) > KEPT:
                self._kept.popleft()
                self.dropped += 1

    # -- the end ---------------------------------------------------------------------------

    def close(self) -> None:
        """Send what is queued, for 200 ms at most, and let go. Closing twice is harmless."""
        for link in (self._ctl, self._pub):
            if link and not link.socket.closed:
                link.close(200)
        self._context.destroy(linger=200)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
