"""Parts that are NG without inspection: an alarm within a stated number, that ends by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from kenpin.camera.simulator import Simulator
from kenpin.config.line import UninspectedSpec
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.verdict import Reason
from kenpin.runtime.service.uninspected import Uninspected
from running_line import RunningLine
from test_service_camera import triggered


def noted(*reasons: Reason | None, **spec: int) -> list[bool]:
    watch = Uninspected(UninspectedSpec.model_validate(spec))
    return [bool(watch.note(reason)) for reason in reasons]


@pytest.mark.parametrize("reason", [Reason.NO_FRAME, Reason.INCOMPLETE_FRAME, Reason.LATE])
def test_the_fifth_part_without_inspection_raises_it(reason):
    assert noted(*[reason] * 6) == [False] * 4 + [True] * 2


def test_defects_and_good_parts_raise_nothing():
    assert not any(noted(*[Reason.DEFECT, Reason.UNSURE, None] * 30))


def test_it_needs_no_unbroken_run_and_ends_when_the_parts_of_the_window_were_inspected():
    told = noted(*[Reason.NO_FRAME, None] * 3, *[None] * 6, window=6, raise_at=3, clear_at=0)
    assert told == [False] * 4 + [True] * 6 + [False] * 2


def test_it_says_what_the_parts_were_rejected_for():
    watch = Uninspected(UninspectedSpec(window=4, raise_at=3, clear_at=0))
    for reason in (Reason.LATE, Reason.NO_FRAME, Reason.NO_FRAME):
        told = watch.note(reason)
    assert "lately no_frame, late" in told


@pytest.mark.parametrize("spec", [{"clear_at": 5}, {"window": 4}, {"raise_at": 51}])
def test_limits_that_could_never_be_reached_or_left_are_refused(spec):
    with pytest.raises(ValueError, match="clear_at < raise_at <= window"):
        UninspectedSpec.model_validate(spec)


@pytest.mark.clock
@pytest.mark.parametrize(("fault", "why"), [("drop always", "no_frame")])
def test_a_camera_that_answers_no_trigger_degrades_the_line_until_it_does(
    simulator: Simulator, patchcore: Bundle, tmp_path: Path, fault: str, why: str
) -> None:
    toml = triggered(simulator, patchcore, tmp_path)
    toml.write_text(toml.read_text() + "\n[uninspected]\nwindow = 4\nraise_at = 3\nclear_at = 0\n")
    with RunningLine(toml) as line:
        line.state("operational.ready")
        plc = line.client()
        assert plc.ask("0")["reason"] != why
        simulator.tell(fault)
        for n in (1, 2, 3):
            assert plc.ask(str(n))["reason"] in (why, "camera_lost")
        alarm = line.until(lambda m: m["type"] == "alarm" and m["source"] == "uninspected")
        assert alarm["active"]
        plc.say("status")
        assert plc.of_kind("state")["degraded"]
        simulator.tell("clear")
        judged = (plc.ask(f"after-{n}")["reason"] for n in range(1000))
        inspected = 0
        while inspected < 4:
            inspected = inspected + 1 if next(judged) in (None, "defect", "unsure") else 0
        assert not line.until(
            lambda m: m["type"] == "alarm" and m["source"] == "uninspected" and not m["active"]
        )["detail"]
