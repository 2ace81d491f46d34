"""Triggers, frames, verdicts and faults in any order: one verdict each, in time, OK only if proven.

The camera and the inspection are simulated; coordinator, ledger and ring are the real
ones. The clock moves by hand, and stops at each deadline as the gateway does.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kenpin.camera.acquisition.events import CameraChanged, CameraState, FrameArrived, FramesLost
from kenpin.camera.acquisition.ring import FrameRing, SlotHeader, Ticket
from kenpin.camera.capture import Capture
from kenpin.camera.loss import Loss
from kenpin.config.web import WebSpec
from kenpin.runtime.judging.verdict import Outcome, Reason, Thresholds, Verdict, WebResume
from kenpin.runtime.service.coordinator import Coordinator, TriggerRules
from kenpin.runtime.service.inspection.messages import BundleFacts, Gone, Judged
from kenpin.runtime.service.ledger import Answer, Ledger, Stage
from kenpin.runtime.service.sides.side import Side

MS = 1_000_000
BUDGET = 20 * MS
THRESHOLDS = Thresholds(1.0, 1.0)
FACTS = BundleFacts("good@1", "good", Path("/b"), (8, 8, 1), THRESHOLDS, 4, 100)


class Inspection:
    """Takes jobs as the real one does; the test decides what becomes of them."""

    number = 1

    def __init__(self) -> None:
        self.jobs: dict[int, Ticket] = {}
        self.deaf = False

    @property
    def in_flight(self) -> int:
        return len(self.jobs)

    def judge(self, job: int, ticket: Ticket, resume: WebResume | None = None) -> bool:
        assert resume is None, "frames of parts belong to no web"
        if self.deaf:
            return False
        self.jobs[job] = ticket
        return True


class Staff:
    """Stands in for the supervisor."""

    def __init__(self) -> None:
        self.facts = FACTS
        self.line: Inspection | None = Inspection()
        self.leaving: list[Inspection] = []

    @property
    def ready(self) -> bool:
        return self.line is not None

    def alive(self, _now: int) -> bool:
        return self.ready


class Camera:
    def __init__(self) -> None:
        self.state = CameraState.STREAMING
        self.asked: list[int] = []
        self.until_ns: int | None = None

    def trigger(self, number: int, until_ns: int | None = None) -> bool:
        self.asked.append(number)
        self.until_ns = until_ns
        return True


class World:
    """Keeps what was told."""

    def __init__(self) -> None:
        self.verdicts: dict[int, tuple] = {}
        self.late_results = 0
        self.now = 0

    def acquired(self, entry) -> None:
        assert entry.number not in self.verdicts, "told to move after its verdict"

    def verdict(self, entry, verdict) -> None:
        assert entry.number not in self.verdicts, "two final verdicts"
        self.verdicts[entry.number] = (entry, verdict)

    def late(self, judged) -> None:
        self.late_results += 1


class Archive(Side):
    """Takes every frame it is offered, and gives it back when the test says so."""

    def __init__(self) -> None:
        self.lent: list[Ticket] = []
        self.offered: list[Ticket] = []

    def offer(self, entry, verdict, ticket: Ticket) -> bool:
        self.offered.append(ticket)
        if len(self.lent) >= 2:
            return False
        self.lent.append(ticket)
        return True


class Shift:
    """A shift of a line, software-triggered or free-running, in an unkind world."""

    def __init__(self, seed: int, triggered: bool) -> None:
        self.rng = random.Random(seed)
        self.triggered = triggered
        self.now = 1000 * MS
        self.ring = FrameRing(5, 64)
        self.staff, self.eye, self.world, self.archive = Staff(), Camera(), World(), Archive()
        self.ledger = Ledger()
        self.coordinator = Coordinator(
            self.ledger,
            self.ring,
            self.eye,
            self.staff,
            self.world,
            TriggerRules(triggered, BUDGET, 2),
            lambda: self.now,
        )
        self.coordinator.sides.append(self.archive)
        self.owed = 0
        self.index = 0
        self.trig = 0
        self.believed_ok: set[int] = set()
        self.incomplete: set[int] = set()

    # -- the ordinary day --

    def trigger(self) -> None:
        recipe = self.rng.choice([None, None, "good", "good@1", "good@1", "other"])
        self.trig += 1
        entry, fresh = self.coordinator.trigger("plc", str(self.trig), recipe)
        assert fresh
        self.owed += 1
        self.coordinator.start(entry)
        if recipe == "other" and entry.answer is not None and self.staff.ready:
            assert entry.answer.reason in (Reason.RECIPE_MISMATCH, Reason.SELFTEST_FAILED)
        again, fresh = self.coordinator.trigger("plc", str(self.trig), recipe)
        assert (again, fresh) == (entry, False)

    def a_frame_comes(self) -> None:
        age = self.rng.choice([0, 0, 0, 1, 5, 30])
        missing = self.rng.choice([0, 0, 0, 0, 0, 3])
        number = self.eye.asked.pop(0) if self.eye.asked else None
        if self.triggered and number is None:
            return
        ticket = self.ring.reserve()
        if ticket is None:
            self.lose(1, Loss.OVERRUN, number)
            return
        captured = self.now - age * MS
        capture = Capture(lines_expected=8, began_ns=captured)
        header = SlotHeader(self.index, captured, 8 - missing, 8, 1, 1, "", capture)
        self.ring.commit(ticket, header)
        event = FrameArrived(ticket, self.index, captured, 8 - missing, "", capture, number)
        self.index += 1
        if not self.triggered:
            self.owed += 1
        if missing:
            self.incomplete.add(event.index)
        self.coordinator.camera([event])

    def the_inspection_answers(self) -> None:
        score = self.rng.choice([0.5, 0.5, 0.5, 2.0])
        lie = self.rng.choice([""] * 9 + ["nan", "none", "high", "negative", "bundle"])
        everyone = [i for i in [self.staff.line, *self.staff.leaving] if i and i.jobs]
        if not everyone:
            return
        who = self.rng.choice(everyone)
        job = next(iter(who.jobs))
        assert self.ring.valid(who.jobs.pop(job)), "a slot was freed under the inspection"
        ok = score <= 1.0
        lies = {"nan": math.nan, "none": None, "high": 1.1, "negative": -1.0}
        if ok and not lie and self.coordinator.refusal is None:
            self.believed_ok.add(job)
        self.coordinator.inspection(
            Judged(
                job,
                Verdict(
                    outcome=Outcome.OK if ok else Outcome.NG,
                    reason=None if ok else Reason.DEFECT,
                    detail="",
                    score=lies.get(lie, score) if ok else score,
                    thresholds=THRESHOLDS,
                    frame_index=0,
                    frame_name="",
                    captured_ns=self.now,
                    judged_ns=self.now,
                    bundle="good@2" if lie == "bundle" else "good@1",
                    peak_xy=(1, 1),
                    stages_us={"infer": 5},
                ),
            )
        )

    def time_passes(self) -> None:
        step = self.rng.choice([0, 1, 2, 3, 5, 15])
        end = self.now + step * MS
        while (due := self.ledger.next_deadline_ns()) is not None and due <= end:
            self.now = max(self.now, due)
            self.coordinator.expire()
        self.now = end

    def the_archive_is_done(self) -> None:
        if self.archive.lent:
            self.coordinator.slots.give_back(self.archive.lent.pop(0))

    # -- faults --

    def frames_are_lost(self) -> None:
        count, loss = self.rng.randint(1, 100), self.rng.choice(list(Loss))
        if self.triggered:
            if self.eye.asked:
                self.lose(1, loss, self.eye.asked.pop(0))
        else:
            self.lose(count, loss, None)

    def lose(self, count, loss, number) -> None:
        if not self.triggered:
            self.owed += count
        event = FramesLost(self.index, count, self.now, loss, "lost", None, number)
        self.index += count
        self.coordinator.camera([event])
        while self.coordinator.tell_losses():
            pass

    def the_inspection_dies(self) -> None:
        if self.staff.line is not None:
            line, self.staff.line = self.staff.line, None
            self.coordinator.inspection(Gone("killed", tuple(line.jobs)))
            assert all(self.ledger.entry(job) is None for job in line.jobs)

    def another_inspection_is_ready(self) -> None:
        # As after a restart, or as ACTIVATE does beside a running one.
        if self.staff.line is not None:
            self.staff.leaving.append(self.staff.line)
        self.staff.line = Inspection()

    def the_channel_is_full(self) -> None:
        if self.staff.line is not None:
            self.staff.line.deaf = not self.staff.line.deaf

    def the_camera_dies(self) -> None:
        self.eye.state = CameraState.LOST
        self.eye.asked.clear()
        self.ring.reclaim(self.coordinator.slots.held)
        self.coordinator.camera([CameraChanged(CameraState.LOST, "unplugged")])
        assert self.ledger.opened(Stage.WAITING) == []

    def the_camera_is_back(self) -> None:
        self.eye.state = CameraState.STREAMING

    def a_selftest_ends(self) -> None:
        refused = self.coordinator.refusal
        self.coordinator.refusal = (
            None if refused else Answer.ng(Reason.SELFTEST_FAILED, "off by 9 %")
        )

    # -- what must hold --

    def every_answer_is_final_timely_and_proven(self) -> None:
        assert len(self.world.verdicts) + self.ledger.open == self.owed, "a verdict is missing"
        assert self.ledger.outcomes.total() == len(self.world.verdicts)
        seqs = sorted(entry.seq for entry, _ in self.world.verdicts.values())
        assert seqs == list(range(1, len(seqs) + 1))
        for number, (entry, verdict) in self.world.verdicts.items():
            if verdict.outcome is Outcome.OK:
                assert number in self.believed_ok
                assert entry.answered_ns <= entry.deadline_ns
                assert entry.recipe in (None, "good", "good@1")
                assert verdict.score <= THRESHOLDS.ok
                assert entry.frame_index not in self.incomplete
                assert verdict.bundle == "good@1"
            else:
                assert verdict.reason is not None
            # A frame that was too old when it came is answered at once.
            in_time = max(entry.deadline_ns, entry.opened_ns)
            if entry.trig is not None:
                assert entry.answered_ns <= in_time

    def no_slot_is_lost_or_freed_too_early(self) -> None:
        inspected = [i for i in [self.staff.line, *self.staff.leaving] if i]
        in_use = {t for i in inspected for t in i.jobs.values()} | set(self.archive.lent)
        assert all(self.ring.valid(ticket) for ticket in in_use)
        assert all(i.in_flight <= 2 for i in inspected), "a queue grows"
        assert self.ring.free == self.ring.slots - len(in_use)

    # -- the day --

    def work(self, steps: int) -> None:
        """Mostly ordinary steps; a fault now and then, and its repair more often."""
        ordinary = [self.a_frame_comes, self.the_inspection_answers, self.time_passes]
        ordinary += [self.the_archive_is_done] + [self.trigger] * self.triggered * 2
        repairs = [self.the_camera_is_back, self.another_inspection_is_ready]
        faults = [
            self.frames_are_lost,
            self.the_inspection_dies,
            self.the_channel_is_full,
            self.the_camera_dies,
            self.a_selftest_ends,
            self.trigger,
        ]
        for _ in range(steps):
            kind = self.rng.random()
            if kind < 0.05:
                self.rng.choice(faults)()
            elif kind < 0.15:
                self.rng.choice(repairs)()
                self.coordinator.refusal = None
            else:
                self.rng.choice(ordinary)()
            self.every_answer_is_final_timely_and_proven()
            self.no_slot_is_lost_or_freed_too_early()

    def end(self) -> None:
        slots = [self.coordinator.slots.of(entry.number) for entry in self.ledger.opened()]
        self.coordinator.shut_down()
        # A part that was photographed is NG now: its frame is kept as that of every NG.
        assert {slot for slot in slots if slot} <= set(self.archive.offered)
        assert self.ledger.open == 0
        assert len(self.world.verdicts) == self.owed
        self.ring.close()


@given(seed=st.integers(0, 2**32), triggered=st.booleans())
@settings(max_examples=40)
def test_every_trigger_gets_one_verdict_in_time_and_ok_only_if_proven(seed, triggered) -> None:
    shift = Shift(seed, triggered)
    shift.work(150)
    shift.end()


@pytest.mark.parametrize("triggered", [True, False])
def test_the_shift_above_sees_every_kind_of_verdict(triggered) -> None:
    """Or its assertions would hold for want of anything to look at."""
    seen: Counter[Reason | None] = Counter()
    for seed in range(30):
        shift = Shift(seed, triggered)
        shift.work(150)
        shift.end()
        seen += Counter(verdict.reason for _, verdict in shift.world.verdicts.values())
    wanted = {None, Reason.DEFECT, Reason.LATE, Reason.OVERRUN, Reason.INCOMPLETE_FRAME}
    wanted |= {Reason.NOT_READY, Reason.MODEL_ERROR, Reason.SELFTEST_FAILED, Reason.NONFINITE}
    wanted |= {Reason.CAMERA_LOST, Reason.SHUTDOWN}
    if triggered:
        wanted |= {Reason.NO_FRAME, Reason.RECIPE_MISMATCH}
    assert wanted <= set(seen), wanted - set(seen)
    assert seen[None] > 50


def desk_of(triggered: bool) -> tuple[Coordinator, Staff, Camera, World, FrameRing]:
    staff, eye, world, ring = Staff(), Camera(), World(), FrameRing(4, 64)
    coordinator = Coordinator(
        Ledger(),
        ring,
        eye,
        staff,
        world,
        TriggerRules(triggered, BUDGET, 2),
        lambda: 5,
    )
    return coordinator, staff, eye, world, ring


def test_the_third_trigger_under_way_is_an_overrun_at_once() -> None:
    coordinator, _, eye, world, _ = desk_of(triggered=True)
    for trig in "abc":
        coordinator.start(coordinator.trigger("plc", trig, None)[0])
    assert [v.reason for _, v in world.verdicts.values()] == [Reason.OVERRUN]
    assert eye.asked == [1, 2]


def test_a_trigger_for_a_camera_that_is_gone_is_answered_at_once() -> None:
    coordinator, _, eye, world, _ = desk_of(triggered=True)
    eye.state = CameraState.REOPENING
    coordinator.start(coordinator.trigger("plc", "a", None)[0])
    told = [(v.reason, v.frame_index) for _, v in world.verdicts.values()]
    assert told == [(Reason.CAMERA_LOST, 0)]


def test_a_trigger_on_a_free_running_line_is_refused_with_advice() -> None:
    coordinator, _, _, world, _ = desk_of(triggered=False)
    coordinator.start(coordinator.trigger("plc", "a", None)[0])
    ((_, verdict),) = world.verdicts.values()
    assert verdict.reason is Reason.NOT_READY
    assert "trigger.mode" in verdict.detail


def test_thousands_of_lost_frames_are_answered_in_portions() -> None:
    coordinator, _, _, world, _ = desk_of(triggered=False)
    coordinator.camera([FramesLost(0, 1000, 5, Loss.CAMERA, "unplugged")])
    assert 0 < len(world.verdicts) < 100
    while coordinator.tell_losses():
        pass
    assert len(world.verdicts) == 1000


def test_a_smaller_budget_of_a_trigger_counts_and_a_larger_one_does_not() -> None:
    coordinator, _, eye, *_ = desk_of(triggered=True)
    shorter, _ = coordinator.trigger("plc", "a", None, budget_ns=BUDGET // 2)
    longer, _ = coordinator.trigger("plc", "b", None, budget_ns=2 * BUDGET)
    assert shorter.deadline_ns - shorter.opened_ns == BUDGET // 2
    assert longer.deadline_ns - longer.opened_ns == BUDGET
    for entry in (shorter, longer):
        coordinator.start(entry)
        assert eye.until_ns == entry.deadline_ns


@pytest.mark.parametrize("web", [None, WebSpec()])
def test_a_frame_that_a_web_ends_early_by_stopping_is_inspected_and_a_parts_is_not(
    web: WebSpec | None,
) -> None:
    coordinator, staff, _, world, ring = desk_of(triggered=False)
    staff.facts = replace(FACTS, web=web)
    capture = Capture(first_line=0, lines_expected=8)
    ticket = ring.reserve()
    ring.commit(ticket, SlotHeader(0, 5, 3, 8, 1, 1, "", capture))
    coordinator.camera([FrameArrived(ticket, 0, 5, 3, "", capture)])
    assert len(staff.line.jobs) == (web is not None)
    told = [verdict.reason for _, verdict in world.verdicts.values()]
    assert told == ([] if web else [Reason.INCOMPLETE_FRAME])


class Heir(Inspection):
    """Keeps what it was told of the web that began without it."""

    number = 2

    def __init__(self) -> None:
        super().__init__()
        self.told: list[WebResume | None] = []

    def judge(self, job: int, ticket: Ticket, resume: WebResume | None = None) -> bool:
        self.told.append(resume)
        return super().judge(job, ticket)


@pytest.mark.parametrize("web", [None, WebSpec()])
def test_who_is_given_a_later_frame_first_is_told_where_the_web_began(web: WebSpec | None) -> None:
    coordinator, staff, _, _, ring = desk_of(triggered=False)
    staff.facts = replace(FACTS, web=web)
    first, heir = Heir(), Heir()

    def arrive(index: int) -> None:
        ticket = ring.reserve()
        capture = Capture(first_line=70 + 8 * index)
        ring.commit(ticket, SlotHeader(index, 5, 8, 8, 1, 1, "", capture))
        coordinator.camera([FrameArrived(ticket, index, 5, 8, "", capture)])

    staff.line = first
    arrive(0)
    coordinator.inspection(Gone("it died", tuple(first.jobs)))
    staff.line = None
    arrive(1)
    staff.line = heir
    arrive(2)
    assert coordinator.lines == 70 + 3 * 8, "judged or not: a roll that is stopped now ends there"
    assert first.told == [None]
    (resume,) = heir.told
    assert (resume is not None) == (web is not None)
    if resume is not None:
        assert (resume.origin, resume.line, resume.mm) == (70, 70, None)


@pytest.mark.parametrize(
    ("began_ns", "told"),
    [(4, "begun 0.0 ms before the trigger"), (None, "nobody knows when"), (5, None)],
)
def test_a_frame_that_began_before_its_trigger_is_no_answer_whatever_the_acquisition_says(
    began_ns: int | None, told: str | None
) -> None:
    coordinator, staff, _, world, ring = desk_of(triggered=True)
    entry, _ = coordinator.trigger("plc", "a", None)
    coordinator.start(entry)
    capture = Capture(began_ns=began_ns)
    ticket = ring.reserve()
    ring.commit(ticket, SlotHeader(0, 5, 8, 8, 1, 1, "", capture))
    coordinator.camera([FrameArrived(ticket, 0, 5, 8, "", capture, entry.number)])
    assert len(staff.line.jobs) == (told is None)
    found = [verdict for _, verdict in world.verdicts.values()]
    assert [verdict.reason for verdict in found] == ([] if told is None else [Reason.NO_FRAME])
    assert all(told in verdict.detail for verdict in found)


def test_after_a_failed_selftest_nothing_is_judged() -> None:
    coordinator, _, _, world, ring = desk_of(triggered=False)
    ticket = ring.reserve()
    ring.commit(ticket, SlotHeader(0, 5, 8, 8, 1, 1, "", Capture()))
    coordinator.refusal = Answer.ng(Reason.SELFTEST_FAILED, "off")
    coordinator.camera([FrameArrived(ticket, 0, 5, 8, "", Capture())])
    assert [v.reason for _, v in world.verdicts.values()] == [Reason.SELFTEST_FAILED]
    assert ring.free == 4
