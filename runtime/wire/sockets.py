"""ZeroMQ, sending side: one publisher that no reader can hold up."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Self

import zmq

from kenpin.runtime.wire.authentication import AccessControl
from kenpin.runtime.wire.endpoints import EndpointError, check_endpoint, refuse_taken
from kenpin.runtime.wire.map_encoding import MAX_MESSAGE_BYTES

__all__ = ["EndpointError", "VerdictPublisher", "check_endpoint", "check_libzmq"]

# Older ones can be overrun before anybody has shown a key (CVE-2019-13132, CVE-2019-6250), or in
# memory (CVE-2021-20236).
_OLDEST_LIBZMQ = (4, 3, 5)
# About 50 s of verdicts at 20 frames a second, and at most 64 MB for each stalled reader.
SEND_HWM = 1000
# Long enough for a live reader on the same box to drain a full queue at the end.
LINGER_MS = 500
# A flood of joins may not hold up a verdict; the rest is served at the next call.
_JOINS_PER_CALL = 100


class VerdictPublisher:
    """An XPUB socket. Use it from one thread; close it or use it in a `with`.

    A reader whose queue of `hwm` messages is full loses the newest ones until
    it reads again, and finds the loss by the gap in `seq`. It costs neither
    the sender nor any other reader anything.

    access  lets readers in; by default everybody on this computer. It is closed
          with the publisher

    Raises
    ------
    EndpointError
        If the endpoint is not allowed, or is taken, or does not exist.
    """

    def __init__(
        self, endpoint: str, *, hwm: int = SEND_HWM, access: AccessControl | None = None
    ) -> None:
        check_endpoint(endpoint, keys=access is not None and access.locked)
        refuse_taken(endpoint)
        check_libzmq(zmq.zmq_version_info())
        self._greeting: Callable[[], tuple[str, bytes]] | None = None
        self._subscriptions: Counter[bytes] = Counter()
        self._stalls = 0
        self._access = access or AccessControl()
        self._context = self._access.context
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.SNDHWM, hwm)
        self._socket.setsockopt(zmq.LINGER, LINGER_MS)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        # Tell of every subscription, and of its end: by default the second reader
        # of a topic joins unseen and would get no state.
        self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        self._socket.setsockopt(zmq.XPUB_NODROP, 1)
        try:
            self._endpoint = self._access.bind(self._socket, endpoint)
        except EndpointError:
            self._access.close()
            raise

    @property
    def endpoint(self) -> str:
        """Where readers connect: the real port, also when any free one was asked for."""
        return self._endpoint

    @property
    def socket(self) -> zmq.Socket[bytes]:
        """For pollers only: readable when somebody has come or gone."""
        return self._socket

    @property
    def access(self) -> AccessControl:
        """Where further sockets of the same service are bound."""
        return self._access

    @property
    def stalls(self) -> int:
        """How often a reader's queue was found full.

        ZeroMQ tells when a reader stalls, not how many messages it then misses.
        """
        return self._stalls

    def subscribers(self, topic: str | None = None) -> int:
        """How many subscriptions are live, or would receive `topic`.

        As of the last `serve_subscriptions`. A reader may hold several.
        """
        wanted = None if topic is None else topic.encode()
        return sum(
            number
            for prefix, number in self._subscriptions.items()
            if wanted is None or wanted.startswith(prefix)
        )

    def greet_with(self, greeting: Callable[[], tuple[str, bytes]]) -> None:
        """Ask `greeting` for a topic and a payload to publish whenever somebody joins."""
        self._greeting = greeting

    def publish(self, topic: str, payload: bytes) -> None:
        """Send to whoever subscribed to `topic`; never waits, not for anybody."""
        parts = [topic.encode(), payload]
        try:
            self._socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            # With NODROP one full queue refuses the message for all readers. That
            # shows the stall; lossy sending then serves everyone else. Nothing of
            # the message is out yet: only a first part can be refused.
            self._stalls += 1
            self._socket.setsockopt(zmq.XPUB_NODROP, 0)
            self._socket.send_multipart(parts, zmq.NOBLOCK)
            self._socket.setsockopt(zmq.XPUB_NODROP, 1)

    def serve_subscriptions(self, timeout_s: float = 0.0) -> int:
        """Take note of who came and went, and greet once if anybody came.

        Waits up to `timeout_s` seconds for the first to come or go. Everybody
        receives the greeting, because XPUB cannot send to one reader alone.

        Returns
        -------
        How many subscriptions were made.
        """
        joined = 0
        self._wait(timeout_s)
        for _ in range(_JOINS_PER_CALL):
            try:
                frame = self._socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            note = frame.bytes
            if not self._access.admits(frame):
                continue
            # Any peer may also send a message of its own; it means nothing here.
            prefix = note[1:]
            if note[:1] == b"\x01":
                self._subscriptions[prefix] += 1
                joined += 1
            elif note[:1] == b"\x00":
                self._subscriptions[prefix] -= 1
                self._subscriptions += Counter()  # drops what has come down to zero
        if joined and self._greeting is not None:
            self.publish(*self._greeting())
        return joined

    def _wait(self, timeout_s: float) -> None:
        """Until somebody has come or gone; meanwhile callers are let in or turned away."""
        end_s = time.monotonic() + timeout_s
        self._access.serve()
        if timeout_s <= 0:
            return
        poller = zmq.Poller()
        for source in (self._socket, *self._access.sockets):
            poller.register(source, zmq.POLLIN)
        while (left_s := end_s - time.monotonic()) > 0:
            ready = dict(poller.poll(math.ceil(left_s * 1000)))
            self._access.serve()
            if self._socket in ready:
                return

    def wait_for_subscriber(self, timeout_s: float, topic: str | None = None) -> bool:
        """Whether somebody subscribed, to `topic` if given, within `timeout_s` seconds."""
        deadline_s = time.monotonic() + timeout_s
        self.serve_subscriptions()
        while not self.subscribers(topic):
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return False
            self.serve_subscriptions(left_s)
        return True

    def close(self) -> None:
        """Send what is queued, for LINGER_MS at most, and let go. Closing twice is harmless."""
        self._access.close(LINGER_MS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def check_libzmq(found: tuple[int, int, int]) -> None:
    """Refuse a libzmq that a peer can break into; found when pyzmq was built on an old system.

    Raises
    ------
    RuntimeError
        If `found` is older than 4.3.5.
    """
    if found < _OLDEST_LIBZMQ:
        raise RuntimeError(
            f"libzmq {found}: expected {_OLDEST_LIBZMQ} or newer; install pyzmq's own wheel"
        )
