"""The service with a GenICam camera behind a real GenTL producer, simulated."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kenpin.camera.simulator import Simulator
from kenpin.runtime.bundles.bundle import Bundle
from running_line import PATIENCE_S, Client, RunningLine, line_toml

pytestmark = pytest.mark.clock


def camera(simulator: Simulator, *, pixels: str = "Mono8", more: str = "") -> str:
    return (
        f'kind = "genicam", producers = ["{simulator.cti}"], width_px = 320, '
        f'lines_per_frame = 128, pixel_format = "{pixels}", line_rate_hz = 2560, '
        f"update_timeout_ms = 100{more}"
    )


def triggered(simulator: Simulator, bundle: Bundle, folder: Path) -> Path:
    """The settings of a line that each trigger has the camera take one frame."""
    triggers = ', triggers = [{ selector = "FrameStart", source = "Software" }]'
    return line_toml(
        folder,
        bundle.folder,
        camera=camera(simulator, more=triggers),
        trigger='mode = "software", budget_ms = 1000',
    )


def test_a_pulled_cable_is_told_and_the_line_comes_back_by_itself(
    simulator: Simulator, patchcore: Bundle, tmp_path: Path
) -> None:
    with RunningLine(line_toml(tmp_path, patchcore.folder, camera=camera(simulator))) as line:
        line.state("operational.continuous")
        seen = line.verdict(lambda m: m["score"] is not None or m["reason"] == "image_quality")
        assert not seen["sim"], "a GenICam camera is taken for a simulation"
        simulator.tell("lost")
        line.state("error")
        assert line.until(lambda m: m["type"] == "hb")["cam_ok"] is False
        simulator.tell("back")
        line.state("operational.continuous")
        line.verdict()
        assert line.stop() == 0
    verdicts = line.verdicts
    assert [m["seq"] for m in verdicts] == list(range(1, len(verdicts) + 1))
    frames = sorted(m["frame"] for m in verdicts)
    assert frames == list(range(len(frames))), "a frame that was started got no verdict"


@pytest.mark.thorough
def test_twelve_bits_of_a_camera_are_judged_by_their_eight_highest(
    simulator: Simulator, patchcore: Bundle, tmp_path: Path
) -> None:
    twelve = camera(simulator, pixels="Mono12", more=', bits = "high"')
    with RunningLine(line_toml(tmp_path, patchcore.folder, camera=twelve)) as line:
        line.state("operational.continuous")
        # What the simulator shows is not what the bundle learned; it was looked at.
        line.verdict(lambda m: m["score"] is not None or m["reason"] == "image_quality")
        assert line.stop() == 0


def test_a_camera_that_gives_nothing_is_answered_by_the_deadline(
    simulator: Simulator, patchcore: Bundle, tmp_path: Path
) -> None:
    toml = triggered(simulator, patchcore, tmp_path)
    with RunningLine(toml) as line:
        line.state("operational.ready")
        plc = line.client()
        assert plc.ask("1")["reason"] in (None, "defect", "image_quality")
        simulator.tell("drop 1")
        assert plc.ask("2")["reason"] in ("no_frame", "camera_lost")
        assert plc.ask("3")["reason"] in (None, "defect", "image_quality")
        simulator.tell("lost")
        line.state("error")
        assert plc.ask("4")["reason"] == "camera_lost"


JUDGED = (None, "defect", "unsure", "image_quality")


FAULTS = [
    ("lost", "back", {"camera_lost"}),
    ("stall", "resume", {"no_frame", "camera_lost"}),
    ("incomplete 1", "clear", {"incomplete_frame"}),
    ("width 128", "width truth", {"incomplete_frame"}),
    ("SIGKILL", "", {"camera_lost", "no_frame"}),
    ("SIGSTOP", "", {"camera_lost", "no_frame"}),
]


def judged_again(plc: Client, ids: Iterator[str], *, after: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while plc.ask(next(ids))["reason"] not in JUDGED:
        assert time.monotonic() < until, f"the camera does not come back after {after}"
        plc.hear(0.1)


@pytest.mark.thorough
def test_a_due_trigger_is_answered_with_the_fault_and_the_next_part_is_judged_again(
    simulator: Simulator, patchcore: Bundle, tmp_path: Path
) -> None:
    with RunningLine(triggered(simulator, patchcore, tmp_path)) as line:
        line.state("operational.ready")
        plc = line.client()
        ids = map(str, itertools.count())
        judged_again(plc, ids, after="the start")
        for fault, remedy, reasons in FAULTS:
            if fault.startswith("SIG"):
                os.kill(line.child("kenpin-acquire"), getattr(signal, fault))
            else:
                simulator.tell(fault)
            assert plc.ask(next(ids))["reason"] in reasons, fault
            if remedy:
                simulator.tell(remedy)
            judged_again(plc, ids, after=fault)
        assert line.stop() == 0
