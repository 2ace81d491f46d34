"""The handle on an inspection process, as the gateway sees it: jobs in, verdicts out.

No numpy here: this side answers triggers and must not hang where that one can.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import structs

from kenpin.camera.acquisition.ring import FrameRing, Ticket
from kenpin.processes.channel import Channel, Stop
from kenpin.processes.child import Body, Child
from kenpin.processes.progress import Progress
from kenpin.runtime.judging.verdict import WebResume
from kenpin.runtime.service.inspection.messages import (
    AlsoFound,
    BundleFacts,
    Drifted,
    EndWeb,
    FromInspection,
    Gone,
    InspectionEvent,
    InspectorSpec,
    Judge,
    Judged,
    Phase,
    PhaseChanged,
    RunSelftest,
    TakeOver,
    ToInspection,
    WebEnded,
)

__all__ = ["InspectionProcess"]


class InspectionProcess:
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
        self.spec = spec
        self.phase = Phase.STARTING
        self.facts: BundleFacts | None = None
        self.drift = Drifted()
        self.progress = Progress()
        self._jobs: dict[int, Ticket] = {}
        # OpenBLAS would start a thread for each core, and they wait for each other:
        # where one core is taken by anything else, each product waits for the scheduler.
        # It reads its setting once, when numpy is loaded.
        blas = {} if spec.threads is None else {"OPENBLAS_NUM_THREADS": str(spec.threads)}
        body = Body(
            "kenpin-inspect",
            inspect,
            (spec, ring, self.progress),
            called="the inspection process",
            niceness=spec.niceness,
            environ=blas,
        )
        self._child = Child(
            body, ToInspection, FromInspection, progress=self.progress, clock_ns=clock_ns
        )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._child.pid

    def fileno(self) -> int:
        """What to poll while `phase` is not GONE."""
        return self._child.fileno()

    @property
    def in_flight(self) -> int:
        """Jobs sent and not judged."""
        return len(self._jobs)

    @property
    def number(self) -> int:
        """Which inspection it is: no two have the same; see `Judged.inspection`."""
        return self._child.started_ns

    @property
    def held(self) -> list[Ticket]:
        """Slots that it reads or may yet read."""
        return list(self._jobs.values())

    def judge(self, job: int, ticket: Ticket, resume: WebResume | None = None) -> bool:
        """Hand it a frame, and the web that it goes on with; False if it cannot take one."""
        if self.phase is not Phase.READY:
            return False
        if not self._child.send(Judge(job, ticket, resume)):
            return False
        self._jobs[job] = ticket
        return True

    def end_web(self) -> bool:
        """Tell it that the web ends with the frames that it has; False if it cannot be told."""
        return self.phase is Phase.READY and self._child.send(EndWeb())

    def selftest(self) -> bool:
        """Ask it to judge its golden frames again, between jobs; False if it cannot be told."""
        return self._child.send(RunSelftest())

    def take_over(self) -> bool:
        """Tell it that the line is its own now: it leaves its niceness."""
        return self._child.send(TakeOver())

    def stop(self) -> None:
        """Ask it to end after the jobs that it has."""
        self._child.send(Stop())

    def kill(self, why: str) -> None:
        """End it now, whatever it does."""
        if self.phase is not Phase.GONE:
            self._child.kill(why)

    def events(self) -> list[InspectionEvent]:
        """What has happened, in order; after Gone, nothing more ever."""
        if self.phase is Phase.GONE:
            return []
        found: list[InspectionEvent] = []
        for message in self._child.receive():
            event: InspectionEvent = message
            if isinstance(message, WebEnded | AlsoFound):
                event = structs.replace(message, inspection=self.number)
            elif isinstance(message, Judged):
                self._jobs.pop(message.job, None)
                event = structs.replace(message, inspection=self.number)
            elif isinstance(message, Drifted):
                self.drift = message
            elif isinstance(message, PhaseChanged):
                self.phase, self.facts = message.phase, message.facts or self.facts
            found.append(event)
        why = self._child.gone
        if why:
            self.phase = Phase.GONE
            found.append(Gone(why, tuple(self._jobs)))
            self._jobs.clear()
            self._child.close()
        return found

    def silent_ns(self, now_ns: int) -> int:
        """How long it has given no sign of life."""
        return self._child.silent_ns(now_ns)

    def close(self) -> None:
        """End it by force and wait: for the end of the service and of tests."""
        self._child.stop()
        self.phase = Phase.GONE


def inspect(
    spec: InspectorSpec,
    ring: FrameRing,
    progress: Progress,
    channel: Channel[FromInspection, ToInspection],
) -> None:
    """The process's whole life."""
    # Here, so that the gateway, which never sees a pixel, need not load numpy.
    from kenpin.runtime.service.inspection.body import run

    run(spec, ring, channel, progress)
