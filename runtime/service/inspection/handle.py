"""The handle on an inspection process, as the gateway sees it: jobs in, verdicts out.

No numpy here: this side answers triggers and must not hang where that one can.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import structs

from kenpin.camera.acquisition.ring import FrameRing, Ticket
from kenpin.config.web import WebSpec
from kenpin.processes.channel import Channel, Stop
from kenpin.processes.child import settle
from kenpin.processes.progress import Progress
from kenpin.runtime.service.inspection.messages import (
    BundleFacts,
    FromInspection,
    Gone,
    InspectionEvent,
    Judge,
    Judged,
    Phase,
    PhaseChanged,
    RunSelftest,
    TakeOver,
    ToInspection,
)

__all__ = ["Inspector", "InspectorSpec"]


@dataclass(frozen=True, slots=True)
class InspectorSpec:
    """What an inspection process is to run.

    bundle         the bundle's folder, or a store with a link `current`
    trust          a folder of public keys, one of which must have signed it
    threads        cores for the network; None leaves it to OpenVINO
    cpus           which cores the process may use; None: all
    niceness       until it is told to take over the line
    web            the line's own lanes, gates and rolls; None: the bundle's
    make_pipeline  makes the pipeline in the process, as `Pipeline` does; tests
                   hand in one that misbehaves
    """

    bundle: Path
    trust: Path | None = None
    threads: int | None = None
    cpus: tuple[int, ...] | None = None
    niceness: int = 0
    web: WebSpec | None = None
    make_pipeline: Callable[..., Any] | None = None


@contextlib.contextmanager
def _blas_threads(count: int | None) -> Iterator[None]:
    """Children started here give OpenBLAS so many threads, unless the environment says other.

    It would start one for each core, and they wait for each other: where one core
    is taken by anything else, each product waits for the scheduler. It reads its
    setting once, when numpy is loaded.
    """
    name = "OPENBLAS_NUM_THREADS"
    if count is None or name in os.environ:
        yield
        return
    os.environ[name] = str(count)
    try:
        yield
    finally:
        del os.environ[name]


@dataclass(slots=True)
class _Sent:
    ticket: Ticket
    sent_ns: int


@dataclass(slots=True)
class _Died:
    detail: str = ""
    told: bool = False


class Inspector:
    """One inspection process, from its start to its end. It is never restarted: make another.

    Owned by one thread. Nothing here waits for the process, its death included.
    """

    def __init__(
        self,
        spec: InspectorSpec,
        ring: FrameRing,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        ours, theirs = Channel.pair(ToInspection, FromInspection)
        self.spec = spec
        self.phase = Phase.STARTING
        self.facts: BundleFacts | None = None
        self.progress = Progress()
        self.started_ns = clock_ns()
        self._clock_ns = clock_ns
        self._channel = ours
        self._jobs: dict[int, _Sent] = {}
        self._died = _Died()
        self._process = multiprocessing.get_context("spawn").Process(
            target=_inspect,
            args=(spec, ring, theirs, self.progress, os.getpid()),
            name="kenpin-inspection",
            daemon=True,
        )
        with _blas_threads(spec.threads):
            self._process.start()
        theirs.close()

    @property
    def pid(self) -> int | None:
        """The process's id."""
        return self._process.pid

    def fileno(self) -> int:
        """What to poll while `phase` is not GONE."""
        return self._channel.fileno()

    @property
    def in_flight(self) -> int:
        """Jobs sent and not judged."""
        return len(self._jobs)

    @property
    def held(self) -> list[Ticket]:
        """Slots that it reads or may yet read."""
        return [sent.ticket for sent in self._jobs.values()]

    def judge(self, job: int, ticket: Ticket) -> bool:
        """Hand it a frame; False if it cannot take one."""
        if self.phase is not Phase.READY:
            return False
        if not self._channel.send(Judge(job, ticket)):
            return False
        self._jobs[job] = _Sent(ticket, self._clock_ns())
        return True

    def ticket_of(self, job: int) -> Ticket | None:
        """The slot of a job in flight."""
        sent = self._jobs.get(job)
        return sent.ticket if sent else None

    def selftest(self) -> bool:
        """Ask it to judge its golden frames again, between jobs; False if it cannot be told."""
        return self._channel.send(RunSelftest())

    def take_over(self) -> bool:
        """Tell it that the line is its own now: it leaves its niceness."""
        return self._channel.send(TakeOver())

    def stop(self) -> None:
        """Ask it to end after the jobs that it has."""
        self._channel.send(Stop())

    def kill(self, why: str) -> None:
        """End it now, whatever it does."""
        if self.phase is not Phase.GONE:
            self._died.detail = self._died.detail or why
            self._process.kill()

    def events(self) -> list[InspectionEvent]:
        """What has happened, in order; after Gone, nothing more ever."""
        if self.phase is Phase.GONE:
            return []
        found: list[InspectionEvent] = []
        for message in self._channel.receive():
            event: InspectionEvent = message
            if isinstance(message, Judged):
                self._jobs.pop(message.job, None)
                event = structs.replace(message, inspection=self.started_ns)
            elif isinstance(message, PhaseChanged):
                self.phase, self.facts = message.phase, message.facts or self.facts
            found.append(event)
        if self._channel.ended:
            found.append(self._bury())
        return found

    def silent_ns(self, now_ns: int) -> int:
        """How long it has given no sign of life."""
        age = self.progress.age_ns(now_ns)
        return now_ns - self.started_ns if age is None else age

    def reaped(self) -> bool:
        """Whether nothing of a process that is gone is left; does not wait."""
        # exitcode asks waitpid with WNOHANG.
        return self.phase is Phase.GONE and self._process.exitcode is not None

    def _bury(self) -> Gone:
        self.phase = Phase.GONE
        why = self._died.detail or f"the inspection process ended (exit code {self._exit_code()})"
        gone = Gone(why, tuple(self._jobs))
        self._jobs.clear()
        self._channel.close()
        return gone

    def _exit_code(self) -> str:
        # The channel closes a moment before the process is a zombie.
        self._process.join(0.005)
        code = self._process.exitcode
        return "not yet known" if code is None else str(code)

    def close(self) -> None:
        """End it by force and wait: for the end of the service and of tests."""
        if self._process.exitcode is None:
            self._process.kill()
        self._process.join()
        self.phase = Phase.GONE
        self._channel.close()


def _inspect(
    spec: InspectorSpec,
    ring: FrameRing,
    channel: Channel[FromInspection, ToInspection],
    progress: Progress,
    parent: int,
) -> None:
    """The process's whole life."""
    if not settle("kenpin-inspect", parent):
        return
    from kenpin.runtime.service.inspection.body import run

    run(spec, ring, channel, progress)
