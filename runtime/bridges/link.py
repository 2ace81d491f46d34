"""A line's client on a thread of its own, for those who live in an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kenpin.runtime.wire.client import Heard, LineClient, LineSilentError
from kenpin.runtime.wire.errors import WireError

__all__ = ["LineLink", "Unsaid"]

_WAIT_S = 1.0
_GREET_S = 0.2
# A command that could not be said for so long is not said: a late part would be shot.
_STALE_NS = 150_000_000
# What may wait for the event loop; a loop that hangs must not fill the memory.
_ROOM = 2000


@dataclass(frozen=True, slots=True)
class Unsaid:
    """A command that the line was not told, and why."""

    kind: str
    fields: Mapping[str, Any]
    why: str


class LineLink:
    """Says commands and hears messages without ever holding up the event loop.

    client  is used by the link's thread alone, and closed with the link
    hear    called in the event loop with each `Heard`, and each `Unsaid`
    failed  called in the event loop with a mistake of our own, after which nothing is heard
            or with an event loop that has stood still until 2,000 messages waited for it
    """

    def __init__(
        self,
        client: LineClient,
        hear: Callable[[Heard | Unsaid], None],
        failed: Callable[[Exception], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._client = client
        self._hear = hear
        self._failed = failed
        self._loop = loop
        self._to_say: deque[tuple[int, str, Mapping[str, Any]]] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._ending = False
        # Written by the link's thread; read and emptied by the event loop.
        self._heard: deque[Heard | Unsaid] = deque()
        self._called = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kenpin-line", daemon=True)
        self._thread.start()

    def say(self, kind: str, **fields: Any) -> None:
        """Send a command; what cannot be sent at once comes back as `Unsaid`."""
        self._to_say.append((time.monotonic_ns(), kind, fields))
        os.eventfd_write(self._wake, 1)

    def begin(self, session: str) -> None:
        """Open a session: HELLO, and every TRIGGER from now on, name it."""
        self.say("hello", session=session)

    def close(self) -> None:
        """Let go of the line."""
        self._ending = True
        os.eventfd_write(self._wake, 1)
        self._thread.join(5)

    # -- on the link's thread --------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._ending:
                try:
                    heard = self._client.receive(_WAIT_S, wake=self._wake)
                except WireError:
                    continue  # of a later version, or not this line's: nothing to act on
                if heard is not None:
                    self._pass_on(heard)
                if self._to_say or heard is None:
                    self._say_all()
        except Exception as error:  # noqa: BLE001 a thread that ends in silence leaves a deaf bridge
            self._call(self._failed, error)
        finally:
            self._client.close()

    def _say_all(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        while self._to_say:
            asked_ns, kind, fields = self._to_say.popleft()
            if kind == "hello":
                self._client.begin(fields["session"])
            if time.monotonic_ns() - asked_ns > _STALE_NS:
                self._pass_on(Unsaid(kind, fields, "it could not be said in time"))
                continue
            try:
                # A connection that is just being made may have a moment, a part has none.
                self._client.say(kind, within_s=_GREET_S if kind == "hello" else 0, **fields)
            except (LineSilentError, ValueError, OverflowError) as error:
                # Whoever commands may give us what no message can carry.
                self._pass_on(Unsaid(kind, fields, str(error)))

    def _pass_on(self, message: Heard | Unsaid) -> None:
        if len(self._heard) >= _ROOM:
            # Whoever goes on after a gap would show a PLC what is not so.
            raise RuntimeError(f"{_ROOM} messages of the line wait: the event loop stood still")
        self._heard.append(message)
        if not self._called.is_set():
            self._called.set()
            self._call(self._deliver)

    def _call(self, what: Callable[..., None], *given: Exception) -> None:
        try:
            self._loop.call_soon_threadsafe(what, *given)
        except RuntimeError:  # the loop has ended before us
            self._ending = True

    # -- in the event loop -----------------------------------------------------------------

    def _deliver(self) -> None:
        self._called.clear()
        while self._heard:
            self._hear(self._heard.popleft())
