"""What the acquisition process tells and is told: frames, losses, triggers, the camera's state."""

from __future__ import annotations

from enum import StrEnum

from kenpin.camera.acquisition.ring import Ticket
from kenpin.camera.capture import Capture
from kenpin.camera.loss import Loss
from kenpin.processes.channel import Message, Stop

__all__ = [
    "CameraChanged",
    "CameraEvent",
    "CameraState",
    "FrameArrived",
    "FramesLost",
    "TakeFrame",
    "ToAcquisition",
]


class CameraState(StrEnum):
    """Where the camera stands."""

    OPENING = "opening"
    CONFIGURING = "configuring"
    ARMED = "armed"  # waits for triggers, lines or the first frame
    STREAMING = "streaming"
    IDLE = "idle"  # the web stands still: no lines, and no fault
    STALLED = "stalled"
    LOST = "lost"
    REOPENING = "reopening"
    FAILED = "failed"  # a person must act: the configuration is refused
    ENDED = "ended"  # a recording has been played to its end


class FrameArrived(Message, frozen=True):
    """A frame lies in the ring.

    index     counts every frame started, lost ones too
    trigger   the number given with the trigger that asked for it; None if it came unasked
    """

    ticket: Ticket
    index: int
    captured_ns: int
    rows: int
    name: str
    capture: Capture
    trigger: int | None = None


class FramesLost(Message, frozen=True):
    """Frames that were started and cannot be shown; each is owed a verdict.

    index    of the first of them
    lines    scan lines lost with all of them; None if nobody knows
    last_ns  as captured_ns, of the last of them; None: of the first
    """

    index: int
    count: int
    captured_ns: int
    loss: Loss
    detail: str
    lines: int | None = None
    trigger: int | None = None
    last_ns: int | None = None


class CameraChanged(Message, frozen=True):
    """The camera's state is another one now; `detail` says why, in one sentence."""

    state: CameraState
    detail: str = ""


# What the acquisition process tells.
CameraEvent = FrameArrived | FramesLost | CameraChanged


class TakeFrame(Message, frozen=True):
    """Trigger the camera; the frame, or its loss, will be told with this number.

    until_ns  CLOCK_MONOTONIC; from then on nobody waits for the frame, and the next
              trigger need not either; None: as long as the camera is given
    """

    number: int
    until_ns: int | None = None


# What it is told.
ToAcquisition = TakeFrame | Stop
