"""What gates and lanes are told of lines that an inspection takes along, or speaks of too late."""

from __future__ import annotations

from typing import Any

import pytest

from kenpin.camera.capture import Capture
from kenpin.camera.frame import Frame
from kenpin.config.web import WebSpec
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.verdict import (
    Outcome,
    WebFindings,
    WebGate,
    WebResume,
)
from kenpin.runtime.service.web_lines import WebLines
from kenpin.runtime.web.pipeline import WebPipeline
from web_lines import some_web, spoiled

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
