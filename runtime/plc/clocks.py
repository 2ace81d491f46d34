"""Two monotonic clocks, the line's and ours, compared by the messages that travel fastest."""

from __future__ import annotations

import math
from bisect import bisect_left

__all__ = ["Clocks"]

# Times at which we did not run ourselves; older ones no longer matter.
_PAUSES_KEPT = 1000


class Clocks:
    """How old a message of the line is.

    The fastest message so far is taken for one of no age. A line that delays all
    its messages alike therefore looks like a far one; answers to our own triggers
    are timed by our clock alone.
    """

    def __init__(self) -> None:
        self._offset_ns = math.inf
        self._held_up: list[tuple[int, int]] = []

    def restart(self) -> None:
        """Another boot may count from another zero."""
        self._offset_ns = math.inf

    def age_ns(self, made_ns: int, heard_ns: int) -> float:
        """How much slower than the fastest message this one came."""
        self._offset_ns = min(self._offset_ns, heard_ns - made_ns)
        return heard_ns - made_ns - self._offset_ns

    def ours_ns(self, theirs_ns: int) -> float:
        """A moment of the line's clock by ours; -inf before the first message."""
        return theirs_ns + self._offset_ns if math.isfinite(self._offset_ns) else -math.inf

    def held_up(self, from_ns: int, to_ns: int) -> None:
        """We ourselves did not run meanwhile: nothing that came then can be timed."""
        self._held_up.append((to_ns, from_ns))
        del self._held_up[:-_PAUSES_KEPT]

    def could_look(self, from_ns: int, to_ns: int) -> bool:
        """Whether we ran all the time between two moments of our clock."""
        following = self._held_up[bisect_left(self._held_up, (from_ns, 0)) :]
        return not following or following[0][1] >= to_ns

    def napped_ns(self, from_ns: int, to_ns: int) -> int:
        """How long we did not run between two moments: so much of a delay may be our own."""
        following = self._held_up[bisect_left(self._held_up, (from_ns, 0)) :]
        return sum(
            max(0, min(ended_ns, to_ns) - max(began_ns, from_ns))
            for ended_ns, began_ns in following
        )
