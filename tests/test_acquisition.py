"""The acquisition process: its frames, its losses, and what happens when it dies or hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pytest
from msgspec import structs

from kenpin.camera.acquisition.body import _AcquisitionLoop
from kenpin.camera.acquisition.events import (
    CameraChanged,
    CameraEvent,
    CameraState,
    FrameArrived,
    FramesLost,
)
from kenpin.camera.acquisition.handle import Acquisition
from kenpin.camera.acquisition.resume import Resume
from kenpin.camera.acquisition.ring import FrameRing
from kenpin.camera.acquisition.ring_frames import frame_in
from kenpin.camera.frame import Frame, LostFrame
from kenpin.camera.live_adapter import LiveAdapter
from kenpin.camera.loss import Loss
from kenpin.camera.source import CameraError
from kenpin.camera.synthetic import SyntheticSource, SyntheticWeb
from kenpin.processes.progress import Progress

pytestmark = pytest.mark.clock

PATIENCE_S = 60.0


def web(
    count: int | None = None, rate_hz: float | None = None, *, triggered: bool = False
) -> LiveAdapter:
    return LiveAdapter(frames(count, rate_hz), triggered=triggered)


def frames(count: int | None = None, rate_hz: float | None = None) -> SyntheticSource:
    return SyntheticSource(SyntheticWeb(64, 96, 1), count=count, rate_hz=rate_hz)


# What came together with an event that somebody waited for, and was not looked at yet.
_came = WeakKeyDictionary[Acquisition, deque[CameraEvent]]()


def until(acquisition, wanted, held=()):
    """Events up to the first that is wanted; those after it are for whoever asks next."""
    found = []
    came = _came.setdefault(acquisition, deque())
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        while came:
            found.append(came.popleft())
            if wanted(found[-1]):
                return found
        came.extend(acquisition.events(held))
        if not came:
            time.sleep(0.002)
    raise AssertionError(f"waited {PATIENCE_S} s in vain; seen: {found[-5:]}")


def state(wanted: CameraState):
    return lambda event: isinstance(event, CameraChanged) and event.state is wanted


def a_frame(event) -> bool:
    return isinstance(event, FrameArrived)


@pytest.fixture
def ring():
    return FrameRing(4, 64 * 96)


@pytest.fixture
def acquire(ring):
    started = []

    def start(opener):
        acquisition = Acquisition(opener, ring)
        started.append(acquisition)
        acquisition.start()
        return acquisition

    yield start
    for acquisition in started:
        acquisition.stop()


def test_frames_come_out_of_the_ring_as_the_source_made_them(ring, acquire):
    acquisition = acquire(partial(web, 3))
    events = until(acquisition, state(CameraState.ENDED))
    expected = frames(3)
    arrived = [event for event in events if a_frame(event)]
    assert [event.index for event in arrived] == [0, 1, 2]
    for event in arrived:
        seen = frame_in(ring, event.ticket)
        np.testing.assert_array_equal(seen.pixels, expected.grab(1.0).pixels)
        assert seen.index == event.index
    states = [event.state for event in events if isinstance(event, CameraChanged)]
    assert states == ["opening", "armed", "streaming", "ended"]


def test_frames_that_find_no_slot_are_told_as_lost_and_none_is_missing(acquire):
    acquisition = acquire(partial(web, 10))
    events = until(acquisition, state(CameraState.ENDED))
    arrived = [event.index for event in events if a_frame(event)]
    lost = [event for event in events if isinstance(event, FramesLost)]
    assert arrived == [0, 1, 2, 3]
    assert {event.loss for event in lost} == {Loss.OVERRUN}
    counted = [event.index + k for event in lost for k in range(event.count)]
    assert counted == [4, 5, 6, 7, 8, 9]
    assert sum(event.lines for event in lost) == 6 * 64


def test_a_triggered_source_gives_one_frame_for_each_trigger_and_names_it(ring, acquire):
    acquisition = acquire(partial(web, triggered=True))
    until(acquisition, state(CameraState.ARMED))
    # One frame too many would come before the next trigger's own.
    for number in (41, 42, 43):
        assert acquisition.trigger(number)
        (*before, event) = until(acquisition, a_frame)
        assert not any(isinstance(other, FramesLost) for other in before)
        assert event.trigger == number
        ring.release(event.ticket)


class Forgetful(LiveAdapter):
    """A camera that gives no frame for its first trigger, and could be waited for long."""

    def __init__(self) -> None:
        super().__init__(frames(), triggered=True)
        self.trigger_s = 1000.0
        self._fired = 0

    def fire(self) -> None:
        self._fired += 1
        if self._fired > 1:
            super().fire()


def test_the_next_part_does_not_wait_for_a_frame_that_nobody_wants_any_more(acquire):
    acquisition = acquire(Forgetful)
    until(acquisition, state(CameraState.ARMED))
    now = time.monotonic_ns()
    for number, until_ns in ((1, now + 50_000_000), (2, now), (3, now + 60_000_000_000)):
        assert acquisition.trigger(number, until_ns)
    (*before, event) = until(acquisition, a_frame)
    assert event.trigger == 3
    lost = {other.trigger: other.detail for other in before if isinstance(other, FramesLost)}
    assert "gave no frame within" in lost[1]
    assert "its deadline had passed before the camera was free" in lost[2]


def test_a_killed_process_is_started_again_and_held_frames_survive(ring, acquire):
    acquisition = acquire(partial(web, None, 100.0))
    (*_, first) = until(acquisition, a_frame)
    before = frame_in(ring, first.ticket).pixels.copy()
    os.kill(acquisition.pid, signal.SIGKILL)
    events = until(acquisition, state(CameraState.LOST), held=[first.ticket])
    assert "exit code -9" in events[-1].detail
    assert ring.free == 3, "the dead process's other slots were not reclaimed"
    events = until(acquisition, a_frame, held=[first.ticket])
    assert events[-1].index > first.index, "an index was given twice"
    np.testing.assert_array_equal(frame_in(ring, first.ticket).pixels, before)
    assert acquisition.restarts == 1


def test_a_stopped_process_is_noticed_killed_and_replaced(ring, acquire):
    acquisition = acquire(partial(web, None, 50.0))
    until(acquisition, a_frame)
    hung = acquisition.pid
    os.kill(hung, signal.SIGSTOP)
    started = time.monotonic()
    events = until(acquisition, state(CameraState.LOST))
    assert "no sign of life" in events[-1].detail
    assert 1.5 < time.monotonic() - started < 10
    until(acquisition, a_frame)
    assert acquisition.pid != hung
    with pytest.raises(ProcessLookupError):
        os.kill(hung, 0)


class Flickering:
    """A free-running camera: a frame, nine broken ones, then it is gone for three frames' time.

    dies  the process does, with its first camera; who comes second finds this file
    """

    free_running, continuous, triggered, trigger_s = True, True, False, 1.0
    lines_per_frame, line_rate_hz, stall_s = 64, 6400.0, None

    def __init__(self, dies: Path | None = None) -> None:
        self._dies = dies
        self._at = 13 if dies is not None and dies.exists() else 0

    @property
    def exhausted(self) -> bool:
        return self._at > 13

    def connect(self) -> None:
        """It is there."""

    def grab_into(self, place: Any, timeout_s: float) -> list[Frame | LostFrame]:
        number, captured_ns = self._at, 1_000_000_000 + 10_000_000 * self._at
        if number == 10:
            self._at = 13
            if self._dies is not None:
                self._dies.touch()
                os._exit(1)
            raise CameraError("gone")
        self._at += 1
        if 0 < number < 10:
            return [LostFrame(captured_ns, number, "broken", lines=64)]
        pixels = place((64, 96), "uint8")
        pixels[:] = 0
        return [Frame(pixels, captured_ns, number)]

    def close(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize("dies", [False, True])
def test_lines_of_broken_frames_are_not_counted_again_as_a_cameras_absence(
    acquire, tmp_path: Path, dies: bool
) -> None:
    acquisition = acquire(partial(Flickering, tmp_path / "died" if dies else None))
    events = until(acquisition, state(CameraState.ENDED))
    first, second = [event for event in events if a_frame(event)]
    assert (first.capture.first_line, first.index) == (0, 0)
    lost = [event for event in events if isinstance(event, FramesLost)]
    assert sum(event.count for event in lost if event.loss is Loss.INCOMPLETE) == 9
    away = [event for event in lost if event.loss is Loss.CAMERA]
    assert [(event.count, event.lines) for event in away] == [(3, 3 * 64)]
    assert (second.capture.first_line, second.index) == (13 * 64, 13)


class Deaf:
    """A channel that takes nothing for a while."""

    def __init__(self) -> None:
        self.deaf = True
        self.sent: list[CameraEvent] = []

    def send(self, message: CameraEvent) -> bool:
        if not self.deaf:
            self.sent.append(message)
        return not self.deaf


def test_losses_that_are_told_as_one_end_with_the_last_of_them(ring) -> None:
    """From there on a camera's absence is counted."""
    channel: Any = Deaf()
    loop = _AcquisitionLoop(ring, channel, Progress(), Resume())
    source: Any = Flickering()
    for number in range(4):
        channel.deaf = number < 3
        told = LostFrame(1000 * (number + 1), number, "broken", lines=64)
        loop._hand_on(source, told)
    (lost,) = channel.sent
    assert (lost.captured_ns, lost.last_ns, lost.lines, lost.count) == (1000, 4000, 256, 4)
    acquisition = Acquisition(frames, ring)
    acquisition._note(lost)
    assert acquisition._resume == Resume(4, 256, 4000)
    acquisition._note(structs.replace(lost, index=4, lines=None, captured_ns=9000, last_ns=9000))
    assert acquisition._resume == Resume(8, 256, 4000)


def _broken() -> LiveAdapter:
    raise RuntimeError("no such camera")


@pytest.mark.filterwarnings("ignore")
def test_a_source_that_cannot_be_opened_is_tried_again_and_again(acquire, capfd):
    acquisition = acquire(_broken)
    for _ in range(2):
        until(acquisition, state(CameraState.LOST))
        until(acquisition, state(CameraState.REOPENING))
    assert "no such camera" in capfd.readouterr().err


class Unforeseen:
    """A source that fails as nobody expected."""

    triggered = free_running = continuous = exhausted = False

    def connect(self):
        raise AttributeError("'ICategory' object has no attribute 'value'")

    def close(self):
        pass


def test_a_fault_of_kenpins_own_is_not_blamed_on_the_driver(acquire):
    acquisition = acquire(Unforeseen)
    events = until(acquisition, state(CameraState.FAILED))
    assert "a fault of kenpin's own, not the camera's" in events[-1].detail
    assert "'ICategory' object has no attribute 'value'" in events[-1].detail


def test_a_child_without_a_parent_ends_by_itself(acquire):
    acquisition = acquire(partial(web, None, 50.0))
    until(acquisition, a_frame)
    child, acquisition._child = acquisition._child, None
    child.hang_up()
    child._process.join(30)
    assert child._process.exitcode == 0
    child.close()


def test_the_handle_loads_no_numpy():
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, kenpin.camera.acquisition.handle; print('numpy' in sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "False"
