"""Brings triggers, frames and verdicts together. No socket, no wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from kenpin.camera.acquisition.events import (
    CameraChanged,
    CameraEvent,
    CameraState,
    FrameArrived,
    FramesLost,
)
from kenpin.camera.acquisition.ring import FrameRing, Ticket
from kenpin.runtime.judging.verdict import Reason, Verdict, WebResume
from kenpin.runtime.service.inspection.messages import (
    AlsoFound,
    Gone,
    InspectionEvent,
    Judged,
    WebEnded,
)
from kenpin.runtime.service.inspection.supervisor import Supervisor
from kenpin.runtime.service.ledger import Answer, Ledger, LedgerEntry, Stage
from kenpin.runtime.service.proofs import doubted, incomplete, too_early, unproven
from kenpin.runtime.service.sides.side import Side
from kenpin.runtime.service.slots import SlotBook
from kenpin.runtime.service.web_lines import WebLines

__all__ = ["CAMERA_WORKS", "Camera", "Coordinator", "Outlet", "TriggerRules"]

# In these states a trigger may be answered with a frame.
CAMERA_WORKS = frozenset({CameraState.ARMED, CameraState.STREAMING, CameraState.IDLE})

# A camera that comes back may report thousands of lost frames; answering them in
# portions keeps the deadlines of the living.
_LOSSES_AT_ONCE = 64


class Camera(Protocol):
    """What the coordinator needs of the acquisition."""

    @property
    def state(self) -> CameraState:
        """Where the camera stands."""
        ...

    def trigger(self, number: int, until_ns: int | None = None) -> bool:
        """Ask for a frame; False if nobody can be asked."""
        ...


class Outlet(Protocol):
    """Who tells the world."""

    def acquired(self, entry: LedgerEntry) -> None:
        """The trigger's frame is there: the part may move."""
        ...

    def verdict(self, entry: LedgerEntry, verdict: Verdict) -> None:
        """The one final verdict on an entry."""
        ...

    def late(self, found: Verdict) -> None:
        """A result that came after its verdict, for statistics only."""
        ...


@dataclass(slots=True)
class _Losses:
    event: FramesLost
    answered: int = 0


@dataclass(frozen=True, slots=True)
class TriggerRules:
    """When frames are judged, and by when.

    triggered      frames are taken on triggers; else each frame is judged
    budget_ns      from the trigger, or the last scan line, to the verdict
    max_in_flight  triggers without a verdict, and frames with the inspection
    """

    triggered: bool
    budget_ns: int
    max_in_flight: int


class Coordinator:
    """Every trigger and every frame that was started leaves here with one verdict.

    ledger, ring, camera, supervisor, outlet
             what it brings together
    """

    def __init__(
        self,
        ledger: Ledger,
        ring: FrameRing,
        camera: Camera,
        supervisor: Supervisor,
        outlet: Outlet,
        rules: TriggerRules,
        clock_ns: Callable[[], int],
    ) -> None:
        self.ledger = ledger
        self._camera = camera
        self._supervisor = supervisor
        self._outlet = outlet
        self._rules = rules
        self._clock_ns = clock_ns
        self.slots = SlotBook(ring)
        self._losses: deque[_Losses] = deque()
        self._web = WebLines()
        # As many as the camera has shown or lost.
        self._lines = 0
        # The inspection was asked for the web's last lines.
        self.web_ending = False
        self.sides: list[Side] = []
        # Why nothing is judged although somebody could, such as a failed self-test.
        self.refusal: Answer | None = None
        self.unasked = 0
        # Whoever counts wants every verdict, with a frame or without.
        self.on_verdict: list[Callable[[LedgerEntry, Verdict], None]] = []

    @property
    def lines(self) -> int:
        """Of the web, as many as have come or are lost, judged or not."""
        return self._lines

    # -- triggers --------------------------------------------------------------------------

    def trigger(
        self, owner: Hashable, trig: str, recipe: str | None, budget_ns: int | None = None
    ) -> tuple[LedgerEntry, bool]:
        """The entry of a software trigger, and whether it is new; answered at once if it must be.

        Raises
        ------
        TriggerConflictError
            If the id was used for another recipe.
        """
        budget = (
            self._rules.budget_ns if budget_ns is None else min(budget_ns, self._rules.budget_ns)
        )
        return self.ledger.trigger(owner, trig, self._clock_ns(), budget, self._label, recipe)

    def start(self, entry: LedgerEntry) -> None:
        """Ask for the frame of a new trigger, or answer at once why there will be none."""
        refused = self._refused(entry)
        if refused is None and not self._camera.trigger(entry.number, entry.deadline_ns):
            refused = Answer.ng(Reason.CAMERA_LOST, "the acquisition process cannot be told")
        if refused is not None:
            self._conclude(entry.number, refused)

    def _refused(self, entry: LedgerEntry) -> Answer | None:
        unable = self._unable(entry.recipe)
        if unable is not None:
            return unable
        if not self._rules.triggered:
            free = "this line judges every frame by itself; set trigger.mode to software"
            return Answer.ng(Reason.NOT_READY, free)
        if self._camera.state not in CAMERA_WORKS:
            return Answer.ng(Reason.CAMERA_LOST, f"the camera is {self._camera.state}")
        if self.ledger.open > self._rules.max_in_flight:
            return Answer.ng(Reason.OVERRUN, f"{self._rules.max_in_flight} triggers are under way")
        return None

    def _unable(self, recipe: str | None) -> Answer | None:
        """Why nothing can be judged now; None if it can."""
        if self.refusal is not None:
            return self.refusal
        facts = self._supervisor.facts
        if facts is None or not self._supervisor.ready:
            return Answer.ng(Reason.NOT_READY, "no inspection is ready")
        if recipe is not None and recipe not in (facts.recipe, facts.label):
            found = f"the trigger is for {recipe!r}, {facts.label} is in force"
            return Answer.ng(Reason.RECIPE_MISMATCH, found)
        return None

    @property
    def _label(self) -> str:
        facts = self._supervisor.facts
        return facts.label if facts else ""

    # -- the camera ------------------------------------------------------------------------

    def camera(self, events: Iterable[CameraEvent]) -> None:
        """What the acquisition told."""
        for event in events:
            if isinstance(event, FrameArrived):
                self._arrived(event)
            elif isinstance(event, FramesLost):
                self._losses.append(_Losses(event))
                self._came(self._lines, event.lines or 0)
            elif event.state not in CAMERA_WORKS:
                self._camera_lost(event)
                if event.state is CameraState.ENDED:
                    self._end_web()
        self.tell_losses()

    def _arrived(self, event: FrameArrived) -> None:
        first_line = event.capture.first_line or 0
        self._came(first_line, event.rows)
        entry = self._entry_of(event.index, event.captured_ns, event.trigger)
        if entry is None:
            # The trigger has its verdict already, or nobody asked.
            self.unasked += 1
            self.slots.let_go(event.ticket)
            return
        entry.frame_name, entry.capture = event.name, event.capture
        if entry.trig is not None:
            self._outlet.acquired(entry)
        refused = self._unable(entry.recipe) or too_early(entry, event) or self._incomplete(event)
        line = self._supervisor.line
        if refused is None and line is not None:
            if line.in_flight >= self._rules.max_in_flight:
                refused = self._crowded()
            elif line.judge(entry.number, event.ticket, self._resume(line.number, first_line)):
                self.slots.judging(entry.number, event.ticket)
                self.ledger.judging(entry.number, self._label)
                return
            else:
                refused = Answer.ng(Reason.NOT_READY, "the inspection process cannot be told")
        self._conclude(entry.number, refused or Answer.ng(Reason.NOT_READY), event.ticket)
        self.slots.let_go(event.ticket)

    def _came(self, first_line: int, lines: int) -> None:
        self._lines = first_line + lines
        self._web.came(first_line, self._lines)

    def _resume(self, inspection: int, first_line: int) -> WebResume | None:
        """What it must know of a web that began without it; parts begin with each frame."""
        facts = self._supervisor.facts
        if facts is None or facts.web is None:
            return None
        return self._web.resume(inspection, first_line)

    def _end_web(self) -> None:
        """No line follows those that are being judged: the last ones are owed an answer, too."""
        line, facts = self._supervisor.line, self._supervisor.facts
        if facts is None or facts.web is None:
            return
        self.web_ending = line is not None and line.end_web()
        if not self.web_ending:
            self._web_ended(WebEnded(None))

    def _entry_of(self, index: int, captured_ns: int, trigger: int | None) -> LedgerEntry | None:
        if trigger is not None:
            return self.ledger.acquired(trigger, index, captured_ns)
        if self._rules.triggered:
            return None
        return self.ledger.untriggered(index, captured_ns, self._rules.budget_ns, self._label)

    def _incomplete(self, event: FrameArrived) -> Answer | None:
        # A web that stops ends a frame early: its lines are lines like all others.
        facts = self._supervisor.facts
        return None if facts is not None and facts.web is not None else incomplete(event)

    def _crowded(self) -> Answer:
        if not self._supervisor.alive(self._clock_ns()):
            return Answer.ng(Reason.NOT_READY, "the inspection gives no sign of life")
        return Answer.ng(
            Reason.OVERRUN, f"{self._rules.max_in_flight} frames are being judged already"
        )

    def tell_losses(self) -> bool:
        """Answer lost frames, a portion of them; whether more wait."""
        left = _LOSSES_AT_ONCE
        while self._losses and left:
            lost = self._losses[0]
            event = lost.event
            answer = Answer.ng(Reason(event.loss.value), event.detail)
            entry = self._entry_of(event.index + lost.answered, event.captured_ns, event.trigger)
            if entry is not None:
                self._conclude(entry.number, answer)
            lost.answered += 1
            left -= 1
            if lost.answered >= event.count:
                self._losses.popleft()
        return bool(self._losses)

    def _camera_lost(self, event: CameraChanged) -> None:
        """Triggers that wait for a frame will not get one."""
        if event.state in (CameraState.OPENING, CameraState.CONFIGURING):
            return
        detail = event.detail or f"the camera is {event.state}"
        for entry in self.ledger.opened(Stage.WAITING):
            self._conclude(entry.number, Answer.ng(Reason.CAMERA_LOST, detail))

    # -- the inspection --------------------------------------------------------------------

    def inspection(self, event: InspectionEvent) -> None:
        """What an inspection process told: of the line's, or of one on its way out."""
        if isinstance(event, Judged):
            self._judged(event)
        elif isinstance(event, AlsoFound):
            defects = self._web.renumbered(event.defects, event.inspection)
            for side in self.sides:
                side.also_found(defects)
        elif isinstance(event, WebEnded):
            self.web_ending = False
            self._web_ended(event)
        elif isinstance(event, Gone):
            if self.web_ending:
                self.web_ending = False
                self._web_ended(WebEnded(None))
            for job in event.jobs:
                ticket = self.slots.judged(job)
                self._conclude(job, Answer.ng(Reason.MODEL_ERROR, event.detail), ticket)
                if ticket is not None:
                    self.slots.let_go(ticket)

    def _judged(self, judged: Judged) -> None:
        ticket = self.slots.judged(judged.job)
        found = self._believed(judged.verdict, judged.inspection, self.ledger.entry(judged.job))
        if found.web is not None:
            self._found(found)
        answer = Answer(found.outcome, found.reason, found.detail)
        self._conclude(judged.job, answer, ticket, found)
        if ticket is not None:
            self.slots.let_go(ticket)

    def _believed(self, found: Verdict, inspection: int, entry: LedgerEntry | None) -> Verdict:
        """What an inspection found; NG, and in every lane, if something speaks against its OK."""
        missing = ""
        if found.web is not None:
            web, missing = self._web.follow(found.web, inspection)
            found = replace(found, web=web)
        unseen = Answer.ng(Reason.INCOMPLETE_FRAME, missing) if missing else None
        doubt = self.refusal or unseen or unproven(entry, found)
        return found if doubt is None else doubted(found, doubt)

    def _web_ended(self, ended: WebEnded) -> None:
        """What the web's last lines came to, after the verdict on its last frame."""
        found = ended.verdict
        if found is not None and found.web is not None:
            found = self._believed(found, ended.inspection, None)
            self._found(found)
            self._outlet.late(found)
        left = self._web.ended()
        if left is not None:
            lines = f"lines {left.first_line} to {left.end_line - 1} were never inspected"
            label = found.bundle if found else self._label
            unseen = Verdict.unjudged(Reason.INCOMPLETE_FRAME, lines, thresholds=None, bundle=label)
            self._found(replace(unseen, web=left))

    def _found(self, found: Verdict) -> None:
        for side in self.sides:
            side.found(found)

    # -- time ------------------------------------------------------------------------------

    def expire(self) -> None:
        """Answer whatever has reached its deadline."""
        for entry in self.ledger.due(self._clock_ns()):
            self._conclude(entry.number, self._overdue(entry), self.slots.of(entry.number))

    def _overdue(self, entry: LedgerEntry) -> Answer:
        allowed = (entry.deadline_ns - entry.opened_ns) / 1e6
        if entry.frame_index is None:
            return Answer.ng(Reason.NO_FRAME, f"no frame came within {allowed:.1f} ms")
        return Answer.ng(Reason.LATE, f"no verdict within {allowed:.1f} ms")

    def shut_down(self) -> None:
        """Answer everything that is under way; nothing is judged any more."""
        self.refusal = Answer.ng(Reason.SHUTDOWN, "the service is stopping")
        for entry in self.ledger.opened():
            self._conclude(entry.number, self.refusal, self.slots.of(entry.number))
        while self.tell_losses():
            pass

    # -- the end of each -------------------------------------------------------------------

    def _conclude(
        self,
        number: int,
        answer: Answer,
        ticket: Ticket | None = None,
        found: Verdict | None = None,
    ) -> None:
        """Give an entry its one verdict, which rests on what the inspection found, if it did."""
        now = self._clock_ns()
        entry = self.ledger.conclude(number, answer, now)
        if entry is None:
            if found is not None:
                self._outlet.late(found)
                if found.web is not None:
                    self._web.untold(found.web)
            return
        verdict = self._verdict(entry, found or self._unjudged(entry), now)
        self._outlet.verdict(entry, verdict)
        for count in self.on_verdict:
            count(entry, verdict)
        for side in self.sides:
            if ticket is not None and side.offer(entry, verdict, ticket):
                self.slots.lend(ticket)
            side.verdict(entry, verdict)

    def _verdict(self, entry: LedgerEntry, found: Verdict, now: int) -> Verdict:
        answer = entry.answer
        assert answer is not None
        if answer.reason is not found.reason:
            found = doubted(found, answer)
        return replace(
            found,
            outcome=answer.outcome,
            reason=answer.reason,
            detail=answer.detail,
            frame_index=entry.frame_index or 0,
            frame_name=entry.frame_name,
            captured_ns=entry.opened_ns if entry.captured_ns is None else entry.captured_ns,
            judged_ns=now,
            stages_us=_stages(entry, found, now),
        )

    def _unjudged(self, entry: LedgerEntry) -> Verdict:
        """What is known of an entry that no inspection has judged."""
        facts = self._supervisor.facts
        thresholds = facts.thresholds if facts else None
        none = Verdict.unjudged(Reason.NOT_READY, "", thresholds=thresholds, bundle=entry.bundle)
        return replace(none, web=self._web.owing())


def _stages(entry: LedgerEntry, found: Verdict, now: int) -> dict[str, int]:
    """Microseconds: `grab` from the trigger to the last scan line, the pipeline's own
    stages, `wait` for all that was spent between processes, and `total`."""
    stages = dict(found.stages_us)
    stages.pop("total", None)
    total = max(0, now - entry.opened_ns) // 1000
    if entry.captured_ns is not None:
        stages["grab"] = max(0, entry.captured_ns - entry.opened_ns) // 1000
        stages["wait"] = max(0, total - sum(stages.values()))
    return stages | {"total": total}
