"""Everything that goes wrong with a camera, and how the acquisition gets over it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from camera_watch import Watch, watching
from kenpin.camera.acquisition.events import CameraState, FrameArrived, FramesLost
from kenpin.camera.loss import Loss
from kenpin.camera.simulator import Simulator
from kenpin.config.camera import GenicamSpec

pytestmark = pytest.mark.clock

WIDTH, HEIGHT, RATE = 256, 32, 6_400
SOFTWARE = {"triggers": [{"selector": "FrameStart", "source": "Software"}]}


def spec(simulator: Simulator, **settings) -> GenicamSpec:
    wanted = {
        "kind": "genicam",
        "producers": [simulator.cti],
        "width_px": WIDTH,
        "lines_per_frame": HEIGHT,
        "pixel_format": "Mono8",
        "line_rate_hz": RATE,
        "update_timeout_ms": 100,
    }
    return GenicamSpec.model_validate(wanted | settings)


@pytest.fixture
def watch(simulator):
    with watching(spec(simulator), WIDTH * HEIGHT) as watch:
        watch.frames(3)
        yield watch
        watch.check_indices()


def lines_accounted(watch: Watch) -> tuple[int, int]:
    """Lines seen and lost, together, and the line count of the last frame's end."""
    told = sum(
        event.rows if isinstance(event, FrameArrived) else event.lines or 0
        for event in watch.events
        if isinstance(event, FrameArrived | FramesLost)
    )
    last = [event for event in watch.events if isinstance(event, FrameArrived)][-1]
    return told, last.capture.first_line + last.rows


def test_a_pulled_cable_costs_a_counted_number_of_lines_and_nothing_else(simulator, watch):
    simulator.tell("lost")
    pulled = time.monotonic()
    lost = watch.state(CameraState.LOST)
    assert "lost" in lost.detail
    assert time.monotonic() - pulled < 1.0
    watch.until(lambda _: time.monotonic() - pulled > 1.0)
    simulator.tell("back")
    (frame,) = watch.frames(1)
    away_s = time.monotonic() - pulled
    gaps = [e for e in watch.events if isinstance(e, FramesLost) and e.loss is Loss.CAMERA]
    lines = sum(gap.lines for gap in gaps)
    assert 0.6 * away_s * RATE < lines < 1.1 * away_s * RATE
    assert len(set(lines_accounted(watch))) == 1
    assert frame.capture.first_line > lines
    watch.frames(5)


def test_a_stalled_camera_is_said_to_be_stalled_and_its_frames_are_counted(simulator, watch):
    simulator.tell("stall 900")
    watch.state(CameraState.STALLED)
    watch.state(CameraState.STREAMING)
    watch.frames(3)
    lost = sum(e.count for e in watch.events if isinstance(e, FramesLost))
    assert lost > 0.9 * RATE / HEIGHT * 0.6


def test_a_stall_without_end_makes_a_new_connection(simulator, watch):
    simulator.tell("freeze")
    watch.state(CameraState.STALLED)
    lost = watch.state(CameraState.LOST)
    assert "connecting anew" in lost.detail
    simulator.tell("resume")
    watch.frames(3)


def test_dropped_and_incomplete_frames_cost_themselves_only(simulator, watch):
    simulator.tell("drop 2")
    assert watch.loss().count == 2
    simulator.tell("incomplete 1")
    assert watch.loss().loss is Loss.INCOMPLETE
    watch.frames(5)
    assert watch.acquisition.state is CameraState.STREAMING
    assert watch.acquisition.restarts == 0


def test_a_wrong_size_is_lost_by_name_and_the_camera_is_configured_again(simulator, watch):
    simulator.tell("width 128")
    assert "128 px wide" in watch.loss().detail
    assert "10 frames in a row" in watch.state(CameraState.LOST).detail
    simulator.tell("width truth")
    watch.frames(3)


def test_a_camera_that_somebody_else_has_is_waited_for(simulator):
    simulator.tell("open busy")
    with watching(spec(simulator), WIDTH * HEIGHT) as watch:
        assert "it is in use" in watch.state(CameraState.LOST).detail
        simulator.tell("open ok")
        watch.frames(2)


@pytest.mark.parametrize(
    ("fault", "remedy", "complaint"),
    [
        ("devices 0", "devices 1", "none at all"),
        ("xml broken", "xml ok", "cannot be opened"),
        ("refuse Width", "obey Width", "Width = 256: refused"),
    ],
)
def test_a_camera_that_cannot_be_had_is_tried_until_it_can(simulator, fault, remedy, complaint):
    simulator.tell(fault)
    with watching(spec(simulator), WIDTH * HEIGHT) as watch:
        seen = watch.state(CameraState.LOST, CameraState.FAILED)
        assert complaint in seen.detail
        simulator.tell(remedy)
        watch.frames(2)


def test_two_cameras_with_one_serial_are_refused_until_told_apart(simulator):
    for command in ("devices 2", "@0 serial A", "@1 serial A"):
        simulator.tell(command)
    with watching(spec(simulator, serial="A"), WIDTH * HEIGHT) as watch:
        assert "2 cameras fit serial A" in watch.state(CameraState.LOST).detail
        simulator.tell("@1 serial B")
        watch.frames(2)


def test_a_missing_producer_is_named_and_found_when_it_is_there(simulator, tmp_path):
    missing = tmp_path / "later.cti"
    with watching(spec(simulator, producers=[missing]), WIDTH * HEIGHT) as watch:
        assert "no such GenTL producer" in watch.state(CameraState.FAILED).detail
        missing.symlink_to(simulator.cti)
        watch.frames(2)


def test_a_killed_process_is_replaced_and_the_lines_meanwhile_are_counted(watch):
    killed = watch.acquisition.pid
    os.kill(killed, signal.SIGKILL)
    assert "exit code -9" in watch.state(CameraState.LOST).detail
    watch.frames(3)
    assert watch.acquisition.pid != killed
    assert any(isinstance(e, FramesLost) and e.lines for e in watch.events)
    assert len(set(lines_accounted(watch))) == 1


def test_a_process_that_hangs_in_the_driver_is_replaced(simulator, watch):
    hung = watch.acquisition.pid
    simulator.tell("slow_registers 1000000")
    simulator.tell("freeze")  # silence makes it ask the camera, and the camera never answers
    assert "no sign of life" in watch.state(CameraState.LOST).detail
    simulator.tell("slow_registers 0")
    simulator.tell("resume")
    watch.frames(3)
    assert watch.acquisition.pid != hung


def test_triggers_are_answered_whatever_happens(simulator):
    with watching(spec(simulator, **SOFTWARE), WIDTH * HEIGHT) as watch:
        watch.state(CameraState.ARMED)
        watch.acquisition.trigger(1)
        (frame,) = watch.frames(1)
        assert frame.trigger == 1
        simulator.tell("drop 1")  # the camera took it, and it never came
        watch.acquisition.trigger(2)
        lost = watch.loss()
        assert (lost.trigger, lost.loss) == (2, Loss.NONE)
        watch.acquisition.trigger(3)
        frame = watch.frames(1)[0]
        assert frame.trigger == 3, "a frame was given to another's trigger"
        simulator.tell("lost")
        watch.acquisition.trigger(4)
        lost = watch.loss()
        assert (lost.trigger, lost.loss) == (4, Loss.CAMERA)
        watch.acquisition.trigger(5)
        asked = time.monotonic()
        lost = watch.loss()
        assert (lost.trigger, lost.loss) == (5, Loss.CAMERA)
        assert time.monotonic() - asked < 1.0, "answered only after a deadline"
        simulator.tell("back")
        watch.state(CameraState.ARMED)
        watch.acquisition.trigger(6)
        assert watch.frames(1)[0].trigger == 6
        watch.acquisition.trigger(7)
        os.kill(watch.acquisition.pid, signal.SIGKILL)
        answers = [watch.until(lambda e: getattr(e, "trigger", None) == 7)]
        assert answers[0].trigger == 7
        watch.check_indices()


def test_a_web_that_stands_still_is_no_fault(simulator):
    settings = {"triggers": [{"selector": "LineStart", "source": "Encoder0"}], "buffers": 64}
    # 30 frames a second, and places for two seconds of them: a busy machine loses none.
    simulator.tell("speed 1000")
    with watching(spec(simulator, **settings), WIDTH * HEIGHT, slots=64) as watch:
        watch.frames(3)
        simulator.tell("speed 0")
        watch.state(CameraState.IDLE)
        still = time.monotonic()
        with pytest.raises(AssertionError, match="in vain"):
            watch.until(lambda event: not isinstance(event, FrameArrived), patience_s=2.5)
        assert time.monotonic() - still > 2
        simulator.tell("speed 1000")
        watch.state(CameraState.STREAMING)
        assert not any(isinstance(event, FramesLost) for event in watch.events)


def test_losing_the_camera_again_and_again_leaks_nothing(simulator, watch):
    def files() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    simulator.status()
    before = files()
    for _ in range(3):
        os.kill(watch.acquisition.pid, signal.SIGKILL)
        watch.state(CameraState.LOST)
        watch.frames(2)
    assert files() == before
    # While frames come one slot or another is in use: at some moment none is.
    watch.until(lambda _: watch.ring.free == watch.ring.slots)
    assert watch.acquisition.restarts == 3
