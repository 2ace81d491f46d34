"""A trigger is answered with a frame whose exposure began after it, whatever the source."""

from __future__ import annotations

import time
from functools import partial

import numpy as np
import pytest

from gentl_producer import simulator as simulator
from kenpin.camera.acquisition.events import CameraState, FrameArrived, FramesLost
from kenpin.camera.acquisition.handle import Acquisition
from kenpin.camera.acquisition.ring import FrameRing
from kenpin.camera.capture import Capture
from kenpin.camera.files.recording_source import RecordingSource
from kenpin.camera.files.recording_writer import RecordingWriter
from kenpin.camera.frame import Frame
from kenpin.camera.genicam.frame_times import FrameTimes
from kenpin.camera.live_adapter import LiveAdapter
from kenpin.camera.loss import Loss
from kenpin.camera.opening import opener_of
from kenpin.camera.synthetic import SyntheticSource, SyntheticWeb
from kenpin.config.camera import GenicamSpec
from kenpin.config.line import Line
from source_contract import FakeClock
from test_acquisition import state, until
from test_genicam_source import connected, take

MS = 1_000_000
GENICAM = {"kind": "genicam", "producers": ["p.cti"], "lines_per_frame": 64, "width_px": 64}


def line(mode: str, camera: dict) -> Line:
    return Line.model_validate(
        {
            "name": "L",
            "box": "b",
            "bundles": "bundles",
            "trigger": {"mode": mode, "budget_ms": 100},
            "camera": camera,
        }
    )


@pytest.mark.parametrize(
    ("mode", "triggers", "named"),
    [
        ("software", [], "none: the camera runs freely"),
        ("software", [{"source": "Line0"}], "FrameStart from Line0"),
        (
            "software",
            [{"selector": "LineStart", "source": "Software"}],
            "LineStart from Software",
        ),
        ("hardware", [{"source": "Software"}], "source Software for FrameStart"),
        ("free", [{"source": "Software"}], "source Software for FrameStart"),
    ],
)
def test_a_line_that_asks_otherwise_than_its_camera_is_triggered_is_refused(mode, triggers, named):
    with pytest.raises(ValueError, match=r"trigger\.mode is .*camera\.triggers") as caught:
        line(mode, GENICAM | {"triggers": triggers})
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "camera"),
    [
        ("software", GENICAM | {"triggers": [{"source": "Software"}]}),
        (
            "software",
            GENICAM
            | {
                "triggers": [
                    {"source": "Software"},
                    {"selector": "LineStart", "source": "Encoder0"},
                ]
            },
        ),
        ("hardware", GENICAM | {"triggers": [{"source": "Line0"}]}),
        ("free", GENICAM | {"triggers": [{"selector": "LineStart", "source": "Encoder0"}]}),
        ("free", GENICAM),
        ("software", {"kind": "synthetic", "height_px": 64, "width_px": 64}),
    ],
)
def test_a_line_that_asks_as_its_camera_is_triggered_is_taken(mode, camera):
    assert line(mode, camera).trigger.mode == mode


class FreeRunning:
    """A camera that heeds no trigger: a frame of 64 lines every 20 ms, told or not told when."""

    exhausted = triggered = False
    continuous = free_running = True
    trigger_s = 0.3
    lines_per_frame, line_rate_hz, stall_s = 64, 3200.0, 5.0

    def __init__(self, *, told: bool = True, latency_s: float = 0.0) -> None:
        self._told = told
        self._latency_s = latency_s
        self._next_ns = time.monotonic_ns()

    def connect(self) -> None: ...

    def fire(self) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def grab_into(self, place, timeout_s):
        ends_ns = self._next_ns + 20 * MS + round(self._latency_s * 1e9)
        wait_s = (ends_ns - time.monotonic_ns()) / 1e9
        if wait_s > timeout_s:
            time.sleep(timeout_s)
            return []
        time.sleep(max(0.0, wait_s))
        began_ns, self._next_ns = self._next_ns, self._next_ns + 20 * MS
        pixels = place((64, 96), np.uint8)
        capture = Capture(began_ns=began_ns if self._told else None)
        return [] if pixels is None else [Frame(pixels, time.monotonic_ns(), 0, capture=capture)]


@pytest.fixture
def acquire():
    ring = FrameRing(4, 64 * 96 + 65536)
    started = []

    def start(opener):
        acquisition = Acquisition(opener, ring)
        started.append(acquisition)
        acquisition.start()
        return acquisition, ring

    yield start
    for acquisition in started:
        acquisition.stop()


def answer(acquisition, ring, number):
    """What comes of a trigger: a frame, or none. All frames are let go as soon as they are here."""
    assert acquisition.trigger(number)
    while True:
        (*_, event) = until(acquisition, lambda event: isinstance(event, FrameArrived | FramesLost))
        if isinstance(event, FrameArrived):
            ring.release(event.ticket)
        if event.trigger == number:
            return event


def answers(acquisition, ring, count):
    """The frames that were handed to so many triggers, each with the time of its trigger.

    A trigger that a busy machine brings no frame in time is followed by another.
    """
    found = []
    for number in range(1, 10 * count):
        asked_ns = time.monotonic_ns()
        event = answer(acquisition, ring, number)
        if isinstance(event, FrameArrived):
            found.append((asked_ns, event))
        if len(found) == count:
            return found
    raise AssertionError(f"{number} triggers brought {len(found)} frames")


@pytest.mark.clock
@pytest.mark.parametrize("latency_s", [0.0, 0.05])
def test_a_camera_that_runs_freely_never_answers_with_a_frame_from_before(acquire, latency_s):
    acquisition, ring = acquire(partial(FreeRunning, latency_s=latency_s))
    until(acquisition, state(CameraState.STREAMING))
    for asked_ns, event in answers(acquisition, ring, 8):
        assert event.capture.began_ns > asked_ns


@pytest.mark.clock
def test_frames_of_which_nobody_knows_when_they_began_answer_no_trigger(acquire):
    acquisition, ring = acquire(partial(FreeRunning, told=False))
    until(acquisition, state(CameraState.STREAMING))
    details: list[str] = []
    # On a busy machine no frame at all may come within a trigger's time.
    while not any("that began before it" in detail for detail in details):
        assert len(details) < 20, details
        event = answer(acquisition, ring, len(details) + 1)
        assert isinstance(event, FramesLost)
        assert event.loss is Loss.NONE
        details.append(event.detail)


def synthetic(clock, rate_hz=None):
    return SyntheticSource(SyntheticWeb(64, 96, 1), rate_hz=rate_hz, clock_ns=clock)


def recorded(folder, clock, rate_hz=None):
    with RecordingWriter(folder, max_bytes=10**6) as writer:
        for index in range(4):
            writer.write(Frame(np.zeros((64, 96), np.uint8), 1000 + index, index))
    return RecordingSource(
        folder, as_timed=rate_hz is None, rate_hz=rate_hz, clock_ns=clock, sleep=clock.sleep
    )


@pytest.mark.parametrize("rate_hz", [None, 20.0])
@pytest.mark.parametrize("kind", ["synthetic", "recorded"])
def test_a_played_frame_is_taken_when_it_is_asked_for_and_not_when_it_was_due(
    kind, rate_hz, tmp_path
):
    clock = FakeClock()
    played = (
        synthetic(clock, rate_hz) if kind == "synthetic" else recorded(tmp_path, clock, rate_hz)
    )
    source = LiveAdapter(played, triggered=True, clock_ns=clock)
    for _ in range(3):
        clock.advance(1.0)  # long after the next one was due
        fired_ns = clock()
        source.fire()
        (frame,) = source.grab_into(lambda size, dtype: np.zeros(size, dtype), 0.1)
        assert frame.capture.began_ns >= fired_ns
        assert frame.captured_ns >= fired_ns


@pytest.mark.clock
def test_the_simulated_cameras_software_trigger_is_answered_by_its_own_frame(acquire, simulator):
    spec = GenicamSpec.model_validate(
        GENICAM
        | {
            "producers": [simulator.cti],
            "line_rate_hz": 10_000,
            "triggers": [{"selector": "FrameStart", "source": "Software"}],
        }
    )
    acquisition, ring = acquire(opener_of(spec))
    until(acquisition, state(CameraState.ARMED))
    for asked_ns, event in answers(acquisition, ring, 4):
        assert event.capture.began_ns > asked_ns


@pytest.mark.clock
@pytest.mark.parametrize("told", ["", "delay 30"])
def test_a_real_cameras_frame_from_before_the_trigger_is_known_as_such(simulator, told):
    with connected(simulator) as source:  # free-running, 3.2 ms a frame
        if told:
            simulator.tell(told)
        take(source, 3)
        for _ in range(4):
            fired_ns = time.monotonic_ns()
            source.fire()
            # Between these two the latch was taken, however long that was put off.
            over_ns = time.monotonic_ns()
            latch = source._times._latch
            frames: list[Frame] = []
            # However many wait already: to those that began well after the latch.
            while not frames or frames[-1].capture.device_ns < latch.device_ns + 20 * MS:
                frames += [frame for frame in take(source) if isinstance(frame, Frame)]
            early = [f for f in frames if f.capture.device_ns < latch.device_ns]
            assert early, "no frame was under way"
            assert all(f.capture.began_ns < over_ns for f in early)
            late = [f for f in frames if f.capture.device_ns > latch.device_ns + MS]
            assert all(f.capture.began_ns >= fired_ns for f in late)


@pytest.mark.clock
@pytest.mark.parametrize(
    ("told", "triggers"),
    [
        ("refuse TimestampLatch", []),
        ("speed 10000", [{"selector": "LineStart", "source": "Encoder0"}]),
    ],
)
def test_a_camera_that_shows_no_time_is_started_anew_for_each_trigger(simulator, told, triggers):
    # It heeds no trigger of a frame; what it sends arrives 20 ms after its last line.
    for command in (told, "delay 20"):
        simulator.tell(command)
    with connected(simulator, triggers=triggers) as source:
        lag_ns = min(frame.captured_ns - frame.capture.device_ns for frame in take(source, 8))
        for _ in range(4):
            fired_ns = time.monotonic_ns()
            source.fire()
            for frame in take(source, 4):
                assert frame.capture.device_ns + lag_ns > fired_ns + 20 * MS, "it was under way"
                assert frame.capture.began_ns > fired_ns


class Latched:
    """A node map whose clock stands at 5 s when the box's stands at 1 s."""

    def has(self, name):
        return name in ("TimestampLatch", "TimestampLatchValue")

    def execute(self, _name): ...

    def read(self, _name):
        return 5_000 * MS


@pytest.mark.parametrize(
    ("stamp_ms", "arrives_ms", "began_ms"),
    [
        (5_100, 1_125, 1_100),  # stamped at its first line, scanned for 20 ms
        (5_100, 1_105, 1_080),  # stamped at its last line
        (5_100, 1_099, 1_079),  # it overtook its stamp: the clocks drift
    ],
)
def test_a_stamp_is_read_as_the_first_lines_or_the_last_by_when_its_frame_arrives(
    stamp_ms, arrives_ms, began_ms
):
    times = FrameTimes(FakeClock(1_000 * MS))
    times.expect(3200.0)
    assert times.latch(Latched())
    assert times.began_ns(arrives_ms * MS, stamp_ms * MS, 64) == began_ms * MS


@pytest.mark.parametrize("stamp_ms", [9_999, -95_000, None])
def test_a_stamp_of_another_clock_leaves_the_cameras_start_and_is_trusted_no_more(stamp_ms):
    clock = FakeClock(900 * MS)
    times = FrameTimes(clock)
    times.expect(3200.0)
    times.started()
    clock.advance(0.1)
    assert times.latch(Latched())
    stamp = None if stamp_ms is None else stamp_ms * MS
    assert times.began_ns(1_105 * MS, stamp, 64) == 900 * MS
    assert not times.latch(Latched())
    times.expect(3200.0)
    assert not times.latch(Latched()), "another connection to the same camera"


def test_lines_that_an_encoder_starts_say_nothing_of_a_frames_beginning():
    times = FrameTimes(FakeClock(1_000 * MS))
    times.expect(None)
    times.started()
    assert not times.latch(Latched())
    assert times.began_ns(1_105 * MS, 5_100 * MS, 64) == 1_000 * MS
