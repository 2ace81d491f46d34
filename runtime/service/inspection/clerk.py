"""Who lets the store's link follow the bundle in force, as the gateway sees it."""

from __future__ import annotations

import time
from pathlib import Path

from kenpin.processes.channel import Stop
from kenpin.processes.child import Body, Child
from kenpin.runtime.service.inspection.clerk_body import set_link
from kenpin.runtime.service.inspection.messages import LinkSet

__all__ = ["Clerk"]

# A disk may take so long for it when the service ends.
_LINK_S = 5.0


class Clerk:
    """Sets the store's link, so that a restart of the box finds the bundle that judges now.

    In a process of its own, for a disk may take seconds for it, and in one at a time: two would
    set it in any order.

    failed  the link could not be set: a restart would run the bundle before
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._child: Child[Stop, LinkSet] | None = None
        self._done = False
        # Only the newest bundle is worth a link.
        self._next: Path | None = None
        self.failed = False

    def point(self, folder: Path) -> None:
        """Let the link lead to a bundle of the store, once the one before that is set."""
        self._next = folder
        self.poll()

    def poll(self) -> None:
        """Hear what has become of it, and go on to the newest bundle; never waits."""
        if self._child is not None:
            self._done = bool(self._child.receive()) or self._done
            if not self._child.gone:
                return
            self.failed = not self._done
            self._child.close()
            self._child = None
        if self._next is not None:
            folder, self._next, self._done = self._next, None, False
            body = Body("kenpin-clerk", set_link, (self._store, folder))
            self._child = Child(body, Stop, LinkSet)

    def close(self) -> None:
        """Wait for links that are yet to be set, but not for a disk that hangs."""
        until_s = time.monotonic() + _LINK_S
        while self._child is not None:
            in_time = self._child.stop(max(0.0, until_s - time.monotonic()))
            self._child = None
            if in_time:
                self.poll()
