"""The handle on the acquisition process, which alone touches the camera and fills the ring."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from kenpin.camera.acquisition.events import (
    CameraChanged,
    CameraEvent,
    CameraState,
    FrameArrived,
    FramesLost,
    TakeFrame,
    ToAcquisition,
)
from kenpin.camera.acquisition.resume import Resume
from kenpin.camera.acquisition.ring import FrameRing, Ticket
from kenpin.camera.loss import Loss
from kenpin.processes.channel import Channel, Stop
from kenpin.processes.child import BackOff, Body, Child
from kenpin.processes.progress import Progress

__all__ = ["Acquisition", "Opener"]

# Makes a `LiveSource` inside the acquisition process; must survive pickling.
Opener = Callable[[], Any]

# A loop that has not turned for so long hangs. Finding and opening a camera takes longer.
HUNG_NS = 2_000_000_000
OPENING_NS = 30_000_000_000
_AT_WORK = (CameraState.ARMED, CameraState.STREAMING, CameraState.IDLE, CameraState.STALLED)
_PAUSES_NS = (200_000_000, 400_000_000, 800_000_000, 1_600_000_000, 3_000_000_000)


class Acquisition:
    """The handle on an acquisition process; restarts it when it dies or hangs.

    Owned by one thread, which polls `fileno()` and calls `events` when it is
    readable, and every now and then in any case. Nothing here waits.

    opener     makes the source, in the process
    ring       where its frames go
    """

    def __init__(
        self,
        opener: Opener,
        ring: FrameRing,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._opener = opener
        self._ring = ring
        self._clock_ns = clock_ns
        self._child: Child[ToAcquisition, CameraEvent] | None = None
        self._back_off = BackOff(_PAUSES_NS)
        self._restart_ns: int | None = None
        self._resume = Resume()
        self._asked: set[int] = set()
        self.state = CameraState.OPENING
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return self._child.pid if self._child else None

    def fileno(self) -> int | None:
        """What to poll; None while there is no process. It is another one after a restart."""
        return self._child.fileno() if self._child else None

    def start(self) -> None:
        """Start the process; what becomes of it is told by `events`."""
        progress = Progress()
        body = Body(
            "kenpin-acquire",
            acquire,
            (self._opener, self._ring, self._resume, progress),
            called="the acquisition process",
        )
        self._child = Child(
            body, ToAcquisition, CameraEvent, progress=progress, clock_ns=self._clock_ns
        )

    def trigger(self, number: int, until_ns: int | None = None) -> bool:
        """Ask for a frame, named by a number; False if the process cannot be told.

        until_ns  when its deadline is over, CLOCK_MONOTONIC; see `TakeFrame`
        """
        if self._child is None or not self._child.send(TakeFrame(number, until_ns)):
            return False
        self._asked.add(number)
        return True

    def events(self, held: Iterable[Ticket] = ()) -> list[CameraEvent]:
        """What has happened, in order.

        held   tickets of frames still in use; the slots of all others are set
               free when the process has died
        """
        now = self._clock_ns()
        if self._child is None:
            if self._restart_ns is None or now < self._restart_ns:
                return []
            self._restart_ns = None
            self.restarts += 1
            self.start()
            return [self._change(CameraState.REOPENING, "starting the acquisition again")]
        found = self._child.receive()
        for event in found:
            self._note(event)
        why = self._child.gone
        if not why:
            self._kill_if_silent(self._child, now)
            return found
        self._child.close()
        self._child = None
        arrived = [event.ticket for event in found if isinstance(event, FrameArrived)]
        self._ring.reclaim([*held, *arrived])
        if self.state is not CameraState.FAILED:
            found.append(self._change(CameraState.LOST, why))
        found += [self._unanswered(number, why) for number in sorted(self._asked)]
        self._asked.clear()
        self._restart_ns = now + self._back_off.failed()
        return found

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the process, by force if it takes longer. Stopping twice is harmless."""
        self._restart_ns = None
        if self._child is not None:
            self._child.send(Stop())
            self._child.stop(timeout_s)
            self._child = None

    def _note(self, event: CameraEvent) -> None:
        if isinstance(event, CameraChanged):
            self.state = event.state
            return
        if event.trigger is not None:
            self._asked.discard(event.trigger)
        last = self._resume
        if isinstance(event, FrameArrived):
            self._back_off.worked()
            line = (event.capture.first_line or 0) + event.rows
            self._resume = Resume(event.index + 1, line, event.captured_ns)
        else:
            line, since_ns = last.line + (event.lines or 0), last.since_ns
            if event.lines is not None:
                # What is counted here is not absent, should the camera be away from now on.
                since_ns = max(since_ns, event.last_ns or event.captured_ns)
            self._resume = Resume(event.index + event.count, line, since_ns)

    def _unanswered(self, number: int, why: str) -> FramesLost:
        lost = FramesLost(self._resume.index, 1, self._clock_ns(), Loss.CAMERA, why, None, number)
        self._note(lost)
        return lost

    def _change(self, state: CameraState, detail: str) -> CameraChanged:
        self.state = state
        return CameraChanged(state, detail)

    def _kill_if_silent(self, child: Child[ToAcquisition, CameraEvent], now_ns: int) -> None:
        silent_ns = child.silent_ns(now_ns)
        if silent_ns > (HUNG_NS if self.state in _AT_WORK else OPENING_NS):
            child.kill(f"the acquisition process gave no sign of life for {silent_ns / 1e9:.1f} s")


def acquire(
    opener: Opener,
    ring: FrameRing,
    resume: Resume,
    progress: Progress,
    channel: Channel[CameraEvent, ToAcquisition],
) -> None:
    """The process's whole life."""
    # Here, so that the parent, which never sees a pixel, need not load numpy.
    from kenpin.camera.acquisition import body

    body.acquire(opener, ring, channel, progress, resume)
