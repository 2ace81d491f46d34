"""What gates and lanes are told of lines that an inspection takes along, or speaks of too late."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from kenpin.camera.acquisition.events import FrameArrived
from kenpin.camera.acquisition.ring import SlotHeader
from kenpin.camera.capture import Capture
from kenpin.camera.frame import Frame
from kenpin.config.web import WebSpec
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.verdict import (
    Cause,
    Gap,
    LaneVerdict,
    Outcome,
    Reason,
    Thresholds,
    Verdict,
    WebFindings,
    WebGate,
    WebResume,
)
from kenpin.runtime.service.inspection.messages import Gone, Judged
from kenpin.runtime.service.ledger import Answer
from kenpin.runtime.service.web_lines import WebLines
from kenpin.runtime.web.pipeline import WebPipeline
from kenpin.runtime.wire.verdict_messages import VerdictMessage
from test_coordinator import BUDGET, FACTS, THRESHOLDS, desk_of
from web_lines import some_web, spoiled
from wire_samples import OK_VERDICT, verdict_message

TWO_LANES = [
    {"name": "left", "left_px": 0, "right_px": 80},
    {"name": "right", "left_px": 80, "right_px": 160, "offset_to_gate_mm": 800},
]
ALONG = {"along": {"line_pitch_mm": 0.5}, "offset_to_gate_mm": 500, "lanes": TWO_LANES}


def told_of(gates: Any, lane: str, first_mm: float, end_mm: float, offset_mm: float) -> bool:
    """Whether a gate acts on all of a stretch."""
    at = first_mm + offset_mm
    for gate in sorted(gates, key=lambda gate: gate.from_mm):
        if gate.lane == lane and gate.from_mm <= at + 1e-6:
            at = max(at, gate.to_mm)
    return at >= end_mm + offset_mm - 1e-6


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"ignore": [{"last_lines": 300}]},
        {"ends": {"within_lines": 300, "margin_lines": 48, "level": 20}},
    ],
    ids=["plain", "a zone at the end", "ends that are found"],
)
def test_every_line_between_two_inspections_is_ng_in_each_lane_and_told_to_each_gate(
    web_bundle: Bundle, spec: dict[str, Any]
) -> None:
    pixels, web = some_web(2000), WebSpec.model_validate({**ALONG, **spec})
    lines = WebLines()
    dying, heir = WebPipeline(web_bundle, web=web), WebPipeline(web_bundle, web=web)
    gates: list[WebGate] = []
    first_of_heir = None
    for first in range(0, 2000, 100):
        lines.came(first, first + 100)
        if 900 <= first < 1100:
            continue  # nobody is ready
        inspection, pipeline = (1, dying) if first < 900 else (2, heir)
        resume = lines.resume(inspection, first)
        if resume is not None:
            pipeline.resume(resume)
        frame = Frame(pixels[first : first + 100].copy(), 0, first // 100, capture=Capture(first))
        judged = pipeline.judge(frame).verdict.web
        assert judged is not None
        found, missing = lines.follow(judged, inspection)
        if inspection == 2 and first_of_heir is None:
            assert missing
            first_of_heir, untold = found, found.first_line
        gates += found.gates
    assert first_of_heir is not None
    assert untold < 900
    assert [lane.outcome for lane in first_of_heir.lanes] == [Outcome.NG] * 2
    for lane, offset in (("left", 500), ("right", 800)):
        assert told_of(gates, lane, 0.5 * untold, 550, offset), [
            (g.from_mm - offset, g.to_mm - offset) for g in gates if g.lane == lane
        ]
        # And nothing that was well inspected before.
        assert min(g.from_mm for g in gates if g.lane == lane) >= 0.5 * untold + offset - 10


def test_a_defect_in_a_frame_that_the_old_inspection_still_judges_is_told_to_the_gate(
    web_bundle: Bundle,
) -> None:
    """One count a frame: the gate hears of its lines with the next frame, which is the heir's."""
    encoder = {"counts_per_mm": 20}
    web = WebSpec.model_validate(
        {"along": {"line_pitch_mm": 0.1, "encoder": encoder}, "offset_to_gate_mm": 10_000}
    )
    pixels = spoiled(some_web(3200), (1400, 40, 20, 20))
    old, heir = WebPipeline(web_bundle, web=web), WebPipeline(web_bundle, web=web)
    lines = WebLines()

    def judged(pipeline: WebPipeline, i: int) -> WebFindings:
        capture = Capture(800 * i, encoder=1600 * i)
        frame = Frame(pixels[800 * i : 800 * i + 800].copy(), 0, i, capture=capture)
        found = pipeline.judge(frame).verdict.web
        assert found is not None
        return found

    for i in range(2):
        lines.came(800 * i, 800 * i + 800)
    gates = list(lines.follow(judged(old, 0), 1)[0].gates)
    # Frame 2 goes to the heir while frame 1, with the defect, is still with the old one.
    lines.came(1600, 2400)
    resume = lines.resume(2, 1600)
    assert resume is not None
    last = judged(old, 1)
    assert last.pending
    assert not last.gates
    gates += lines.follow(last, 1)[0].gates
    heir.resume(resume)
    for i in (2, 3):
        gates += lines.follow(judged(heir, i), 2)[0].gates
    assert told_of(gates, "web", 140, 142, 10_000)


def test_what_a_lane_that_is_no_more_owed_its_gate_is_told_to_all(web_bundle: Bundle) -> None:
    pipeline = WebPipeline(web_bundle, web=WebSpec.model_validate(ALONG))
    pipeline.resume(WebResume(0, 800, 400.0, None, 400.0, (("middle", 700, 750),)))
    frame = Frame(some_web(900)[800:900].copy(), 0, 8, capture=Capture(800))
    found = pipeline.judge(frame).verdict.web
    assert found is not None
    assert told_of(found.gates, "left", 350, 375, 500)
    assert told_of(found.gates, "right", 350, 375, 800)


# -- the gateway: what is told in time, and what is not ------------------------------------


class _Web:
    """A line whose inspection judges frames of 100 lines, of which the test says what it likes."""

    def __init__(self) -> None:
        self.coordinator, self.staff, _, self.world, self._ring = desk_of(triggered=False)
        self.staff.facts = replace(FACTS, web=WebSpec())
        self.line = _Taker()
        self.staff.line = self.line
        self.now = 5
        self.coordinator._clock_ns = lambda: self.now
        self.frames = 0

    def arrives(self) -> int:
        """A frame; the number of its job."""
        i = self.frames
        self.frames += 1
        ticket = self._ring.reserve()
        assert ticket is not None
        capture = Capture(first_line=100 * i, lines_expected=8)
        self._ring.commit(ticket, SlotHeader(i, self.now, 8, 8, 1, 1, "", capture))
        self.coordinator.camera([FrameArrived(ticket, i, self.now, 100, "", capture)])
        return i + 1

    def is_judged(self, job: int, *, gates: tuple[WebGate, ...] = (), **changes: Any) -> None:
        del self.line.jobs[job]
        found = ok_web(100 * (job - 1), gates=gates)
        verdict = Verdict(
            Outcome.OK, None, "", 0.5, THRESHOLDS, 0, "", self.now, self.now, "good@1", web=found
        )
        self.coordinator.inspection(Judged(job, replace(verdict, **changes), 1))

    def told(self, job: int) -> Verdict:
        _, verdict = self.world.verdicts[job]
        assert isinstance(verdict, Verdict)
        return verdict


class _Taker:
    number = 1

    def __init__(self) -> None:
        self.jobs: dict[int, Any] = {}

    @property
    def in_flight(self) -> int:
        return len(self.jobs)

    def judge(self, job: int, ticket: Any, resume: WebResume | None = None) -> bool:
        self.jobs[job] = ticket
        return True


def lane(name: str, outcome: Outcome = Outcome.OK, score: float = 0.5) -> LaneVerdict:
    reason = None if outcome is Outcome.OK else Reason.DEFECT
    return LaneVerdict(name, outcome, reason, score, THRESHOLDS, ())


def ok_web(first: int, gates: tuple[WebGate, ...] = (), **changes: Any) -> WebFindings:
    web = WebFindings(
        first_line=first, end_line=first + 100, first_mm=first / 2, end_mm=first / 2 + 50,
        lanes=(lane("left"), lane("right")), defects=(), n_defects=0, gaps=(), gates=gates,
        map_line=None, came_line=first + 100,
    )  # fmt: skip
    return replace(web, **changes)


def action(from_mm: float, name: str = "left") -> WebGate:
    return WebGate(name, from_mm, from_mm + 10, None, None, None, None, late=False)


def reasons(verdict: Verdict) -> list[Reason | None]:
    assert verdict.web is not None
    return [lane.reason for lane in verdict.web.lanes]


def test_gates_that_were_found_too_late_are_told_with_the_next_verdict() -> None:
    line = _Web()
    first = line.arrives()
    line.is_judged(first)
    late = line.arrives()
    line.now += BUDGET
    line.coordinator.expire()
    assert line.told(late).reason is Reason.LATE
    assert line.told(late).web is None
    line.is_judged(late, gates=(action(60.0), action(5000.0)))
    assert line.world.late_results == 1
    after = line.arrives()
    line.is_judged(after, gates=(action(6000.0),))
    web = line.told(after).web
    assert web is not None
    # The web has come to 150 mm meanwhile.
    assert [(g.from_mm, g.late) for g in web.gates] == [
        (60.0, True), (5000.0, False), (6000.0, False)
    ]  # fmt: skip
    again = line.arrives()
    line.is_judged(again)
    assert line.told(again).web.gates == ()  # type: ignore[union-attr]


def test_where_every_verdict_is_late_gates_are_told_by_the_next_of_those() -> None:
    line = _Web()
    first = line.arrives()
    line.is_judged(first)
    for _ in range(3):
        job = line.arrives()
        line.now += BUDGET
        line.coordinator.expire()
        line.is_judged(job, gates=(action(1000.0 * job),))
    assert line.told(2).web is None
    for job in (3, 4):
        web = line.told(job).web
        assert web is not None
        assert [g.from_mm for g in web.gates] == [1000.0 * (job - 1)]
        # It is about no line, and nothing of it is OK.
        assert web.first_line == web.end_line == 100 * (job - 1)
        assert reasons(line.told(job)) == [Reason.LATE, Reason.LATE]
        message = verdict_message(verdict=line.told(job))
        assert VerdictMessage.model_validate_json(message.model_dump_json()) == message


def test_gates_owed_by_an_inspection_that_died_are_told_by_the_verdict_on_its_frames() -> None:
    line = _Web()
    job = line.arrives()
    line.now += BUDGET
    line.coordinator.expire()
    line.is_judged(job, gates=(action(1000.0),))
    lost = line.arrives()
    line.coordinator.inspection(Gone("it died", (lost,)))
    web = line.told(lost).web
    assert web is not None
    assert [g.from_mm for g in web.gates] == [1000.0]


def test_an_ok_that_the_gateway_takes_back_is_taken_back_in_every_lane() -> None:
    def late(line: _Web, job: int) -> None:
        # Nobody asked whether its deadline has passed.
        line.now += 2 * BUDGET
        line.is_judged(job)

    def refused(line: _Web, job: int) -> None:
        line.coordinator.refusal = Answer.ng(Reason.SELFTEST_FAILED, "off")
        line.is_judged(job)

    def of_another_bundle(line: _Web, job: int) -> None:
        line.is_judged(job, bundle="good@2")

    for how, reason in (
        (late, Reason.LATE),
        (refused, Reason.SELFTEST_FAILED),
        (of_another_bundle, Reason.RECIPE_MISMATCH),
    ):
        line = _Web()
        job = line.arrives()
        how(line, job)
        assert line.told(job).reason is reason
        assert reasons(line.told(job)) == [reason, reason]
        verdict_message(verdict=line.told(job))


def test_a_lane_that_is_ok_beside_one_that_is_not_needs_proof_as_well() -> None:
    ng = {"outcome": Outcome.NG, "reason": Reason.DEFECT, "score": 2.0}

    def told(refusal: Answer | None = None, score: float = 0.5, **changes: Any) -> Verdict:
        line = _Web()
        job = line.arrives()
        line.coordinator.refusal = refusal
        lanes = (lane("left", Outcome.NG, 2.0), lane("right", score=score))
        line.is_judged(job, web=ok_web(0, lanes=lanes), **ng, **changes)
        assert line.told(job).reason is Reason.DEFECT
        return line.told(job)

    assert reasons(told()) == [Reason.DEFECT, None]
    refusal = Answer.ng(Reason.SELFTEST_FAILED, "off")
    assert reasons(told(refusal)) == [Reason.DEFECT, Reason.SELFTEST_FAILED]
    assert reasons(told(score=1.5)) == [Reason.DEFECT, Reason.NONFINITE]
    assert reasons(told(bundle="good@2")) == [Reason.DEFECT, Reason.RECIPE_MISMATCH]


@pytest.mark.parametrize(
    "changes",
    [
        {"web": ok_web(0, gaps=(Gap(10, 20, Cause.LOST),))},
        {"web": ok_web(0, lanes=(lane("left"), lane("right", Outcome.NG, 2.0)))},
        {"outcome": Outcome.NG, "reason": Reason.DEFECT, "score": 2.0},
    ],
    ids=["OK over a gap", "OK with a lane that is not", "NG and no lane is"],
)
def test_what_contradicts_itself_is_ng_in_every_lane_and_can_be_sent(
    changes: dict[str, Any],
) -> None:
    line = _Web()
    job = line.arrives()
    line.is_judged(job, **changes)
    told = line.told(job)
    assert told.outcome is Outcome.NG
    assert None not in reasons(told)
    verdict_message(verdict=told)


def test_lines_that_two_inspections_left_out_are_ng_in_every_lane_of_a_late_result_too() -> None:
    line = _Web()
    first = line.arrives()
    line.is_judged(first)
    line.arrives()
    job = line.arrives()
    line.now += BUDGET
    line.coordinator.expire()
    heard: list[Verdict] = []
    line.world.late = heard.append  # type: ignore[method-assign]
    line.is_judged(job)
    (found,) = heard
    assert found.outcome is Outcome.NG
    assert found.reason is Reason.INCOMPLETE_FRAME
    assert reasons(found) == [Reason.INCOMPLETE_FRAME] * 2
    assert found.web is not None
    assert [(gap.first_line, gap.end_line) for gap in found.web.gaps] == [(100, 200)]


def test_a_message_about_a_web_that_contradicts_its_lanes_is_refused() -> None:
    limits = Thresholds(0.5, 0.625)
    lanes = tuple(replace(lane(name, score=0.25), thresholds=limits) for name in ("a", "b"))
    told = verdict_message(verdict=replace(OK_VERDICT, web=ok_web(0, lanes=lanes)))
    good = told.model_dump(mode="json")

    def read(fields: dict[str, Any]) -> VerdictMessage:
        return VerdictMessage.model_validate_json(json.dumps(fields))

    read(good)

    def refused(**changes: Any) -> None:
        with pytest.raises(ValueError, match="yet"):
            read({**good, **changes})

    gap = {"first_line": 0, "end_line": 8, "cause": "lost", "known": True}
    refused(web={**good["web"], "gaps": [gap]})
    one_ng = [good["web"]["lanes"][0], {**good["web"]["lanes"][1], "verdict": 2, "reason": "late"}]
    refused(web={**good["web"], "lanes": one_ng})
    ng = {"verdict": 2, "reason": "late", "code": 3, "late": True}
    refused(**ng)
    read({**good, **ng, "web": {**good["web"], "lanes": one_ng}})
    # A web of which nothing is said has no lane to say it of.
    read({**good, **ng, "web": {**good["web"], "lanes": []}})
