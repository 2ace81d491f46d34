"""Who is admitted, always as of the last second, without waiting for a disk."""

from __future__ import annotations

import threading
from pathlib import Path

from kenpin.runtime.wire.keys import Admitted, read_admitted

__all__ = ["AllowList"]


class AllowList:
    """The allow-list of a keys folder, read again and again by a thread of its own.

    The thread does nothing else: a disk that hangs leaves the list as it was,
    and holds up nobody. So does a folder that cannot be read, because a line
    must not lose its PLC by that; it is complained of.

    Raises
    ------
    OSError
        If the folder cannot be read at first.
    """

    def __init__(self, folder: Path, period_s: float = 1.0) -> None:
        self._folder = folder
        self._period_s = period_s
        self._stop = threading.Event()
        # Replaced as a whole, so that another thread always sees one or the other.
        self.now: Admitted = read_admitted(folder)
        self._thread = threading.Thread(target=self._read, name="kenpin-keys", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._stop.wait(self._period_s):
            try:
                found = read_admitted(self._folder)
            except OSError as error:
                unread = f"{self._folder}/clients: {error.strerror}; the list before it holds"
                found = Admitted(self.now.names, (unread,))
            if found != self.now:
                self.now = found

    def close(self) -> None:
        """Read no more; does not wait for a disk that hangs."""
        self._stop.set()
        self._thread.join(0.2)
