"""A camera's frame numbers, which may be 16 bits wide and skip 0, as one endless count."""

from __future__ import annotations

__all__ = ["FrameIds"]

# GigE Vision 1.x numbers its blocks 1 … 65535, 1: 0 is a test packet.
_WIDTHS = (16, 32)


class FrameIds:
    """Counts frames by the camera's own numbers.

    A number that jumps back without having been near the end of a width means
    that the camera counts anew. A camera that calls every frame 0 does not count.
    """

    def __init__(self) -> None:
        self._last: int | None = None
        self._count = 0
        self._zero_seen = False

    def next(self, number: int) -> tuple[int | None, int] | None:
        """The endless count of a frame, and how many before it are missing.

        None if the camera has begun to count anew: nobody knows what is missing.
        The count is None for a frame of a camera that does not count.
        """
        self._zero_seen = self._zero_seen or number == 0
        last, self._last = self._last, number
        if last is None:
            self._count = number
            return number, 0
        if number == last == self._count == 0:
            return None, 0
        step = self._step(last, number)
        if step is None:
            self._last = None
            return None
        self._count += step
        return self._count, step - 1

    def _step(self, last: int, number: int) -> int | None:
        if number > last:
            return number - last
        for bits in _WIDTHS:
            end = 1 << bits
            near = end >> 4
            if last < end and last >= end - near and number < near:
                return number + end - last - (0 if self._zero_seen else 1)
        return None
