"""Messages that wait for a broker that is away: so many bytes, and the newest of them. Pure."""

from __future__ import annotations

from collections import deque

__all__ = ["Backlog"]

# Of a message in memory, beside its own bytes.
_OVERHEAD_BYTES = 200


class Backlog:
    """First in, first out.

    room_bytes  with more, the oldest are lost
    lost        how many were
    """

    def __init__(self, room_bytes: int) -> None:
        self.room_bytes = room_bytes
        self.lost = 0
        self.used_bytes = 0
        self._waiting: deque[bytes] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, payload: bytes) -> None:
        """Keep one; the oldest make room for it."""
        self._waiting.append(payload)
        self.used_bytes += len(payload) + _OVERHEAD_BYTES
        while self.used_bytes > self.room_bytes:
            self.take()
            self.lost += 1

    def take(self) -> bytes:
        """The oldest, which is kept no longer.

        Raises
        ------
        IndexError
            If there is none.
        """
        payload = self._waiting.popleft()
        self.used_bytes -= len(payload) + _OVERHEAD_BYTES
        return payload
