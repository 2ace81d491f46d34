"""The processes beside the line, and what they are told of it. None of them can hold it up."""

from __future__ import annotations

import os
import time
from collections import Counter

import structlog

from kenpin.config.registry import load_object
from kenpin.config.settings import Settings
from kenpin.config.sides import SIDES
from kenpin.runtime.judging.verdict import Outcome, Reason
from kenpin.runtime.service.coordinator import CAMERA_WORKS
from kenpin.runtime.service.inspection.changeover import Change
from kenpin.runtime.service.inspection.messages import BundleFacts
from kenpin.runtime.service.line_parts import LineParts
from kenpin.runtime.service.sides.messages import DriftFacts, LineTotals
from kenpin.runtime.service.sides.rolls import Rolls
from kenpin.runtime.service.sides.side import MakeSide, Side, Surroundings

__all__ = ["AllSides"]


class AllSides:
    """The processes that a line's settings ask for, of whatever kind.

    rolls  keeps the rolls of a web; None if the line keeps none
    """

    def __init__(self, parts: LineParts) -> None:
        self._parts = parts
        self._log = structlog.get_logger()
        self._restarts: Counter[str] = Counter()
        around = Surroundings(
            line=parts.line,
            boot=parts.announcer.boot,
            ring=parts.ring,
            give_back=parts.coordinator.slots.give_back,
            counts=self._counts,
            announce_roll=parts.announcer.roll,
            clock_ns=parts.clock_ns,
        )
        self._all = [_made(kind, settings, around) for kind, settings in parts.line.beside]
        self.rolls = next((side for side in self._all if isinstance(side, Rolls)), None)
        parts.coordinator.sides += self._all

    def start(self) -> None:
        """Start them; whether they come up is their own affair."""
        for side in self._all:
            side.process.start()

    def filenos(self) -> list[int]:
        """What to poll; another set after each `poll`."""
        handles = [side.process.fileno() for side in self._all]
        return [handle for handle in handles if handle is not None]

    def poll(self) -> None:
        """Hear them, take slots back, and raise alarms about whoever needs a person."""
        for side in self._all:
            side.poll()
            alarm = side.alarm
            self._parts.alarms.note(side.part, alarm, bool(alarm))
            if side.process.restarts > self._restarts[side.part]:
                self._restarts[side.part] = side.process.restarts
                self._log.warning("side_started_again", side=side.part, pid=side.process.pid)

    @property
    def pids(self) -> dict[str, int]:
        """Who runs beside the line, by the name that alarms use."""
        # In ps two long names may read alike.
        return {side.part: pid for side in self._all if (pid := side.process.pid) is not None}

    def in_force(self, facts: BundleFacts) -> None:
        """A bundle judges from now on."""
        for side in self._all:
            side.in_force(facts)

    def changed(self, change: Change) -> None:
        """Another bundle has come so far."""
        for side in self._all:
            side.changed(change)

    def wanted(self) -> list[tuple[str, str, str]]:
        """Who wants which bundle to judge from now on, and instead of which: see `Side.wanted`."""
        return [(side.part, *names) for side in self._all for names in side.wanted()]

    def stop(self, grace_s: float) -> None:
        """Let all of them write what they have been told, for so long; then end who has not."""
        for side in self._all:
            side.process.hang_up()
        until_s = time.monotonic() + grace_s
        for side in self._all:
            if not side.process.stop(max(0.0, until_s - time.monotonic())):
                self._log.warning("side_cut_short", side=side.part, after_s=grace_s)
        # Whoever was behind at the end has nobody left to tell: alarms end with the line.
        for side in self._all:
            if side.archived and side.archived.dropped:
                self._log.warning("archive_lacks_entries", **side.archived.dropped)

    def _counts(self) -> LineTotals:
        parts, ledger, facts = self._parts, self._parts.ledger, self._parts.supervisor.facts
        drift = parts.supervisor.line.drift if parts.supervisor.line else None
        pids: dict[str, int | None] = {"gateway": os.getpid(), "acquisition": parts.acquisition.pid}
        pids |= parts.supervisor.pids
        pids |= self.pids
        return LineTotals(
            state=parts.announcer.state.value,
            degraded=bool(parts.alarms),
            camera=parts.acquisition.state.value,
            camera_up=parts.acquisition.state in CAMERA_WORKS,
            bundle=facts.label if facts else "",
            recipe=facts.recipe if facts else "",
            thresholds=facts.thresholds if facts else None,
            ok=ledger.outcomes[Outcome.OK],
            reasons={reason.value: count for reason, count in ledger.reasons.items()},
            counts={
                "deadline_missed": ledger.reasons[Reason.LATE],
                "late_results": ledger.late_results,
                "triggers_missed": ledger.missed,
                "triggers_repeated": ledger.repeated,
                "verdicts_resent": ledger.resent,
                "frames_unasked": parts.coordinator.unasked,
                "inspection_restarts": parts.supervisor.restarts,
                "acquisition_restarts": parts.acquisition.restarts,
                "log_dropped": parts.log.dropped if parts.log else 0,
            },
            archive=next((side.archived for side in self._all if side.archived), None),
            pids={name: pid for name, pid in pids.items() if pid is not None},
            alarms=self._parts.alarms.open,
            drift=None if drift is None else DriftFacts(drift.cause, drift.shares, drift.looks),
        )


def _made(kind: str, settings: Settings, around: Surroundings) -> Side:
    make: MakeSide = load_object(SIDES.find(kind).handle)
    return make(settings, around)
