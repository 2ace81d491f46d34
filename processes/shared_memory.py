"""Anonymous memory that spawned children can map, and that no crash leaves behind."""

from __future__ import annotations

import mmap
import os
from multiprocessing.reduction import DupFd
from typing import Any, Self

__all__ = ["SharedMemory"]


class SharedMemory:
    """A block of memory without a name. Pickles to a child that is being spawned.

    It lives as long as a process holds it: after kill -9 of all of them nothing
    stays in /dev/shm, and no two runs can meet under one name.

    size      bytes
    populate  touch every page now, so that no first frame pays for it
    """

    def __init__(self, size: int, *, populate: bool = False) -> None:
        self._open(os.memfd_create("kenpin", os.MFD_CLOEXEC), size, populate)
        os.ftruncate(self._fd, size)
        self._map()

    def _open(self, fd: int, size: int, populate: bool) -> None:
        self._fd, self.size, self._populate = fd, size, populate

    def _map(self) -> None:
        flags = mmap.MAP_SHARED | (mmap.MAP_POPULATE if self._populate else 0)
        self._mmap = mmap.mmap(self._fd, self.size, flags=flags)
        self.view = memoryview(self._mmap)

    def __getstate__(self) -> tuple[Any, int, bool]:
        return DupFd(self._fd), self.size, self._populate

    def __setstate__(self, state: tuple[Any, int, bool]) -> None:
        handle, size, populate = state
        self._open(handle.detach(), size, populate)
        self._map()

    def close(self) -> None:
        """Let go of it. Arrays that still look at it keep it mapped; closing twice is harmless."""
        if getattr(self, "_fd", -1) < 0:
            return
        os.close(self._fd)
        self._fd = -1
        try:
            self.view.release()
            self._mmap.close()
        except BufferError:
            # Somebody's array still looks at it; the last one to go unmaps it.
            pass

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
