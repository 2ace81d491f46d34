"""What was recorded, whichever way: a recording of kenpin's, or a folder of images."""

from __future__ import annotations

from pathlib import Path

from kenpin.camera.files.image_source import RecordedFrames
from kenpin.camera.files.recording import RecordingError, is_recording
from kenpin.camera.files.recording_source import RecordingFrames
from kenpin.camera.paced_source import PacedFrames

__all__ = ["play"]


def play(
    folder: Path, *, as_timed: bool = False, rate_hz: float | None = None, loop: bool = False
) -> PacedFrames:
    """The frames in a folder as a `FrameSource`.

    Raises
    ------
    RecordingError
        If it cannot be read, or `as_timed` is asked of images without times.
    ImageError
        If there is nothing to play.
    """
    if is_recording(folder):
        return RecordingFrames(folder, as_timed=as_timed, rate_hz=rate_hz, loop=loop)
    if as_timed:
        raise RecordingError(
            f"{folder}: plain images, which do not say when they were captured; give a rate"
        )
    return RecordedFrames(folder, rate_hz=rate_hz, loop=loop)
