"""What is known of how a frame came to be, beyond its pixels."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MOST_KNOTS", "Capture", "LineCounts"]

# Of one frame. They travel with it, in its slot of the ring and in a recording.
MOST_KNOTS = 128


@dataclass(frozen=True, slots=True)
class LineCounts:
    """Encoder counts of all lines of a frame, as straight lines between some of them.

    lines   of the frame, its first (0) and its last among them
    counts  of these lines, as the camera shows them: a counter may wrap between two
            lines that follow each other
    within  the counts of the lines between are no further from the straight line
    """

    lines: tuple[int, ...]
    counts: tuple[int, ...]
    within: float


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
    encoder_lines   encoder counts of all its lines, where the camera tells them
    began_ns        monotonic clock: the exposure of its first line began then or later,
                    never earlier
    """

    first_line: int | None = None
    lines_expected: int = 0
    frame_id: int | None = None
    device_ns: int | None = None
    encoder: int | None = None
    began_ns: int | None = None
    encoder_lines: LineCounts | None = None
