"""What was recorded, whichever way: a recording of kenpin's, or a folder of images."""

from __future__ import annotations

from pathlib import Path

from kenpin.camera.files.image_source import ImageSource
from kenpin.camera.files.recording_format import RecordingError, is_recording
from kenpin.camera.files.recording_source import RecordingSource
from kenpin.camera.paced_source import PacedSource

__all__ = ["open_folder"]


def open_folder(
    folder: Path, *, as_timed: bool = False, rate_hz: float | None = None, loop: bool = False
) -> PacedSource:
    """The frames in a folder as a `FrameSource`.

    Raises
    ------
    RecordingError
        If it cannot be read, or `as_timed` is asked of images without times.
    ImageError
        If there is nothing to play.
    """
    if is_recording(folder):
        return RecordingSource(folder, as_timed=as_timed, rate_hz=rate_hz, loop=loop)
    if as_timed:
        raise RecordingError(
            f"{folder}: plain images, which do not say when they were captured; give a rate"
        )
    return ImageSource(folder, rate_hz=rate_hz, loop=loop)
