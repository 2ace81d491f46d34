"""Who inspects: starts, restarts, replaces and kills inspection processes. Never waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path

from kenpin.camera.acquisition.ring import FrameRing, Ticket
from kenpin.processes.child import BackOff
from kenpin.runtime.service.inspection.handle import InspectionProcess
from kenpin.runtime.service.inspection.messages import (
    BundleFacts,
    Failed,
    Gone,
    InspectionEvent,
    InspectorSpec,
    Phase,
    PhaseChanged,
)

__all__ = ["HangLimits", "Role", "Supervisor"]

_PAUSES_NS = (0, 500_000_000, 1_000_000_000, 2_000_000_000, 5_000_000_000)
# Whoever was READY for so long did not die of its start.
_SETTLED_NS = 30_000_000_000
# A process told to end has this long for the jobs it still has.
_LEAVING_NS = 2_000_000_000


class Role(Enum):
    """What a process is there for."""

    LINE = auto()  # judges what comes
    CANDIDATE = auto()  # proves the next bundle
    LEAVING = auto()  # finishes its last jobs


@dataclass(frozen=True, slots=True)
class HangLimits:
    """How long an inspection process may give no sign of life.

    hung_ns   READY, before its silence is told to the clients
    kill_ns   READY, before it is killed and replaced
    start_ns  while it verifies, compiles and warms up
    """

    hung_ns: int = 250_000_000
    kill_ns: int = 1_000_000_000
    start_ns: int = 120_000_000_000


class Supervisor:
    """The inspection processes of a line. Owned by one thread, which polls `filenos()`.

    A restart runs the very folder that was in force, never what `current` leads
    to by then: a bundle changes by ACTIVATE only. A bundle that cannot be
    started is replaced by the one before it, if there is one.

    spec      what to run first; the folder may be a store
    fallback  what to run if that fails
    """

    def __init__(
        self,
        spec: InspectorSpec,
        ring: FrameRing,
        limits: HangLimits,
        *,
        fallback: Path | None = None,
        niceness: int = 10,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._spec = spec
        self._ring = ring
        self._limits = limits
        self._fallback = fallback
        self._niceness = niceness
        self._clock_ns = clock_ns
        self._back_off = BackOff(_PAUSES_NS, _SETTLED_NS)
        self._again = True
        self._restart_ns: int | None = None
        self._ready_ns = 0
        self._leaving: list[tuple[InspectionProcess, int]] = []
        self.line: InspectionProcess | None = None
        self.candidate: InspectionProcess | None = None
        self.facts: BundleFacts | None = None
        self.restarts = 0
        self.rolled_back = False

    # -- commands --------------------------------------------------------------------------

    def start(self) -> None:
        """Start inspecting."""
        self._restart_ns, self._again = None, True
        self.line = self._spawn(self._spec)

    def restart(self, why: str) -> None:
        """Begin anew, at once: RESET after a failure."""
        # Also when it has just failed and is not gone yet.
        self._back_off.worked()
        self._again = True
        if self.line is not None:
            self.line.kill(why)
        elif self._restart_ns is None or self._restart_ns > self._clock_ns():
            self._restart_ns = self._clock_ns()

    def prepare(self, bundle: Path) -> None:
        """Prove another bundle beside the running line; an earlier candidate is dropped."""
        self.discard("another bundle is prepared instead")
        spec = replace(self._spec, bundle=bundle, niceness=self._niceness)
        self.candidate = self._spawn(spec)

    def discard(self, why: str) -> None:
        """Drop the candidate, if there is one."""
        if self.candidate is not None:
            self.candidate.kill(why)
            self._leaving.append((self.candidate, self._clock_ns()))
            self.candidate = None

    @property
    def prepared(self) -> BundleFacts | None:
        """The candidate that is proven and may take over; None if there is none."""
        candidate = self.candidate
        if candidate is None or candidate.phase is not Phase.READY:
            return None
        return candidate.facts

    def activate(self) -> BundleFacts | None:
        """Let the candidate judge from the next frame on; None if none is proven."""
        candidate = self.candidate
        if candidate is None or candidate.phase is not Phase.READY or candidate.facts is None:
            return None
        candidate.take_over()
        if self.line is not None:
            self.line.stop()
            self._leaving.append((self.line, self._clock_ns()))
        if self.facts is not None:
            # Only of the same product: another's would judge parts that it has never seen.
            same = self.facts.recipe == candidate.facts.recipe
            self._fallback = self.facts.folder if same else None
        self.line, self.candidate, self.facts = candidate, None, candidate.facts
        self._spec = replace(self._spec, bundle=candidate.facts.folder)
        self._ready_ns, self._restart_ns = self._clock_ns(), None
        self._back_off.worked()
        self.rolled_back, self._again = False, True
        return self.facts

    # -- what happens ----------------------------------------------------------------------

    def poll(self, now_ns: int) -> list[tuple[Role, InspectionEvent]]:
        """What the processes told, and what their silence means; nobody outlives its limits."""
        found: list[tuple[Role, InspectionEvent]] = []
        for inspector, since_ns in list(self._leaving):
            found += [(Role.LEAVING, event) for event in inspector.events()]
            if inspector.phase is Phase.GONE:
                self._leaving.remove((inspector, since_ns))
            elif now_ns - since_ns > _LEAVING_NS:
                inspector.kill("it did not end when it was told to")
        if self.candidate is not None:
            found += [(Role.CANDIDATE, event) for event in self._look_at_candidate(now_ns)]
        if self.line is not None:
            found += [(Role.LINE, event) for event in self._look_at_line(now_ns)]
        elif self._restart_ns is not None and now_ns >= self._restart_ns:
            self.restarts += 1
            self.start()
        return found

    def _look_at_candidate(self, now_ns: int) -> list[InspectionEvent]:
        candidate = self.candidate
        assert candidate is not None
        events = candidate.events()
        if candidate.phase is Phase.GONE:
            self.candidate = None
        else:
            self._kill_if_silent(candidate, now_ns)
        return events

    def _look_at_line(self, now_ns: int) -> list[InspectionEvent]:
        line = self.line
        assert line is not None
        events = line.events()
        for event in events:
            if isinstance(event, PhaseChanged) and event.phase is Phase.READY:
                self._proven(line, now_ns)
            elif isinstance(event, Failed):
                # The same bytes would fail again: without another bundle a person
                # decides, by RESET.
                self._again = self._roll_back()
            elif isinstance(event, Gone):
                self._buried(line, now_ns)
        if line.phase is not Phase.GONE:
            self._kill_if_silent(line, now_ns)
        return events

    def _proven(self, line: InspectionProcess, now_ns: int) -> None:
        self.facts, self._ready_ns = line.facts, now_ns
        if line.facts is not None:
            self._spec = replace(self._spec, bundle=line.facts.folder)

    def _buried(self, line: InspectionProcess, now_ns: int) -> None:
        self.line = None
        if not self._again:
            return
        if line.facts is None and self._back_off.failures >= 2:
            self._roll_back()
        worked_ns = 0 if line.facts is None else now_ns - self._ready_ns
        self._restart_ns = now_ns + self._back_off.failed(worked_ns)

    def _roll_back(self) -> bool:
        """From now on, run what ran before; False if nothing did."""
        if self._fallback is None:
            return False
        self._spec = replace(self._spec, bundle=self._fallback)
        self._fallback, self.rolled_back = None, True
        return True

    def _kill_if_silent(self, inspector: InspectionProcess, now_ns: int) -> None:
        silent = inspector.silent_ns(now_ns)
        if silent > self._limit_ns(inspector):
            inspector.kill(f"the inspection gave no sign of life for {silent / 1e9:.1f} s")

    def _limit_ns(self, inspector: InspectionProcess) -> int:
        ready = inspector.phase is Phase.READY
        return self._limits.kill_ns if ready else self._limits.start_ns

    def _spawn(self, spec: InspectorSpec) -> InspectionProcess:
        return InspectionProcess(spec, self._ring, clock_ns=self._clock_ns)

    # -- what the gateway wants to know ----------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether there is somebody to judge."""
        return self.line is not None and self.line.phase is Phase.READY

    def alive(self, now_ns: int) -> bool:
        """Whether whoever judges has given a sign of life lately."""
        line = self.line
        return (
            line is not None
            and line.phase is Phase.READY
            and line.silent_ns(now_ns) <= self._limits.hung_ns
        )

    def overdue_ns(self, now_ns: int) -> int:
        """How far a process has outlived its limits; more than a moment: it cannot be killed."""
        if self.line is None:
            return 0
        return max(0, self.line.silent_ns(now_ns) - self._limit_ns(self.line))

    @property
    def restarting(self) -> bool:
        """Whether somebody will judge without anybody's doing."""
        starting = self.line is not None and not self.ready
        return self._again and (self._restart_ns is not None or starting)

    @property
    def held(self) -> list[Ticket]:
        """Slots that some process reads or may yet read."""
        return [ticket for inspector in self._everyone() for ticket in inspector.held]

    def filenos(self) -> list[int]:
        """What to poll; another set after each `poll`."""
        return [i.fileno() for i in self._everyone() if i.phase is not Phase.GONE]

    @property
    def pids(self) -> dict[str, int]:
        """Who runs, by name."""
        named = {"inspection": self.line, "candidate": self.candidate}
        return {name: i.pid for name, i in named.items() if i is not None}

    def _everyone(self) -> list[InspectionProcess]:
        named = [i for i in (self.line, self.candidate) if i is not None]
        return named + [inspector for inspector, _ in self._leaving]

    def close(self) -> None:
        """End every process by force, and wait for that."""
        self._restart_ns = None
        for inspector in self._everyone():
            inspector.close()
        self.line = self.candidate = None
        self._leaving.clear()
