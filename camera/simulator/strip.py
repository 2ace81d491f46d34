"""A strip file for the simulated camera: images laid end to end."""

from pathlib import Path

import numpy as np

from kenpin.camera.files.image_source import ImageSource
from kenpin.camera.frame import Frame, Pixels
from kenpin.camera.source import CameraError

__all__ = ["write_strip"]


def write_strip(folder: Path, strip: Path) -> int:
    """Lay the grey images under a folder end to end, as a PGM; their width in pixels.

    Raises
    ------
    CameraError
        If one cannot be read, is of another width, or in colour.
    ImageError
        If there are none.
    """
    source = ImageSource(folder)
    images: list[Pixels] = []
    while not source.exhausted:
        frame = source.grab(0)
        if not isinstance(frame, Frame):
            raise CameraError(f"{folder}: {frame.name if frame else 'an image'} cannot be read")
        pixels, width = frame.pixels, (images or [frame.pixels])[0].shape[1]
        if pixels.ndim != 2 or pixels.dtype != np.uint8 or pixels.shape[1] != width:
            raise CameraError(
                f"{frame.name}: is {pixels.shape} of {pixels.dtype}; expected grey 8-bit images, "
                f"all {width} px wide"
            )
        images.append(pixels)
    lines = np.concatenate(images)
    strip.write_bytes(b"P5\n%d %d\n255\n" % (lines.shape[1], len(lines)) + lines.tobytes())
    return int(lines.shape[1])
