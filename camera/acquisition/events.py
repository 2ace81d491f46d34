"""What the acquisition process tells: frames, losses, and how the camera is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from kenpin.camera.acquisition.ring import Ticket
from kenpin.camera.capture import Capture
from kenpin.camera.loss import Loss

__all__ = [
    "CameraChanged",
    "CameraState",
    "Event",
    "FrameArrived",
    "FramesLost",
    "event_of",
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


@dataclass(frozen=True, slots=True)
class FrameArrived:
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

    def as_map(self) -> dict[str, Any]:
        """As plain values for a channel."""
        return {"event": "frame", **asdict(self), "ticket": list(self.ticket)}


@dataclass(frozen=True, slots=True)
class FramesLost:
    """Frames that were started and cannot be shown; each is owed a verdict.

    index    of the first of them
    lines    scan lines lost with all of them; None if nobody knows
    """

    index: int
    count: int
    captured_ns: int
    loss: Loss
    detail: str
    lines: int | None = None
    trigger: int | None = None

    def as_map(self) -> dict[str, Any]:
        """As plain values for a channel."""
        return {"event": "lost", **asdict(self), "loss": self.loss.value}


@dataclass(frozen=True, slots=True)
class CameraChanged:
    """The camera's state is another one now; `detail` says why, in one sentence."""

    state: CameraState
    detail: str = ""

    def as_map(self) -> dict[str, Any]:
        """As plain values for a channel."""
        return {"event": "camera", "state": self.state.value, "detail": self.detail}


Event = FrameArrived | FramesLost | CameraChanged


def event_of(message: dict[str, Any]) -> Event:
    """The event in a channel's message."""
    fields = dict(message)
    kind = fields.pop("event")
    if kind == "frame":
        fields["ticket"] = Ticket(*fields["ticket"])
        fields["capture"] = Capture(**fields["capture"])
        return FrameArrived(**fields)
    if kind == "lost":
        return FramesLost(**{**fields, "loss": Loss(fields["loss"])})
    return CameraChanged(CameraState(fields["state"]), fields["detail"])
