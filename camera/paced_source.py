"""Frames that are made on demand and handed out when they are due."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace

from kenpin.camera.frame import Frame, LostFrame
from kenpin.camera.source import FrameSource

__all__ = ["PacedSource"]


class PacedSource(FrameSource, ABC):
    """A `FrameSource` whose frames are made on demand and handed out on time.

    The first frame is due when it is first asked for, and sets the pace: frame k
    is due k periods later, however long its readers take. `captured_ns` is that
    time, so for a reader that falls behind it lies in the past, and the latency
    counts from when a camera would have delivered.

    A frame is made in `grab`, before it is due: a reader that returns early
    enough meets it at its due time.

    count     frames until it is exhausted; None for ever
    rate_hz   frames per second; None hands each out as soon as it is made,
              captured at that moment
    clock_ns  monotonic clock, ns
    sleep     waits for so many seconds of that clock

    Raises
    ------
    ValueError
        If the rate is not above 0, or the count below 0.
    """

    def __init__(
        self,
        count: int | None,
        rate_hz: float | None,
        clock_ns: Callable[[], int],
        sleep: Callable[[float], None],
    ) -> None:
        if rate_hz is not None and not rate_hz > 0:
            raise ValueError(f"rate_hz is {rate_hz}, expected more than 0; None plays flat out")
        if count is not None and count < 0:
            raise ValueError(f"count is {count}, expected 0 or more; None goes on for ever")
        self._count = count
        self._rate_hz = rate_hz
        self._clock_ns = clock_ns
        self._sleep = sleep
        self._closed = False
        self._position = 0
        self._first_due_ns: int | None = None
        self._made: Frame | LostFrame | None = None

    @property
    def exhausted(self) -> bool:
        """True after the last frame, or once closed."""
        return self._closed or self._position == self._count

    def grab(self, timeout_s: float) -> Frame | LostFrame | None:
        """The next frame, or None if it is not due within `timeout_s` seconds."""
        if self.exhausted:
            return None
        deadline_ns = self._clock_ns() + round(timeout_s * 1e9)
        if self._made is None:
            self._made = self._make(self._position)
        now_ns = self._clock_ns()
        due_ns = self._due_ns(now_ns)
        until_ns = min(due_ns, deadline_ns)
        if until_ns > now_ns:
            self._sleep((until_ns - now_ns) / 1e9)
        # Making the frame may have used up the timeout: it is still handed out if due.
        if due_ns > max(deadline_ns, now_ns):
            return None
        made, self._made = self._made, None
        self._position += 1
        return replace(made, captured_ns=due_ns)

    def close(self) -> None:
        """Hand out no more frames."""
        self._closed = True
        self._made = None

    @abstractmethod
    def _make(self, position: int) -> Frame | LostFrame:
        """What comes at a position, counted from 0; when it was captured is filled in here."""

    def _after_first_ns(self, position: int) -> int | None:
        """How long after the first frame one is due; None: as soon as it is made."""
        if self._rate_hz is None:
            return None
        # From the first frame each time: adding up periods would add up rounding.
        return round(position * 1e9 / self._rate_hz)

    def _due_ns(self, now_ns: int) -> int:
        after_ns = self._after_first_ns(self._position)
        if after_ns is None:
            return now_ns
        if self._first_due_ns is None:
            self._first_due_ns = now_ns
        return self._first_due_ns + after_ns
