"""What every origin of frames can do: a camera, a recording, a simulator."""

from __future__ import annotations

from typing import Protocol

from kenpin.camera.frame import Frame, LostFrame

__all__ = ["CameraError", "FrameSource"]


class CameraError(Exception):
    """The source cannot deliver now; trying again may help."""


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
