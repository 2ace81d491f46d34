"""The handle on a process beside the line: it may be slow, hang or die, and the line goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Generic, TypeVarTuple

from kenpin.processes.channel import Heard, Sent
from kenpin.processes.child import BackOff, Body, Child

if TYPE_CHECKING:
    from typing_extensions import TypeForm

__all__ = ["SideProcess"]

_PAUSES_NS = (500_000_000, 2_000_000_000, 10_000_000_000, 60_000_000_000)
# A process that has lived so long before it died was no repeated failure.
_SETTLED_NS = 60_000_000_000
_NICENESS = 10
# Whoever has lived so long is back, though it may have had nothing to tell.
_BACK_NS = 3_000_000_000

_Args = TypeVarTuple("_Args")


class SideProcess(Generic[Sent, Heard]):
    """A child that is told things and tells things back. Nothing here waits for it.

    Owned by one thread, which polls `fileno()` and calls `poll`. It is started
    again, at growing pauses, whenever it ends.

    body     its `work` is called until its channel has ended
    to_child, from_child
             as `Child`
    greet    what it is told first, each time that it is started
    refused  what it was to be told and could not take
    ended    why it is away; empty while it is there
    heard    whether the one that runs now has said anything yet
    """

    def __init__(
        self,
        body: Body[*_Args, Sent, Heard],
        to_child: TypeForm[Sent],
        from_child: TypeForm[Heard],
        *,
        greet: Callable[[], Iterable[Sent]] = tuple,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        if body.niceness is None:
            body = replace(body, niceness=_NICENESS)

        def spawn() -> Child[Sent, Heard]:
            return Child(body, to_child, from_child, clock_ns=clock_ns)

        self._spawn = spawn
        self._greet = greet
        self._clock_ns = clock_ns
        self._child: Child[Sent, Heard] | None = None
        self._back_off = BackOff(_PAUSES_NS, _SETTLED_NS)
        self._restart_ns: int | None = None
        self.refused = 0
        self.restarts = 0
        self.ended = ""
        self.heard = False

    @property
    def pid(self) -> int | None:
        """Its id, while there is one."""
        return self._child.pid if self._child else None

    def fileno(self) -> int | None:
        """What to poll; another one after a restart, None in between."""
        return self._child.fileno() if self._child else None

    def start(self) -> None:
        """Start it."""
        self._child, self._restart_ns = self._spawn(), None
        for message in self._greet():
            self.send(message)

    def send(self, message: Sent) -> bool:
        """Tell it something; False, and counted, if it cannot take it now."""
        if self._child is not None and self._child.send(message):
            return True
        self.refused += 1
        return False

    def poll(self) -> list[Heard]:
        """What it told, in order."""
        if self._child is None:
            if self._restart_ns is not None and self._clock_ns() >= self._restart_ns:
                self.restarts += 1
                self.start()
            return []
        found = self._child.receive()
        self.heard = self.heard or bool(found)
        why = self._child.gone
        if why:
            now = self._clock_ns()
            self.ended = why
            self._restart_ns = now + self._back_off.failed(now - self._child.started_ns)
            self._child.close()
            self._child = None
            self.heard = False
        elif found or self._clock_ns() - self._child.started_ns > _BACK_NS:
            self.ended = ""
        return found

    def kill(self) -> None:
        """End it, whatever it does; it is started again."""
        if self._child is not None:
            self._child.kill()

    def hang_up(self) -> None:
        """Tell it nothing more: it works off what is in its channel, and ends with that."""
        self._restart_ns = None
        if self._child is not None:
            self._child.hang_up()

    def stop(self, grace_s: float) -> bool:
        """Let it finish what it has been told, for so long; whether it did. Then it is ended."""
        self.hang_up()
        child, self._child = self._child, None
        return child is None or child.stop(grace_s)
