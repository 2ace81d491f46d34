"""The processes beside the line, and what they are told of it. None of them can hold it up."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import structlog

from kenpin.camera.acquisition.handle import Acquisition
from kenpin.camera.acquisition.ring import FrameRing
from kenpin.config.line import Line
from kenpin.processes.side import SideProcess
from kenpin.runtime.judging.verdict import Outcome, Reason
from kenpin.runtime.service.alarms import Alarms
from kenpin.runtime.service.announcer import Announcer
from kenpin.runtime.service.coordinator import CAMERA_WORKS, Coordinator
from kenpin.runtime.service.inspection.supervisor import Supervisor
from kenpin.runtime.service.logs import LogQueue
from kenpin.runtime.service.sides.archive import Archive
from kenpin.runtime.service.sides.preview import Preview
from kenpin.runtime.service.sides.rolls import Rolls
from kenpin.runtime.service.sides.status import ArchiveCounts, LineCounts, StatusReporter

__all__ = ["Sides"]


class Sides:
    """Archive, pictures, rolls and status page of a line, those that its settings ask for."""

    def __init__(
        self,
        line: Line,
        ring: FrameRing,
        coordinator: Coordinator,
        supervisor: Supervisor,
        acquisition: Acquisition,
        announcer: Announcer,
        alarms: Alarms,
        *,
        log: LogQueue | None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._line = line
        self._coordinator = coordinator
        self._supervisor = supervisor
        self._acquisition = acquisition
        self._announcer = announcer
        self._alarms = alarms
        self._log_queue = log
        self._log = structlog.get_logger()
        self.archive: Archive | None = None
        self.preview: Preview | None = None
        self.rolls: Rolls | None = None
        self.status: StatusReporter | None = None
        if line.archive is not None:
            self.archive = Archive(
                line, line.archive, announcer.boot, ring, coordinator.give_back, clock_ns=clock_ns
            )
            coordinator.sides.append(self.archive)
        if line.wire.img is not None:
            self.preview = Preview(
                line, announcer.boot, ring, coordinator.give_back, clock_ns=clock_ns
            )
            coordinator.sides.append(self.preview)
        if line.rolls is not None:
            self.rolls = Rolls(line.rolls, line.name, clock_ns)
            coordinator.on_web = self.rolls.found
        if line.status is not None:
            self.status = StatusReporter(line, line.status, self._counts, clock_ns=clock_ns)
            coordinator.on_verdict.append(self.status.verdict)

    def start(self) -> None:
        """Start them; whether they come up is their own affair."""
        for side in self._all():
            side.start()

    def filenos(self) -> list[int]:
        """What to poll; another set after each `poll`."""
        handles = [side.fileno() for side in self._all()]
        return [handle for handle in handles if handle is not None]

    def poll(self) -> None:
        """Hear them, take slots back, and complain of whoever needs a person."""
        if self.archive is not None:
            self.archive.poll()
            alarm = self.archive.alarm
            self._alarms.note("archive", alarm, bool(alarm))
        if self.preview is not None:
            self.preview.poll()
            self._alarms.note("img", self.preview.alarm, bool(self.preview.alarm))
        if self.rolls is not None:
            for page in self.rolls.poll():
                self._log.info("roll", page=page)
                self._announcer.roll(page)
            self._alarms.note("rolls", self.rolls.alarm, bool(self.rolls.alarm))
        if self.status is not None:
            address = self.status.poll()
            if address:
                self._log.info("status_page", address=address)
            self._alarms.note("status", self.status.alarm, bool(self.status.alarm))

    def stop(self) -> None:
        """Let them write what they have been told, for a moment; then end all."""
        for side in self._all():
            side.stop()

    def _all(self) -> Iterator[SideProcess[Any, Any]]:
        for part in (self.archive, self.preview, self.rolls, self.status):
            if part is not None:
                yield part.side

    def _counts(self) -> LineCounts:
        ledger, facts = self._coordinator.ledger, self._supervisor.facts
        pids = {"gateway": os.getpid(), "acquisition": self._acquisition.pid}
        pids |= self._supervisor.pids
        archive = self.archive
        if archive is not None:
            pids["archive"] = archive.pid
        if self.preview is not None:
            pids["preview"] = self.preview.side.pid
        if self.rolls is not None:
            pids["rolls"] = self.rolls.side.pid
        return LineCounts(
            state=self._announcer.state.value,
            degraded=bool(self._alarms),
            camera=self._acquisition.state.value,
            camera_up=self._acquisition.state in CAMERA_WORKS,
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
                "frames_unasked": self._coordinator.unasked,
                "inspection_restarts": self._supervisor.restarts,
                "acquisition_restarts": self._acquisition.restarts,
                "log_dropped": self._log_queue.dropped if self._log_queue else 0,
            },
            archive=None
            if archive is None
            else ArchiveCounts(dict(archive.kept), dict(archive.dropped), archive.counts),
            pids={name: pid for name, pid in pids.items() if pid is not None},
        )
