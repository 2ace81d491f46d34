"""What is known of how a frame came to be, beyond its pixels."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Capture"]


@dataclass(frozen=True, slots=True)
class Capture:
    """The circumstances of one frame; a value is None where nobody knows it.

    first_line      of the web: counts every scan line since the camera was
                    started, lost ones too
    lines_expected  scan lines of a whole frame; 0 if whatever came is whole
    frame_id        the camera's own count, unwrapped
    device_ns       the camera's own clock, ns; of the frame's first line with most
                    cameras, of its last with some
    encoder         encoder count at the frame's first line, unwrapped
    began_ns        monotonic clock when the exposure of its first line began, or a
                    little later: never earlier
    """

    first_line: int | None = None
    lines_expected: int = 0
    frame_id: int | None = None
    device_ns: int | None = None
    encoder: int | None = None
    began_ns: int | None = None
