"""The handle on an inspection process, as the gateway sees it: jobs in, verdicts out.

No numpy here: this side answers triggers and must not hang where that one can.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from kenpin.camera.acquisition.ring import FrameRing, Ticket
from kenpin.config.web import WebSpec
from kenpin.processes.channel import Channel
from kenpin.processes.child import settle
from kenpin.processes.progress import Progress
from kenpin.runtime.judging.verdict import Outcome, Reason, Thresholds

__all__ = [
    "BundleFacts",
    "Failed",
    "Gone",
    "InspectionEvent",
    "Inspector",
    "InspectorSpec",
    "Judged",
    "Phase",
    "PhaseChanged",
    "SelftestDone",
    "TookOver",
]


class Phase(StrEnum):
    """How far an inspection process has come."""

    STARTING = "starting"
    VERIFYING = "verifying"
    COMPILING = "compiling"
    WARMING = "warming"  # golden frames, which warm the network up and prove it
    READY = "ready"
    GONE = "gone"


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


@dataclass(frozen=True, slots=True)
class BundleFacts:
    """What the gateway needs to know of a bundle that has proven itself on this box.

    frame           height, width, channels
    golden          how many golden frames it reproduced
    longest_gap_us  longest time without progress while it judged them
    web             the table [web] in force; None where frames show parts
    """

    label: str
    recipe: str
    folder: Path
    frame: tuple[int, int, int]
    thresholds: Thresholds
    golden: int
    longest_gap_us: int
    web: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """The inspection's word on one job. The gateway decides whether it came in time.

    web         what it says of a web, see `web.plain`; None where frames show parts
    inspection  when the process that says so was started: no two have the same
    """

    job: int
    outcome: Outcome
    reason: Reason | None
    detail: str
    score: float | None
    peak_xy: tuple[int, int] | None
    stages_us: Mapping[str, int]
    bundle: str
    thresholds: Thresholds
    judged_ns: int
    has_map: bool
    web: dict[str, Any] | None = None
    inspection: int = 0


@dataclass(frozen=True, slots=True)
class PhaseChanged:
    """It has come further."""

    phase: Phase
    facts: BundleFacts | None = None


@dataclass(frozen=True, slots=True)
class SelftestDone:
    """The golden frames were judged again, or could not be."""

    passed: bool
    detail: str
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Failed:
    """It cannot run the bundle, and ends. `reason` is why triggers will be NG."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Gone:
    """It has ended or was killed. `jobs` were never judged."""

    detail: str
    jobs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TookOver:
    """It has left its niceness, or was not allowed to: then `niceness` is above 0."""

    niceness: int


InspectionEvent = Judged | PhaseChanged | SelftestDone | TookOver | Failed | Gone


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
        ours, theirs = Channel.pair()
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
        if not self._channel.send({"do": "judge", "job": job, "ticket": list(ticket)}):
            return False
        self._jobs[job] = _Sent(ticket, self._clock_ns())
        return True

    def ticket_of(self, job: int) -> Ticket | None:
        """The slot of a job in flight."""
        sent = self._jobs.get(job)
        return sent.ticket if sent else None

    def selftest(self) -> bool:
        """Ask it to judge its golden frames again, between jobs; False if it cannot be told."""
        return self._channel.send({"do": "selftest"})

    def take_over(self) -> bool:
        """Tell it that the line is its own now: it leaves its niceness."""
        return self._channel.send({"do": "take_over"})

    def stop(self) -> None:
        """Ask it to end after the jobs that it has."""
        self._channel.send({"do": "stop"})

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
            event = _event_of(message, self.started_ns)
            if isinstance(event, Judged):
                self._jobs.pop(event.job, None)
            elif isinstance(event, PhaseChanged):
                self.phase, self.facts = event.phase, event.facts or self.facts
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


def _event_of(message: dict[str, Any], inspection: int) -> InspectionEvent:
    kind = message.pop("event")
    if kind == "judged":
        message["outcome"] = Outcome(message["outcome"])
        message["reason"] = Reason(message["reason"]) if message["reason"] else None
        message["peak_xy"] = tuple(message["peak_xy"]) if message["peak_xy"] else None
        message["thresholds"] = Thresholds(*message["thresholds"])
        return Judged(**message, inspection=inspection)
    if kind == "phase":
        facts = message.get("facts")
        if facts is not None:
            facts["folder"] = Path(facts["folder"])
            facts["frame"] = tuple(facts["frame"])
            facts["thresholds"] = Thresholds(*facts["thresholds"])
        return PhaseChanged(Phase(message["phase"]), BundleFacts(**facts) if facts else None)
    if kind == "selftest":
        return SelftestDone(**message)
    if kind == "took_over":
        return TookOver(**message)
    return Failed(Reason(message["reason"]), message["detail"])


def _inspect(
    spec: InspectorSpec, ring: FrameRing, channel: Channel, progress: Progress, parent: int
) -> None:
    """The process's whole life."""
    if not settle("kenpin-inspect", parent):
        return
    from kenpin.runtime.service.inspection.body import run

    run(spec, ring, channel, progress)
