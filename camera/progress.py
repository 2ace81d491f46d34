"""Signs of life that cost nothing to give and cannot be given by a hung loop."""

from __future__ import annotations

import struct
from typing import Any

from kenpin.camera.shared_memory import SharedMemory

__all__ = ["Progress"]

_TICK = struct.Struct("<QQ")


class Progress:
    """A counter in shared memory: one process ticks it from its own loop, another reads it.

    Both use the box's monotonic clock, which is the same in every process.
    """

    def __init__(self) -> None:
        self._memory = SharedMemory(_TICK.size)

    def __getstate__(self) -> dict[str, Any]:
        return {"_memory": self._memory}

    def tick(self, now_ns: int) -> None:
        """Say that the loop got here."""
        count, _ = _TICK.unpack_from(self._memory.view)
        _TICK.pack_into(self._memory.view, 0, count + 1, now_ns)

    @property
    def count(self) -> int:
        """Ticks so far."""
        return int(_TICK.unpack_from(self._memory.view)[0])

    @property
    def last_ns(self) -> int:
        """When the last tick was; 0 before the first."""
        return int(_TICK.unpack_from(self._memory.view)[1])

    def age_ns(self, now_ns: int) -> int | None:
        """How long ago the last tick was; None before the first."""
        last = self.last_ns
        return max(0, now_ns - last) if last else None

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
