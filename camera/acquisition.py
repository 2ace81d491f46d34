"""The acquisition process: it alone touches the camera, and fills the frame ring."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from kenpin.camera.channel import Channel
from kenpin.camera.events import (
    CameraChanged,
    CameraState,
    Event,
    FrameArrived,
    FramesLost,
    Loss,
    event_of,
)
from kenpin.camera.progress import Progress
from kenpin.camera.ring import FrameRing, Ticket

__all__ = ["Acquisition", "Opener"]

# Makes a source inside the acquisition process; must survive pickling.
Opener = Callable[[], Any]

# How long a source may be asked to wait before commands are looked at again.
_GRAB_S = 0.02
# A loop that has not turned for so long hangs. Opening a camera may take longer,
# so the first turn has its own limit.
HUNG_NS = 2_000_000_000
OPENING_NS = 30_000_000_000
_BACK_OFF_NS = (200_000_000, 400_000_000, 800_000_000, 1_600_000_000, 3_000_000_000)


class Acquisition:
    """The handle on an acquisition process; restarts it when it dies or hangs.

    Owned by one thread, which polls `fileno()` and calls `events` when it is
    readable, and every now and then in any case. Nothing here waits.

    opener     makes the source, in the process
    ring       where its frames go
    triggered  whether frames are taken on `trigger` only
    """

    def __init__(
        self,
        opener: Opener,
        ring: FrameRing,
        *,
        triggered: bool = False,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._opener = opener
        self._ring = ring
        self._triggered = triggered
        self._clock_ns = clock_ns
        self._process: multiprocessing.process.BaseProcess | None = None
        self._channel: Channel | None = None
        self._progress: Progress | None = None
        self._started_ns = 0
        self._restart_ns: int | None = None
        self._failures = 0
        self._next_index = 0
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
        ours, theirs = Channel.pair()
        progress = Progress()
        process = multiprocessing.get_context("spawn").Process(
            target=_acquire,
            args=(self._opener, self._ring, theirs, progress, self._triggered, self._next_index),
            name="kenpin-acquisition",
            daemon=True,
        )
        process.start()
        theirs.close()
        self._process, self._channel, self._progress = process, ours, progress
        self._started_ns = self._clock_ns()

    def trigger(self, number: int) -> bool:
        """Ask for a frame, named by a number; False if the process cannot be told."""
        return self._channel is not None and self._channel.send({"do": "trigger", "number": number})

    def events(self, held: Iterable[Ticket] = ()) -> list[Event]:
        """What has happened, in order.

        held   tickets of frames still in use; the slots of all others are set
               free when the process has died
        """
        found: list[Event] = []
        if self._channel is not None:
            for message in self._channel.receive():
                event = event_of(message)
                self._note(event)
                found.append(event)
            why = self._death()
            if why:
                self._bury()
                self._ring.reclaim(held)
                found.append(self._change(CameraState.LOST, why))
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
        self._channel.send({"do": "stop"})
        self._process.join(timeout_s)
        self._bury()

    def _note(self, event: Event) -> None:
        if isinstance(event, CameraChanged):
            self.state = event.state
        elif isinstance(event, FrameArrived):
            self._next_index = event.index + 1
            self._failures = 0
        else:
            self._next_index = event.index + event.count

    def _change(self, state: CameraState, detail: str) -> CameraChanged:
        self.state = state
        return CameraChanged(state, detail)

    def _death(self) -> str:
        """Why the process is of no use any more; empty while it is."""
        if self._channel is None or self._progress is None or self._process is None:
            return ""
        if self._channel.ended:
            self._process.join(0.1)
            return f"the acquisition process ended (exit code {self._process.exitcode})"
        now = self._clock_ns()
        age = self._progress.age_ns(now)
        if age is None:
            waited, limit = now - self._started_ns, OPENING_NS
        else:
            waited, limit = age, HUNG_NS
        if waited > limit:
            return f"the acquisition process gave no sign of life for {waited / 1e9:.1f} s"
        return ""

    def _bury(self) -> None:
        if self._process is not None:
            if self._process.is_alive():
                self._process.kill()
            self._process.join()
            self._process.close()
        if self._channel is not None:
            self._channel.close()
        if self._progress is not None:
            self._progress.close()
        self._process = self._channel = self._progress = None


def _acquire(
    opener: Opener,
    ring: FrameRing,
    channel: Channel,
    progress: Progress,
    triggered: bool,
    first_index: int,
) -> None:
    """The process's whole life."""
    # The terminal's Ctrl-C reaches every process; the parent decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loop = _Loop(ring, channel, progress, triggered, first_index)
    channel.send(CameraChanged(CameraState.OPENING).as_map())
    progress.tick(time.monotonic_ns())
    source = opener()
    try:
        channel.send(CameraChanged(CameraState.ARMED).as_map())
        loop.run(source)
    finally:
        source.close()
        channel.close()


class _Loop:
    """Frames from a source into the ring, and word of each into the channel."""

    def __init__(
        self,
        ring: FrameRing,
        channel: Channel,
        progress: Progress,
        triggered: bool,
        first_index: int,
    ) -> None:
        self._ring = ring
        self._channel = channel
        self._progress = progress
        self._triggered = triggered
        self._first_index = first_index
        self._wanted: deque[int] = deque()
        self._untold: deque[FramesLost] = deque()
        self._streaming = False
        self._stopping = False

    def run(self, source: Any) -> None:
        """Until told to stop, or until nobody listens any more."""
        while not self._stopping:
            self._progress.tick(time.monotonic_ns())
            self._commands()
            self._tell_losses()
            if source.exhausted:
                self._channel.send(CameraChanged(CameraState.ENDED).as_map())
                self._idle_until_stopped()
                return
            if self._triggered and not self._wanted:
                self._channel.wait(_GRAB_S)
                continue
            frame = source.grab(_GRAB_S)
            if frame is not None:
                self._hand_on(frame)

    def _commands(self) -> None:
        for message in self._channel.receive():
            if message["do"] == "trigger":
                self._wanted.append(message["number"])
            elif message["do"] == "stop":
                self._stopping = True
        if self._channel.ended:
            self._stopping = True

    def _idle_until_stopped(self) -> None:
        while not self._stopping:
            self._progress.tick(time.monotonic_ns())
            self._channel.wait(0.1)
            self._commands()

    def _hand_on(self, frame: Any) -> None:
        # Here, so that the parent, which never sees a pixel, need not load numpy.
        from kenpin.camera.frame import LostFrame
        from kenpin.camera.ring_frames import put_frame

        if not self._streaming:
            self._streaming = True
            self._channel.send(CameraChanged(CameraState.STREAMING).as_map())
        number = self._wanted.popleft() if self._wanted else None
        index = self._first_index + frame.index
        captured_ns = frame.captured_ns
        if isinstance(frame, LostFrame):
            lost = Loss.INCOMPLETE, frame.detail, frame.lines
        else:
            rows = len(frame.pixels)
            ticket = put_frame(self._ring, replace(frame, index=index))
            if ticket is not None:
                event = FrameArrived(
                    ticket, index, captured_ns, rows, frame.name, frame.capture, number
                )
                if self._channel.send(event.as_map()):
                    return
                self._ring.abandon(ticket)
            busy = "slots" if ticket is None else "messages"
            lost = Loss.OVERRUN, f"the inspection is behind: no room for more {busy}", rows
        loss, detail, lines = lost
        self._tell_loss(FramesLost(index, 1, captured_ns, loss, detail, lines, number))

    def _tell_loss(self, lost: FramesLost) -> None:
        """A loss must be told, however late: frames of one run of losses are told as one."""
        last = self._untold[-1] if self._untold else None
        if last and last.loss is lost.loss and lost.trigger is None and last.trigger is None:
            known = last.lines is not None and lost.lines is not None
            lines = (last.lines or 0) + (lost.lines or 0) if known else None
            self._untold[-1] = replace(last, count=last.count + lost.count, lines=lines)
        else:
            self._untold.append(lost)
        self._tell_losses()

    def _tell_losses(self) -> None:
        while self._untold and self._channel.send(self._untold[0].as_map()):
            self._untold.popleft()
