"""A recording or a simulation in the place of a camera."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from kenpin.camera.frame import Frame, LostFrame
from kenpin.camera.loss import Loss
from kenpin.camera.source import FrameSource, Place

__all__ = ["LiveAdapter"]


class LiveAdapter:
    """A `FrameSource` as a `LiveSource`.

    triggered   frames are taken when asked for, not when they are due: the next one
                of a recording is what the camera would have seen then
    """

    free_running = False  # the end of a recording is no fault
    continuous = False
    trigger_s = 60.0
    lines_per_frame: int | None = None
    line_rate_hz: float | None = None
    stall_s: float | None = None

    def __init__(
        self,
        source: FrameSource,
        *,
        triggered: bool,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._source = source
        self._clock_ns = clock_ns
        self.triggered = triggered
        self._wanted = 0

    @property
    def exhausted(self) -> bool:
        """As the source says."""
        return self._source.exhausted

    def connect(self) -> None:
        """Nothing to find."""

    def fire(self) -> None:
        """Take the next frame."""
        self._wanted += 1

    def flush(self) -> None:
        """Forget what was asked for."""
        self._wanted = 0

    def grab_into(self, place: Place, timeout_s: float) -> list[Frame | LostFrame]:
        """One frame at a time, copied."""
        if self.triggered and not self._wanted:
            return []
        frame = self._source.grab(timeout_s)
        if frame is None:
            return []
        self._wanted = max(0, self._wanted - 1)
        if self.triggered:
            # It was due by its pace at some other time, which nobody asked about.
            frame = replace(frame, captured_ns=self._clock_ns())
        if isinstance(frame, LostFrame):
            return [frame]
        pixels = place(frame.pixels.shape, frame.pixels.dtype)
        if pixels is None:
            return [
                LostFrame(
                    frame.captured_ns,
                    frame.index,
                    "nobody had room for the frame: the inspection is behind",
                    frame.name,
                    len(frame.pixels),
                    loss=Loss.OVERRUN,
                )
            ]
        np.copyto(pixels, frame.pixels)
        capture = replace(frame.capture, began_ns=frame.captured_ns)
        return [replace(frame, pixels=pixels, capture=capture)]

    def close(self) -> None:
        """Close the source."""
        self._source.close()
