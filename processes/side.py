"""The handle on a process beside the line: it may be slow, hang or die, and the line goes on."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic

from kenpin.processes.channel import Channel, Heard, Sent
from kenpin.processes.child import settle

if TYPE_CHECKING:
    from typing_extensions import TypeForm

__all__ = ["SideProcess"]

_BACK_OFF_NS = (500_000_000, 2_000_000_000, 10_000_000_000, 60_000_000_000)
# A process that has lived so long before it died was no repeated failure.
_SETTLED_NS = 60_000_000_000
_NICENESS = 10


class SideProcess(Generic[Sent, Heard]):
    """A process that is told things and tells things back. Nothing here waits for it.

    Owned by one thread, which polls `fileno()` and calls `poll`. It is started
    again, at growing pauses, whenever it ends.

    name     for ps and top, at most 15 characters
    work     called in the process with `args` and its channel, until that has ended;
             a function of a module, for it is pickled
    told, tells
             the kinds of message that it is told, and that it tells
    greet    what it is told first, each time that it is started
    refused  what it was to be told and could not take
    """

    def __init__(
        self,
        name: str,
        work: Callable[..., None],
        *args: Any,
        told: TypeForm[Sent],
        tells: TypeForm[Heard],
        greet: Callable[[], Iterable[Sent]] = tuple,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.name = name
        self._work = work
        self._args = args
        self._told, self._tells = told, tells
        self._greet = greet
        self._clock_ns = clock_ns
        self._process: multiprocessing.process.BaseProcess | None = None
        self._channel: Channel[Sent, Heard] | None = None
        self._started_ns = 0
        self._restart_ns: int | None = None
        self._failures = 0
        self._dead: list[multiprocessing.process.BaseProcess] = []
        self.refused = 0
        self.restarts = 0
        self.ended = ""

    @property
    def pid(self) -> int | None:
        """Its id, while there is one."""
        return self._process.pid if self._process else None

    def fileno(self) -> int | None:
        """What to poll; another one after a restart, None in between."""
        return self._channel.fileno() if self._channel else None

    def start(self) -> None:
        """Start it."""
        ours, theirs = Channel.pair(self._told, self._tells)
        self._process = multiprocessing.get_context("spawn").Process(
            target=_live,
            args=(self.name, self._work, self._args, theirs, os.getpid()),
            name=self.name,
            daemon=True,
        )
        self._process.start()
        theirs.close()
        self._channel, self._started_ns, self._restart_ns = ours, self._clock_ns(), None
        for message in self._greet():
            self.send(message)

    def send(self, message: Sent) -> bool:
        """Tell it something; False, and counted, if it cannot take it now."""
        if self._channel is not None and self._channel.send(message):
            return True
        self.refused += 1
        return False

    def poll(self) -> list[Heard]:
        """What it told, in order. `ended` says why it is away, empty while it is there."""
        self._dead = [process for process in self._dead if process.exitcode is None]
        now = self._clock_ns()
        if self._channel is None:
            if self._restart_ns is not None and now >= self._restart_ns:
                self.restarts += 1
                self.start()
            return []
        found = self._channel.receive()
        if self._channel.ended:
            self._bury(now)
        elif found:
            self.ended = ""
        return found

    def kill(self) -> None:
        """End it, whatever it does; it is started again."""
        if self._process is not None:
            self._process.kill()

    def _bury(self, now: int) -> None:
        assert self._process is not None
        assert self._channel is not None
        self._process.kill()
        self._process.join(0.005)
        self.ended = f"{self.name} ended (exit code {self._process.exitcode})"
        self._dead.append(self._process)
        self._channel.close()
        self._process = self._channel = None
        if now - self._started_ns > _SETTLED_NS:
            self._failures = 0
        self._restart_ns = now + _BACK_OFF_NS[min(self._failures, len(_BACK_OFF_NS) - 1)]
        self._failures += 1

    def stop(self, patience_s: float = 1.0) -> None:
        """Let it finish what it has been told, for a moment; then end it. For the service's end."""
        self._restart_ns = None
        if self._channel is not None and self._process is not None:
            self._channel.close()
            self._process.join(patience_s)
            if self._process.exitcode is None:
                self._process.kill()
                self._process.join()
            self._process = self._channel = None
        for process in self._dead:
            process.join()


def _live(
    name: str,
    work: Callable[..., None],
    args: tuple[Any, ...],
    channel: Channel[Any, Any],
    parent: int,
) -> None:
    """The process's whole life."""
    if not settle(name, parent):
        return
    os.nice(_NICENESS)
    work(*args, channel)
