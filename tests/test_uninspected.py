"""Parts that are NG without inspection: an alarm within a stated number, that ends by itself."""

from __future__ import annotations

import itertools
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


def alarm(line: RunningLine, *, active: bool) -> str:
    """Wait until it is raised, or ended; its words."""
    told = line.until(
        lambda m: m["type"] == "alarm" and m["source"] == "uninspected" and m["active"] == active
    )
    return str(told["detail"])


@pytest.mark.clock
def test_a_camera_that_answers_no_trigger_or_with_broken_frames_degrades_the_line_until_it_does(
    simulator: Simulator, patchcore: Bundle, tmp_path: Path
) -> None:
    toml = triggered(simulator, patchcore, tmp_path)
    toml.write_text(toml.read_text() + "\n[uninspected]\nwindow = 4\nraise_at = 3\nclear_at = 0\n")
    with RunningLine(toml) as line:
        line.state("operational.ready")
        plc = line.client()
        ids = map(str, itertools.count())
        faults = {"incomplete always": "incomplete_frame", "drop always": "no_frame"}
        for fault, why in faults.items():
            assert plc.ask(next(ids))["reason"] not in (*faults.values(), "camera_lost")
            simulator.tell(fault)
            reasons = {plc.ask(next(ids))["reason"] for _ in range(3)}
            assert {why} <= reasons <= {why, "camera_lost"}
            assert alarm(line, active=True)
            plc.say("status")
            assert plc.of_kind("state")["degraded"]
            simulator.tell("clear")
            inspected = 0
            while inspected < 4:
                judged = plc.ask(next(ids))["reason"] in (None, "defect", "unsure")
                inspected = inspected + 1 if judged else 0
            assert alarm(line, active=False) == ""
