"""What every origin of frames can do: a camera, a recording, a simulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from numpy.typing import NDArray

from kenpin.camera.frame import Frame, LostFrame

__all__ = ["CameraError", "FrameSource", "LiveSource", "OpenSource", "Place", "own_fault"]

# Memory for an image of a shape and a type, or None if there is no room just now.
Place = Callable[[tuple[int, ...], Any], NDArray[Any] | None]


class CameraError(Exception):
    """The source cannot deliver now; trying again may help."""


def own_fault(error: Exception) -> str:
    """What to say where nobody foresaw an error, so that camera and driver are not blamed."""
    return (
        f"a fault of kenpin's own, not the camera's or its driver's ({type(error).__name__}: "
        f"{error}); report it with the traceback in the log"
    )


class FrameSource(Protocol):
    """Frames in the order in which they were captured."""

    @property
    def exhausted(self) -> bool:
        """True once no further frame will ever come: the end of a recording."""
        ...

    def grab(self, timeout_s: float) -> Frame | LostFrame | None:
        """The next frame, or None if none came within `timeout_s` seconds.

        No frame is not a fault: a web may stand still. Every frame started
        gets its own index, a lost one too.

        Raises
        ------
        CameraError
            If the source fails as a whole.
        """
        ...

    def close(self) -> None:
        """Let go of the device or the files. Closing twice is harmless."""
        ...


class LiveSource(Protocol):
    """What the acquisition process hosts: frames that are written where they will be read.

    free_running     frames come by themselves, so that silence is a fault
    continuous       one frame's lines follow the last one's: a web, not parts
    triggered        a frame is taken when `fire` asks for it
    trigger_s        no frame for so long after `fire` means that none will come
    lines_per_frame  scan lines of a whole frame; None if they differ
    line_rate_hz     of a free-running camera; None if lines come as the web moves
    stall_s          a free-running camera silent for so long has stalled
    """

    free_running: bool
    continuous: bool
    triggered: bool
    trigger_s: float
    lines_per_frame: int | None
    line_rate_hz: float | None
    stall_s: float | None

    @property
    def exhausted(self) -> bool:
        """True once no further frame will ever come."""
        ...

    def connect(self) -> None:
        """Find the camera, configure and start it. May be called again after it failed.

        Raises
        ------
        CameraError
            If it cannot be had now; `FeatureError` if a person must act.
        """
        ...

    def fire(self) -> None:
        """Ask for a frame by software."""
        ...

    def flush(self) -> None:
        """Forget what was asked for and has not come."""
        ...

    def grab_into(self, place: Place, timeout_s: float) -> list[Frame | LostFrame]:
        """What came within `timeout_s` seconds: losses, and one frame at most, as the last.

        The frame's pixels lie in what `place` gave. Its capture says when it began, if
        anybody can know: one that began before `fire` is nobody's answer.

        Raises
        ------
        CameraError
            If the source fails as a whole; `connect` may help.
        """
        ...

    def close(self) -> None:
        """Let go of the device or the files. Closing twice is harmless."""
        ...


class OpenSource(Protocol):
    """What `Source.open` names: settings of one kind of camera to a source of its frames."""

    def __call__(self, camera: Any, *, triggered: bool) -> LiveSource:
        """Make the source; `connect` is called on it after.

        Parameters
        ----------
        camera
            The line's settings, of the kind's own class.
        triggered
            Frames are taken when the line asks for them with `fire`. A camera that
            has triggers of its own goes by its settings instead.

        Raises
        ------
        CameraError
            If it cannot be had now.
        """
        ...
