"""What every `FrameSource` promises, as tests that each of them must pass.

Subclass `SourceContract`, or `PlayedContract` for a source that comes to an end, in
a test file, give it the fixture `make`, and pytest collects the promises there.
"""

from __future__ import annotations

import time
from typing import Protocol

import numpy as np
import pytest

from kenpin.camera.frame import Frame, LostFrame
from kenpin.camera.source import FrameSource

RATE_HZ = 20.0
PERIOD_NS = 50_000_000


class FakeClock:
    """A monotonic clock that moves only when told, or when someone sleeps on it."""

    def __init__(self, now_ns: int = 1_000_000_000) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0, f"slept {seconds} s, which time.sleep refuses"
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


class MakeSource(Protocol):
    def __call__(self, clock: FakeClock, rate_hz: float | None = None) -> FrameSource: ...


def drain(source: FrameSource, timeout_s: float = 10.0) -> list[Frame | LostFrame]:
    """All that a source has to give; every grab must give something."""
    frames: list[Frame | LostFrame] = []
    while not source.exhausted:
        frame = source.grab(timeout_s)
        if frame is None:
            # A live source may learn only while it waits that there is no more.
            assert source.exhausted, f"nothing after {len(frames)} frames, though not exhausted"
            break
        frames.append(frame)
        assert len(frames) <= 100_000, "a source under contract must come to an end"
    return frames


class SourceContract:
    """Promises of every source: of 5 frames or more, of which `losses` are lost."""

    count = 5
    losses = 1

    @pytest.fixture
    def make(self) -> MakeSource:
        """Makes such a source, on the clock given, flat out or at a rate."""
        raise NotImplementedError("the test class of a source provides the fixture `make`")

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    def first(self, source: FrameSource) -> list[Frame | LostFrame]:
        """All the frames that the promises are asked of."""
        return drain(source)

    def shown(self, source: FrameSource) -> list[Frame]:
        """Those that have pixels; there must be some."""
        frames = [frame for frame in self.first(source) if isinstance(frame, Frame)]
        assert frames
        return frames

    def test_indices_count_every_frame_started_without_a_gap(self, make, clock):
        expected = 0
        frames = self.first(make(clock))
        for frame in frames:
            assert frame.index == expected
            expected += frame.count if isinstance(frame, LostFrame) else 1
        assert expected >= self.count

    def test_a_frame_that_cannot_be_shown_is_handed_out_in_its_place_with_the_reason(
        self, make, clock
    ):
        frames = self.first(make(clock))
        lost = [frame for frame in frames if isinstance(frame, LostFrame)]
        assert len(lost) == self.losses
        assert all(frame.detail for frame in lost)
        assert not isinstance(frames[0], LostFrame)
        assert not isinstance(frames[-1], LostFrame)

    def test_capture_times_never_run_backwards(self, make, clock):
        captured = [frame.captured_ns for frame in self.first(make(clock))]
        assert captured == sorted(captured)

    def test_no_frame_was_captured_in_the_future(self, make, clock):
        source = make(clock)
        frame = source.grab(10.0)
        assert frame is not None
        assert frame.captured_ns <= clock()

    def test_pixels_have_a_shape_and_a_type_that_a_frame_may_have(self, make, clock):
        for frame in self.shown(make(clock)):
            assert frame.pixels.dtype in (np.uint8, np.uint16)
            assert frame.pixels.ndim == 2 or frame.pixels.shape[2:] == (3,)

    def test_pixels_are_read_only(self, make, clock):
        for frame in self.shown(make(clock)):
            with pytest.raises(ValueError, match="read-only"):
                frame.pixels[0, 0] = 0

    def test_a_frame_stays_as_it_was_while_later_ones_are_grabbed(self, make, clock):
        source = make(clock)
        first = source.grab(10.0)
        assert isinstance(first, Frame)
        before = first.pixels.copy()
        self.first(source)
        np.testing.assert_array_equal(first.pixels, before)

    def test_grab_with_no_time_to_wait_returns_at_once(self, make, clock):
        source = make(clock, RATE_HZ)
        assert source.grab(10.0) is not None
        started = time.monotonic()
        for _ in range(3):
            source.grab(0.0)
        assert time.monotonic() - started < 1.0

    def test_closing_twice_is_harmless(self, make, clock):
        source = make(clock)
        assert source.grab(10.0) is not None
        source.close()
        source.close()

    def test_a_closed_source_is_exhausted_and_gives_nothing_more(self, make, clock):
        source = make(clock)
        source.close()
        assert source.exhausted
        assert source.grab(10.0) is None


class PlayedContract(SourceContract):
    """Further promises of a source that plays 5 frames, the one at index 2 lost, and ends."""

    lost = 2

    def test_indices_are_those_of_all_frames(self, make, clock):
        frames = drain(make(clock))
        assert [frame.index for frame in frames] == list(range(self.count))
        assert [f.index for f in frames if isinstance(f, LostFrame)] == [self.lost]

    @pytest.mark.parametrize("rate_hz", [None, RATE_HZ])
    def test_at_any_pace_capture_times_neither_run_backwards_nor_ahead(self, make, clock, rate_hz):
        source = make(clock, rate_hz)
        captured = []
        while (frame := source.grab(10.0)) is not None:
            assert frame.captured_ns <= clock()
            captured.append(frame.captured_ns)
            clock.advance(0.003)
        assert len(captured) == self.count
        assert captured == sorted(captured)

    def test_it_is_exhausted_after_the_last_frame_and_not_before(self, make, clock):
        source = make(clock)
        for _ in range(self.count):
            assert not source.exhausted
            assert source.grab(10.0) is not None
        assert source.exhausted

    def test_after_the_end_grab_gives_none_at_once(self, make, clock):
        source = make(clock, RATE_HZ)
        drain(source)
        before_ns = clock()
        assert source.grab(10.0) is None
        assert clock() == before_ns

    def test_grab_gives_none_after_its_timeout_and_no_later(self, make, clock):
        source = make(clock, RATE_HZ)
        assert source.grab(10.0) is not None
        before_ns = clock()
        assert source.grab(0.02) is None
        assert clock() == before_ns + 20_000_000

    def test_grab_with_no_time_to_wait_does_not_wait(self, make, clock):
        source = make(clock, RATE_HZ)
        assert source.grab(10.0) is not None
        before_ns = clock()
        assert source.grab(0.0) is None
        assert clock() == before_ns

    def test_a_grab_that_timed_out_costs_no_frame(self, make, clock):
        source = make(clock, RATE_HZ)
        indices = []
        while not source.exhausted:
            frame = source.grab(0.02)
            indices += [] if frame is None else [frame.index]
        assert indices == list(range(self.count))

    def test_at_a_rate_frames_arrive_on_the_beat(self, make, clock):
        source = make(clock, RATE_HZ)
        started_ns = clock()
        for index in range(self.count):
            frame = source.grab(10.0)
            assert frame is not None
            assert frame.captured_ns == clock() == started_ns + index * PERIOD_NS

    def test_a_reader_that_falls_behind_sees_when_each_frame_was_due(self, make, clock):
        source = make(clock, RATE_HZ)
        first = source.grab(10.0)
        assert first is not None
        clock.advance(3.5 * PERIOD_NS / 1e9)
        overdue = [source.grab(0.0) for _ in range(3)]
        assert [f and f.captured_ns - first.captured_ns for f in overdue] == [
            PERIOD_NS,
            2 * PERIOD_NS,
            3 * PERIOD_NS,
        ]
        assert source.grab(0.0) is None
