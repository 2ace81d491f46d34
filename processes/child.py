"""A child process as its parent sees it: one handle, whatever the child does."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any, Generic, TypeVarTuple

from kenpin.config.journal import hear_python, say, under_journald
from kenpin.processes.channel import Channel, Heard, Sent
from kenpin.processes.progress import Progress

if TYPE_CHECKING:
    from typing_extensions import TypeForm

__all__ = ["BackOff", "Body", "Child", "name_in_ps"]

# Linux shows no more of a process's name.
_NAME_CHARS = 15

# The terminal's Ctrl-C and its end, and the manager's SIGTERM reach every process; the
# parent decides when a child ends.
_FOR_THE_PARENT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
# A channel ends a moment before its process, or longer if Python ends in order: the
# exit code is worth so long a wait, in which nobody stands still. A driver that hangs
# at its end is not waited for.
_LAST_BREATH_NS = 250_000_000

_Args = TypeVarTuple("_Args")


class BackOff:
    """Growing pauses before something that failed is tried again.

    pauses_ns   after the first failure, the second, …; the last one from then on
    settled_ns  whatever worked for so long before it failed was no repeated failure
    """

    def __init__(self, pauses_ns: tuple[int, ...], settled_ns: int | None = None) -> None:
        self._pauses_ns = pauses_ns
        self._settled_ns = settled_ns
        self.failures = 0

    def failed(self, worked_ns: int = 0) -> int:
        """The pause after a failure; `worked_ns`: how long all had been well."""
        if self._settled_ns is not None and worked_ns > self._settled_ns:
            self.failures = 0
        pause = self._pauses_ns[min(self.failures, len(self._pauses_ns) - 1)]
        self.failures += 1
        return pause

    def worked(self) -> None:
        """All is well: the next failure is the first."""
        self.failures = 0


@dataclass(frozen=True, slots=True)
class Body(Generic[*_Args, Sent, Heard]):
    """What a process is, before it lives.

    Its types are those of `work`, and the handle's must be the same: what the parent sends
    is what the body hears.

    name      for ps and top, which show 15 characters of it: see `name_in_ps`
    work      called in the process with `args` and then its channel; a function of a module,
              for it is pickled. What it needs beyond this side is imported within
    args      pickled; where the handle watches its progress, that is among them
    called    in a sentence for people; by default its name
    niceness  of the process; None: as its kind of handle has it
    environ   variables that are set for it, unless they are set already
    """

    name: str
    work: Callable[[*_Args, Channel[Heard, Sent]], None]
    args: tuple[*_Args]
    called: str = ""
    niceness: int | None = None
    environ: Mapping[str, str] = field(default_factory=dict)


def name_in_ps(called: str) -> str:
    """How ps and top show a process of kenpin that is called so: no more than its beginning."""
    return f"kenpin-{called}"[:_NAME_CHARS]


class Child(Generic[Sent, Heard]):
    """One child process, from its start to its end. Nothing here waits for it but `stop`.

    Owned by one thread, which polls `fileno()` and calls `receive`.

    to_child, from_child
                the kinds of message that it is told, and that it tells
    progress    ticked by the body's loop, which has it among its `args`: then `silent_ns`
                shows whether it hangs
    """

    def __init__(
        self,
        body: Body[*_Args, Sent, Heard],
        to_child: TypeForm[Sent],
        from_child: TypeForm[Heard],
        *,
        progress: Progress | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        ours, theirs = Channel.pair(to_child, from_child)
        self._called = body.called or body.name
        self.progress = progress
        self.started_ns = clock_ns()
        self._clock_ns = clock_ns
        self._channel = ours
        self._ended_ns: int | None = None
        self._killed = ""
        self._process = multiprocessing.get_context("spawn").Process(
            target=_live,
            args=(body.name, body.niceness or 0, os.getpid(), body.work, (*body.args, theirs)),
            name=body.name,
            daemon=True,
        )
        _start(self._process, body.environ)
        theirs.close()
        assert self._process.pid is not None
        self._pidfd = os.pidfd_open(self._process.pid)

    @property
    def pid(self) -> int:
        """Its id."""
        assert self._process.pid is not None
        return self._process.pid

    def fileno(self) -> int:
        """What to poll until `gone`: readable when it has told something, or ends."""
        return self._pidfd if self._channel.ended else self._channel.fileno()

    def send(self, message: Sent) -> bool:
        """Tell it something; False if it cannot take it now, or has ended."""
        return self._channel.send(message)

    def receive(self) -> list[Heard]:
        """What it told, in order."""
        return self._channel.receive()

    @property
    def gone(self) -> str:
        """Why it has ended, once all that it told has been received; empty while it lives."""
        if not self._channel.ended:
            return ""
        now = self._clock_ns()
        if self._ended_ns is None:
            self._ended_ns = now
        code = self._process.exitcode  # asks without waiting, and takes the zombie away
        if code is None and now - self._ended_ns < _LAST_BREATH_NS:
            return ""
        self._process.kill()
        ended = f"{self._called} ended (exit code {'not yet known' if code is None else code})"
        return self._killed or ended

    def silent_ns(self, now_ns: int) -> int:
        """How long it has given no sign of life."""
        age = self.progress.age_ns(now_ns) if self.progress else None
        return now_ns - self.started_ns if age is None else age

    def kill(self, why: str = "") -> None:
        """End it now, whatever it does. It is gone once its channel ends.

        A driver may hold it up for ever, and whoever waited for it would hang too.
        """
        self._killed = self._killed or why
        self._process.kill()

    def hang_up(self) -> None:
        """Tell it nothing more: its channel ends after what it has been told."""
        self._channel.close()

    def close(self) -> None:
        """Let go of a process that is gone, or that nobody needs to hear any more."""
        self._channel.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        if self.progress is not None:
            self.progress.close()

    def stop(self, grace_s: float = 0.0) -> bool:
        """Let it end by itself, for so long; whether it did. Then it is ended, and waited for."""
        self._process.join(grace_s)
        by_itself = self._process.exitcode is not None
        if not by_itself:
            self._process.kill()
            self._process.join()
        self.close()
        return by_itself


def _start(process: multiprocessing.process.BaseProcess, environ: Mapping[str, str]) -> None:
    new = {name: value for name, value in environ.items() if name not in os.environ}
    os.environ.update(new)
    # The first start makes it, and that would unblock the signals.
    resource_tracker.ensure_running()
    # Until the child ignores them: Ctrl-C would end one that has just begun, with a traceback.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_THE_PARENT)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for name in new:
            del os.environ[name]


def _live(
    name: str, niceness: int, parent: int, work: Callable[..., None], args: tuple[Any, ...]
) -> None:
    """The process's whole life."""
    if _settle(name, parent):
        if niceness:
            os.nice(niceness)
        if under_journald():
            hear_python(say)
        try:
            work(*args)
        except Exception:
            if sys.excepthook is sys.__excepthook__:
                raise
            # multiprocessing would print it, and journald would take each line for a
            # message of no importance.
            sys.excepthook(*sys.exc_info())
            raise SystemExit(1) from None


def _settle(name: str, parent: int) -> bool:
    """Make the calling process a child that its parent alone ends; False if that has ended."""
    for number in _FOR_THE_PARENT:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FOR_THE_PARENT)
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NAME, name.encode())
    # A hung child would not see its channel end, and keep its cores for ever.
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return os.getppid() == parent
