"""Signs of life that cost nothing to give and cannot be given by a hung loop."""

from __future__ import annotations

from typing import Any

from kenpin.processes.shared_memory import SharedMemory

__all__ = ["Progress"]

_COUNT, _LAST = 0, 1


class Progress:
    """A counter in shared memory: one process ticks it from its own loop, another reads it.

    Both use the box's monotonic clock, which is the same in every process.
    """

    def __init__(self) -> None:
        self._map(SharedMemory(16))

    def _map(self, memory: SharedMemory) -> None:
        self._memory = memory
        # Each cell is stored and loaded as one aligned word. struct fills its target
        # with zeros and then writes byte by byte: a reader in between took a healthy
        # process for one that had never ticked, and killed it, once in some minutes.
        self._cells = memory.view.cast("Q")

    def __getstate__(self) -> dict[str, Any]:
        return {"memory": self._memory}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._map(state["memory"])

    def tick(self, now_ns: int) -> None:
        """Say that the loop got here."""
        self._cells[_COUNT] += 1
        self._cells[_LAST] = now_ns

    @property
    def count(self) -> int:
        """Ticks so far."""
        return self._cells[_COUNT]

    @property
    def last_ns(self) -> int:
        """When the last tick was; 0 before the first."""
        return self._cells[_LAST]

    def age_ns(self, now_ns: int) -> int | None:
        """How long ago the last tick was; None before the first."""
        last = self.last_ns
        return max(0, now_ns - last) if last else None

    def close(self) -> None:
        """Let go of the memory. Closing twice is harmless."""
        self._cells.release()
        self._memory.close()
