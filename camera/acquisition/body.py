"""Inside the acquisition process: a source's frames into the ring, and word of each."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from msgspec import structs
from numpy.typing import NDArray

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
from kenpin.camera.acquisition.ring_frames import header_of, slot_array
from kenpin.camera.frame import Frame, LostFrame
from kenpin.camera.genicam.features import FeatureError
from kenpin.camera.loss import Loss
from kenpin.camera.source import CameraError, LiveSource, own_fault
from kenpin.processes.channel import Channel
from kenpin.processes.progress import Progress

__all__ = ["Opener", "acquire"]

# Makes a source inside the acquisition process; must survive pickling.
Opener = Callable[[], LiveSource]

# How long a source may be waited for before commands are looked at again.
_GRAB_S = 0.02
# A stall that lasts this many times its limit is taken for a lost camera.
_RECONNECT_AFTER = 3
# Between two looks for a camera that is away.
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 0.5
# Harvesters keeps 0.25 MB of every camera that it opened: then the process is replaced.
_CONNECTIONS = 200


def acquire(
    opener: Opener,
    ring: FrameRing,
    channel: Channel[CameraEvent, ToAcquisition],
    progress: Progress,
    resume: Resume,
) -> None:
    """The process's whole life: until told to stop, or until nobody listens any more."""
    loop = _AcquisitionLoop(ring, channel, progress, resume)
    loop.say(CameraState.OPENING)
    try:
        source = opener()
    except CameraError as error:
        # Harvesters loads producers once in a process: the next one tries again.
        loop.say(CameraState.FAILED, str(error))
        channel.close()
        return
    try:
        while not loop.stopping and loop.connect(source):
            loop.run(source)
    except Exception as error:
        loop.say(CameraState.FAILED, own_fault(error))
        raise
    finally:
        source.close()
        channel.close()


class _AcquisitionLoop:
    """What the process knows between two turns."""

    def __init__(
        self,
        ring: FrameRing,
        channel: Channel[CameraEvent, ToAcquisition],
        progress: Progress,
        resume: Resume,
    ) -> None:
        self._ring = ring
        self._channel = channel
        self._progress = progress
        self._since_ns = resume.since_ns
        self._index = resume.index
        self._line = resume.line
        self._state: CameraState | None = None
        self._fresh = True
        self._connections = 0
        self._ticket: Ticket | None = None
        self._asked: deque[TakeFrame] = deque()
        self._fired_ns = 0
        self._early = 0
        self._last_ns = 0
        self._unreported: deque[FramesLost] = deque()
        self.stopping = False

    # -- connecting --------------------------------------------------------------------------

    def connect(self, source: LiveSource) -> bool:
        """Try until the source is there; False if this process had better be replaced."""
        wait_s = _FIRST_WAIT_S
        while not self.stopping:
            self._connections += 1
            if self._connections > _CONNECTIONS:
                return False
            self._turn()
            try:
                source.connect()
            except FeatureError as error:
                self.say(CameraState.FAILED, str(error))
            except CameraError as error:
                self.say(CameraState.LOST, str(error))
            else:
                self._fresh = True
                self._last_ns = time.monotonic_ns()
                self.say(CameraState.ARMED)
                return True
            self._wait(wait_s, "the camera is away")
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        return False

    def _wait(self, seconds: float, why: str) -> None:
        until = time.monotonic() + seconds
        while not self.stopping and time.monotonic() < until:
            self._channel.wait(0.05)
            self._turn()
            self._refuse_asked(why)

    def _refuse_asked(self, why: str) -> None:
        """Answer triggers at once that no frame can come for, not after their deadline."""
        while self._asked:
            self._tell_loss(Loss.CAMERA, why, trigger=self._asked.popleft().number)

    # -- grabbing ----------------------------------------------------------------------------

    def run(self, source: LiveSource) -> None:
        """Hand on frames until told to stop, or until the source fails."""
        try:
            while not self.stopping:
                self._turn()
                if source.exhausted:
                    self.say(CameraState.ENDED)
                    self._wait(0.1, "the recording has ended")
                    continue
                timeout_s = _GRAB_S
                if source.triggered and not self._asked:
                    # A trigger must not wait for a grab that waits for it.
                    self._channel.wait(_GRAB_S)
                    self._turn()
                    timeout_s = 0.0
                self._fire(source)
                for frame in source.grab_into(self._place, timeout_s):
                    self._hand_on(source, frame)
                self._give_slot_back()
                self._watch(source)
        except CameraError as error:
            self._give_slot_back()
            failed = isinstance(error, FeatureError)
            self.say(CameraState.FAILED if failed else CameraState.LOST, str(error))
            self._fired_ns = 0
            self._refuse_asked(str(error))

    def _turn(self) -> None:
        self._progress.tick(time.monotonic_ns())
        for message in self._channel.receive():
            if isinstance(message, TakeFrame):
                self._asked.append(message)
            else:
                self.stopping = True
        if self._channel.ended:
            self.stopping = True
        while self._unreported and self._channel.send(self._unreported[0]):
            self._unreported.popleft()

    def _fire(self, source: LiveSource) -> None:
        """One trigger at a time is in the camera, so no frame can be another's."""
        if self._fired_ns:
            return
        while self._asked and self._overdue(time.monotonic_ns()):
            detail = "its deadline had passed before the camera was free"
            self._tell_loss(Loss.NONE, detail, trigger=self._asked.popleft().number)
        if self._asked:
            # From before the camera is told: its exposure may begin before it has answered.
            fired_ns = time.monotonic_ns()
            source.fire()
            self._fired_ns, self._early = fired_ns, 0

    def _watch(self, source: LiveSource) -> None:
        """Notice a trigger without a frame, and a camera that has fallen silent."""
        now = time.monotonic_ns()
        # A part that waits must not wait for the frame of one that was answered without.
        given_up = len(self._asked) > 1 and self._overdue(now)
        if self._fired_ns and (given_up or now - self._fired_ns > source.trigger_s * 1e9):
            waited = (now - self._fired_ns) / 1e6
            detail = f"the camera gave no frame within {waited:.0f} ms of its trigger"
            if self._early:
                detail += (
                    f", but {self._early} that began before it: does it run freely, or by a wire?"
                )
            self._answered(Loss.NONE, detail)
            source.flush()
        quiet_s = (now - self._last_ns) / 1e9
        if source.free_running and source.stall_s is not None and quiet_s > source.stall_s:
            if self._state is not CameraState.STALLED:
                self.say(CameraState.STALLED, f"no frame for {quiet_s:.1f} s")
            elif quiet_s > _RECONNECT_AFTER * source.stall_s:
                raise CameraError(f"no frame for {quiet_s:.1f} s; connecting anew")
        elif not source.free_running and quiet_s > 1 and self._state is CameraState.STREAMING:
            self.say(CameraState.IDLE, "no frames: the web stands still, or no part has come")

    def _place(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any] | None:
        ticket = self._ring.reserve()
        if ticket is None:
            return None
        self._ticket = ticket
        try:
            return slot_array(self._ring, ticket, shape, dtype)
        except ValueError as error:
            self._give_slot_back()
            raise FeatureError(
                f"a frame does not fit the ring: {error}; the camera's size or depth is not the "
                "line's: look at width_px, lines_per_frame, pixel_format and bits in [camera]"
            ) from error

    def _give_slot_back(self) -> None:
        if self._ticket is not None:
            self._ring.abandon(self._ticket)
            self._ticket = None

    # -- telling -----------------------------------------------------------------------------

    def say(self, state: CameraState, detail: str = "") -> None:
        """Tell the camera's state, if it is news."""
        if state is self._state and not detail:
            return
        sent = self._channel.send(CameraChanged(state, detail))
        self._state = state if sent else None

    def _hand_on(self, source: LiveSource, frame: Frame | LostFrame) -> None:
        if self._fresh:
            self._fresh = False
            self._count_absence(source, frame)
        if isinstance(frame, LostFrame):
            self._answered(frame.loss, frame.detail, frame.count, frame.lines, frame.captured_ns)
            if frame.lines is not None:
                # Should the camera go away now, these lines have been counted.
                self._since_ns = frame.captured_ns
            return
        self._last_ns = frame.captured_ns
        if self._state is not CameraState.STREAMING:
            self.say(CameraState.STREAMING)
        ticket, self._ticket = self._ticket, None
        if ticket is None:
            raise AssertionError("a source handed on a frame that lies nowhere")
        rows = len(frame.pixels)
        placed = replace(
            frame, index=self._index, capture=replace(frame.capture, first_line=self._line)
        )
        self._ring.commit(ticket, header_of(placed))
        number = self._asked_for(frame)
        event = FrameArrived(
            ticket, self._index, frame.captured_ns, rows, frame.name, placed.capture, number
        )
        self._since_ns = frame.captured_ns
        if not self._unreported and self._channel.send(event):
            self._index += 1
            # Who counts no lines cannot tell a web that stopped from lines that were lost.
            counted = frame.complete or frame.capture.first_line is not None
            self._line += rows if counted else frame.capture.lines_expected
            if number is not None:
                self._trigger_done()
        else:
            self._ring.abandon(ticket)
            detail = "nobody listened to word of the frame: the inspection is behind"
            self._answered(Loss.OVERRUN, detail, 1, rows, frame.captured_ns)

    def _overdue(self, now_ns: int) -> bool:
        """Whether nobody waits any more for the frame of the first trigger."""
        until_ns = self._asked[0].until_ns
        return until_ns is not None and now_ns > until_ns

    def _asked_for(self, frame: Frame) -> int | None:
        """The trigger that a frame answers: none, if its exposure began before it was fired."""
        if not self._fired_ns:
            return None
        began_ns = frame.capture.began_ns
        if began_ns is None or began_ns < self._fired_ns:
            self._early += 1
            return None
        return self._asked[0].number

    def _count_absence(self, source: LiveSource, frame: Frame | LostFrame) -> None:
        """Lines that passed by while the camera was away: by its rate, if it has one."""
        if not self._since_ns:
            return
        away_ns = frame.captured_ns - self._since_ns
        height, rate = source.lines_per_frame, source.line_rate_hz
        if source.free_running and rate and height:
            own = frame.lines if isinstance(frame, LostFrame) else None
            own = height if own is None else own
            lines = max(0, round(away_ns * rate / 1e9) - own)
            count = round(lines / height)
            detail = f"the camera was away for {away_ns / 1e9:.2f} s at {rate:g} lines a second"
            if lines:
                # The last of them passed by before the first that came.
                until_ns = frame.captured_ns - round(own * 1e9 / rate)
                self._tell_loss(Loss.CAMERA, detail, max(1, count), lines, until_ns)
        elif source.continuous:
            detail = "the camera was away, and nobody knows how many lines passed by"
            self._tell_loss(Loss.CAMERA, detail, 1, None, frame.captured_ns)

    def _answered(
        self,
        loss: Loss,
        detail: str,
        count: int = 1,
        lines: int | None = None,
        captured_ns: int | None = None,
    ) -> None:
        """A loss, which is also the answer to the trigger in the camera, if there is one."""
        number = self._asked[0].number if self._fired_ns else None
        self._trigger_done()
        self._tell_loss(loss, detail, count, lines, captured_ns, number)

    def _trigger_done(self) -> None:
        if self._fired_ns:
            self._asked.popleft()
            self._fired_ns = 0

    def _tell_loss(
        self,
        loss: Loss,
        detail: str,
        count: int = 1,
        lines: int | None = None,
        captured_ns: int | None = None,
        trigger: int | None = None,
    ) -> None:
        """A loss must be told, however late: a run of like losses is told as one."""
        now = time.monotonic_ns() if captured_ns is None else captured_ns
        lost = FramesLost(self._index, count, now, loss, detail, lines, trigger, now)
        self._index += count
        self._line += lines or 0
        last = self._unreported[-1] if self._unreported else None
        if last and last.loss is loss and trigger is None and last.trigger is None:
            known = last.lines is not None and lines is not None
            total = (last.lines or 0) + (lines or 0) if known else None
            self._unreported[-1] = structs.replace(
                last, count=last.count + count, lines=total, last_ns=now
            )
        else:
            self._unreported.append(lost)
        while self._unreported and self._channel.send(self._unreported[0]):
            self._unreported.popleft()
