"""A camera as a plain `FrameSource`, for a command that only wants frames."""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable
from typing import Self

from kenpin.camera.acquisition.events import CameraChanged, CameraState, FrameArrived, FramesLost
from kenpin.camera.acquisition.handle import Acquisition, Opener
from kenpin.camera.acquisition.ring import FrameRing
from kenpin.camera.acquisition.ring_frames import frame_in
from kenpin.camera.frame import Frame, LostFrame
from kenpin.camera.source import CameraError, FrameSource

__all__ = ["AcquisitionSource"]

_LONGEST_POLL_S = 0.05


class AcquisitionSource(FrameSource):
    """The frames of an acquisition process, each copied out of the ring.

    A camera that goes away comes back by itself; its lost frames are told.

    opener       see `opening.opener_of`
    frame_bytes  of the largest frame
    give_up_s   a camera that could never be had for so long raises
    """

    def __init__(
        self,
        opener: Opener,
        frame_bytes: int,
        *,
        slots: int = 8,
        give_up_s: float = 10.0,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._ring = FrameRing(slots, frame_bytes)
        self._acquisition = Acquisition(opener, self._ring, clock_ns=clock_ns)
        self._waiting: deque[Frame | LostFrame] = deque()
        self._give_up_ns = round(give_up_s * 1e9)
        self._clock_ns = clock_ns
        self._seen = False
        self._closed = False
        self.detail = ""
        self._acquisition.start()
        self._started_ns = clock_ns()

    @property
    def state(self) -> CameraState:
        """Where the camera stands; `detail` is the last sentence about it."""
        return self._acquisition.state

    @property
    def connected(self) -> bool:
        """Whether the camera has ever been ready for frames."""
        return self._seen

    @property
    def exhausted(self) -> bool:
        """True at the end of a recording, and once closed."""
        ended = self._acquisition.state is CameraState.ENDED
        return self._closed or (ended and not self._waiting)

    def grab(self, timeout_s: float) -> Frame | LostFrame | None:
        """See `FrameSource`."""
        until = time.monotonic() + timeout_s
        while not self.exhausted:
            self._collect()
            if self._waiting:
                return self._waiting.popleft()
            self._give_up_in_time()
            left_s = until - time.monotonic()
            if left_s <= 0:
                return None
            self._sleep(min(left_s, _LONGEST_POLL_S))
        return None

    def trigger(self, number: int = 0) -> bool:
        """Ask the camera for a frame by software."""
        return self._acquisition.trigger(number)

    def close(self) -> None:
        """End the acquisition process."""
        self._closed = True
        self._acquisition.stop()
        self._ring.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _collect(self) -> None:
        for event in self._acquisition.events():
            if isinstance(event, CameraChanged):
                self.detail = event.detail or self.detail
                self._seen = self._seen or event.state is CameraState.ARMED
            elif isinstance(event, FrameArrived):
                seen = frame_in(self._ring, event.ticket)
                self._waiting.append(
                    Frame(seen.pixels.copy(), seen.captured_ns, seen.index, seen.name, seen.capture)
                )
                self._ring.release(event.ticket)
            elif isinstance(event, FramesLost):
                self._waiting.append(
                    LostFrame(
                        event.captured_ns,
                        event.index,
                        event.detail,
                        lines=event.lines,
                        count=event.count,
                        loss=event.loss,
                    )
                )

    def _give_up_in_time(self) -> None:
        if not self._seen and self._clock_ns() - self._started_ns > self._give_up_ns:
            raise CameraError(self.detail or f"no camera within {self._give_up_ns / 1e9:g} s")

    def _sleep(self, seconds: float) -> None:
        handle = self._acquisition.fileno()
        if handle is None:
            time.sleep(seconds)
            return
        poller = select.poll()
        poller.register(handle, select.POLLIN)
        poller.poll(seconds * 1000)
