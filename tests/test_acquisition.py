"""The acquisition process: its frames, its losses, and what happens when it dies or hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from functools import partial
from weakref import WeakKeyDictionary

import numpy as np
import pytest

from kenpin.camera.acquisition.events import (
    CameraChanged,
    CameraEvent,
    CameraState,
    FrameArrived,
    FramesLost,
)
from kenpin.camera.acquisition.handle import Acquisition
from kenpin.camera.acquisition.ring import FrameRing
from kenpin.camera.acquisition.ring_frames import frame_in
from kenpin.camera.live_adapter import LiveAdapter
from kenpin.camera.loss import Loss
from kenpin.camera.synthetic import SyntheticSource, SyntheticWeb

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
