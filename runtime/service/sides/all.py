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
from kenpin.runtime.service.announcer import Announcer
from kenpin.runtime.service.complaints import Complaints
from kenpin.runtime.service.desk import CAMERA_WORKS, Desk
from kenpin.runtime.service.inspection.supervisor import Supervisor
from kenpin.runtime.service.logs import LogQueue
from kenpin.runtime.service.sides.archive import Archive
from kenpin.runtime.service.sides.preview import Preview
from kenpin.runtime.service.sides.rolls import Rolls
from kenpin.runtime.service.sides.status import ArchiveCounts, LineCounts, Status

__all__ = ["Sides"]


class Sides:
    """Archive, pictures, rolls and status page of a line, those that its settings ask for."""

    def __init__(
        self,
        line: Line,
        ring: FrameRing,
        desk: Desk,
        supervisor: Supervisor,
        acquisition: Acquisition,
        announcer: Announcer,
        complaints: Complaints,
        *,
        log: LogQueue | None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._line = line
        self._desk = desk
        self._supervisor = supervisor
        self._acquisition = acquisition
        self._announcer = announcer
        self._complaints = complaints
        self._log_queue = log
        self._log = structlog.get_logger()
        self.archive: Archive | None = None
        self.preview: Preview | None = None
        self.rolls: Rolls | None = None
        self.status: Status | None = None
        if line.archive is not None:
            self.archive = Archive(
                line, line.archive, announcer.boot, ring, desk.give_back, clock_ns=clock_ns
            )
            desk.sides.append(self.archive)
        if line.wire.img is not None:
            self.preview = Preview(line, announcer.boot, ring, desk.give_back, clock_ns=clock_ns)
            desk.sides.append(self.preview)
        if line.rolls is not None:
            self.rolls = Rolls(line.rolls, line.name, clock_ns)
            desk.on_web = self.rolls.found
        if line.status is not None:
            self.status = Status(line, line.status, self._counts, clock_ns=clock_ns)
            desk.on_verdict = self.status.verdict

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
            complaint = self.archive.complaint
            self._complaints.note("archive", complaint, bool(complaint))
        if self.preview is not None:
            self.preview.poll()
            self._complaints.note("img", self.preview.complaint, bool(self.preview.complaint))
        if self.rolls is not None:
            for page in self.rolls.poll():
                self._log.info("roll", page=page)
                self._announcer.roll(page)
            self._complaints.note("rolls", self.rolls.complaint, bool(self.rolls.complaint))
        if self.status is not None:
            address = self.status.poll()
            if address:
                self._log.info("status_page", address=address)
            self._complaints.note("status", self.status.complaint, bool(self.status.complaint))

    def stop(self) -> None:
        """Let them write what they have been told, for a moment; then end all."""
        for side in self._all():
            side.stop()

    def _all(self) -> Iterator[SideProcess[Any, Any]]:
        for part in (self.archive, self.preview, self.rolls, self.status):
            if part is not None:
                yield part.side

    def _counts(self) -> LineCounts:
        ledger, facts = self._desk.ledger, self._supervisor.facts
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
            degraded=bool(self._complaints),
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
                "frames_unasked": self._desk.unasked,
                "inspection_restarts": self._supervisor.restarts,
                "acquisition_restarts": self._acquisition.restarts,
                "log_dropped": self._log_queue.dropped if self._log_queue else 0,
            },
            archive=None
            if archive is None
            else ArchiveCounts(dict(archive.kept), dict(archive.dropped), archive.counts),
            pids={name: pid for name, pid in pids.items() if pid is not None},
        )
