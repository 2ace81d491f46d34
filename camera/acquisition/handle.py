"""The handle on the acquisition process, which alone touches the camera and fills the ring."""

from __future__ import annotations

import multiprocessing
import os
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
from kenpin.processes.child import settle
from kenpin.processes.progress import Progress

__all__ = ["Acquisition", "Opener"]

# Makes a `LiveSource` inside the acquisition process; must survive pickling.
Opener = Callable[[], Any]

# A loop that has not turned for so long hangs. Finding and opening a camera takes longer.
HUNG_NS = 2_000_000_000
OPENING_NS = 30_000_000_000
_AT_WORK = (CameraState.ARMED, CameraState.STREAMING, CameraState.IDLE, CameraState.STALLED)
_BACK_OFF_NS = (200_000_000, 400_000_000, 800_000_000, 1_600_000_000, 3_000_000_000)


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
        self._process: multiprocessing.process.BaseProcess | None = None
        self._channel: Channel[ToAcquisition, CameraEvent] | None = None
        self._progress: Progress | None = None
        self._started_ns = 0
        self._restart_ns: int | None = None
        self._failures = 0
        self._resume = Resume()
        self._asked: set[int] = set()
        self._killed = ""
        self._dead: list[multiprocessing.process.BaseProcess] = []
        self.state = CameraState.OPENING
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return self._process.pid if self._process else None

    def fileno(self) -> int | None:
        """What to poll; None while there is no process. It is another one after a restart."""
        return self._channel.fileno() if self._channel else None

    def start(self) -> None:
        """Start the process; what becomes of it is told by `events`."""
        ours, theirs = Channel.pair(ToAcquisition, CameraEvent)
        progress = Progress()
        process = multiprocessing.get_context("spawn").Process(
            target=_live,
            args=(self._opener, self._ring, theirs, progress, self._resume, os.getpid()),
            name="kenpin-acquisition",
            daemon=True,
        )
        process.start()
        theirs.close()
        self._process, self._channel, self._progress = process, ours, progress
        self._started_ns = self._clock_ns()

    def trigger(self, number: int) -> bool:
        """Ask for a frame, named by a number; False if the process cannot be told."""
        if self._channel is None or not self._channel.send(TakeFrame(number)):
            return False
        self._asked.add(number)
        return True

    def events(self, held: Iterable[Ticket] = ()) -> list[CameraEvent]:
        """What has happened, in order.

        held   tickets of frames still in use; the slots of all others are set
               free when the process has died
        """
        found: list[CameraEvent] = []
        # exitcode asks without waiting, and takes the zombie away.
        self._dead = [process for process in self._dead if process.exitcode is None]
        if self._channel is not None:
            for event in self._channel.receive():
                self._note(event)
                found.append(event)
            why = self._death()
            if why:
                failed = self.state is CameraState.FAILED
                self._bury()
                arrived = [event.ticket for event in found if isinstance(event, FrameArrived)]
                self._ring.reclaim([*held, *arrived])
                if not failed:
                    found.append(self._change(CameraState.LOST, why))
                found += [self._unanswered(number, why) for number in sorted(self._asked)]
                self._asked.clear()
                delay = _BACK_OFF_NS[min(self._failures, len(_BACK_OFF_NS) - 1)]
                self._failures += 1
                self._restart_ns = self._clock_ns() + delay
        elif self._restart_ns is not None and self._clock_ns() >= self._restart_ns:
            self._restart_ns = None
            self.restarts += 1
            found.append(self._change(CameraState.REOPENING, "starting the acquisition again"))
            self.start()
        return found

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the process, by force if it takes longer. Stopping twice is harmless."""
        self._restart_ns = None
        if self._channel is None or self._process is None:
            return
        self._channel.send(Stop())
        self._process.join(timeout_s)
        self._bury()
        for process in self._dead:
            process.join(timeout_s)

    def _note(self, event: CameraEvent) -> None:
        if isinstance(event, CameraChanged):
            self.state = event.state
            return
        if event.trigger is not None:
            self._asked.discard(event.trigger)
        last = self._resume
        if isinstance(event, FrameArrived):
            self._failures = 0
            line = (event.capture.first_line or 0) + event.rows
            self._resume = Resume(event.index + 1, line, event.captured_ns)
        else:
            line = last.line + (event.lines or 0)
            self._resume = Resume(event.index + event.count, line, last.since_ns)

    def _unanswered(self, number: int, why: str) -> FramesLost:
        lost = FramesLost(self._resume.index, 1, self._clock_ns(), Loss.CAMERA, why, None, number)
        self._note(lost)
        return lost

    def _change(self, state: CameraState, detail: str) -> CameraChanged:
        self.state = state
        return CameraChanged(state, detail)

    def _death(self) -> str:
        """Why the process is of no use any more; empty while it is."""
        if self._channel is None or self._progress is None or self._process is None:
            return ""
        if self._channel.ended:
            # Its memory is gone before its channel; what is left takes no time.
            self._process.join(0.005)
            ended = f"the acquisition process ended (exit code {self._process.exitcode})"
            return self._killed or ended
        now = self._clock_ns()
        age = self._progress.age_ns(now)
        waited = now - self._started_ns if age is None else age
        limit = HUNG_NS if self.state in _AT_WORK else OPENING_NS
        if waited > limit and not self._killed:
            # It is dead once its channel ends. A driver may hold it up for ever, and
            # whoever waited for it would hang too.
            self._killed = f"the acquisition process gave no sign of life for {waited / 1e9:.1f} s"
            self._process.kill()
        return ""

    def _bury(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._dead.append(self._process)
        if self._channel is not None:
            self._channel.close()
        if self._progress is not None:
            self._progress.close()
        self._process = self._channel = self._progress = None
        self._killed = ""


def _live(
    opener: Opener,
    ring: FrameRing,
    channel: Channel[CameraEvent, ToAcquisition],
    progress: Progress,
    resume: Resume,
    parent: int,
) -> None:
    if not settle("kenpin-acquire", parent):
        return
    # Here, so that the parent, which never sees a pixel, need not load numpy.
    from kenpin.camera.acquisition.body import acquire

    acquire(opener, ring, channel, progress, resume)
