"""Watching an acquisition process from outside, as the service does."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
from kenpin.camera.opening import opener_of
from kenpin.config.camera import GenicamSpec

PATIENCE_S = 60.0


class Watch:
    """Collects events, sets slots free, and accounts for every frame and line."""

    def __init__(self, spec: GenicamSpec, frame_bytes: int, slots: int = 8) -> None:
        self.ring = FrameRing(slots, frame_bytes)
        self.acquisition = Acquisition(opener_of(spec), self.ring)
        self.events: list[CameraEvent] = []
        self._came: deque[CameraEvent] = deque()
        self.acquisition.start()

    def until(
        self, wanted: Callable[[CameraEvent], bool], patience_s: float = PATIENCE_S
    ) -> CameraEvent:
        """The first event from now on that is wanted."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            for event in self.acquisition.events():
                if isinstance(event, FrameArrived):
                    frame_in(self.ring, event.ticket)
                    self.ring.release(event.ticket)
                self._came.append(event)
            while self._came:
                event = self._came.popleft()
                self.events.append(event)
                if wanted(event):
                    return event
            time.sleep(0.001)
        seen = [event for event in self.events if not isinstance(event, FrameArrived)][-6:]
        raise AssertionError(f"waited {patience_s} s in vain; seen: {seen}")

    def frames(self, count: int) -> list[FrameArrived]:
        """So many frames, from now on."""
        found = [self.until(lambda event: isinstance(event, FrameArrived)) for _ in range(count)]
        return [event for event in found if isinstance(event, FrameArrived)]

    def state(self, *states: CameraState) -> CameraChanged:
        """Until the camera is in one of these states."""
        event = self.until(lambda e: isinstance(e, CameraChanged) and e.state in states)
        assert isinstance(event, CameraChanged)
        return event

    def loss(self) -> FramesLost:
        """Until frames are lost."""
        event = self.until(lambda event: isinstance(event, FramesLost))
        assert isinstance(event, FramesLost)
        return event

    def check_indices(self) -> None:
        """Every frame started is told of exactly once, in order."""
        expected = 0
        for event in self.events:
            if isinstance(event, FrameArrived | FramesLost):
                assert event.index == expected, f"{event} comes where {expected} is due"
                expected += event.count if isinstance(event, FramesLost) else 1

    def close(self) -> None:
        self.acquisition.stop()
        self.ring.close()


@contextmanager
def watching(spec: GenicamSpec, frame_bytes: int, slots: int = 8) -> Iterator[Watch]:
    watch = Watch(spec, frame_bytes, slots)
    try:
        yield watch
    finally:
        watch.close()
