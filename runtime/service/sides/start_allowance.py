"""How long a process beside the line may take to start before it is taken for hung."""

from __future__ import annotations

__all__ = ["StartAllowance"]

# Libraries of some protocols take seconds to be read from a slow disk, and a process of low
# priority gets what a busy box leaves over.
_FIRST_NS = 60_000_000_000
_MOST_NS = 16 * _FIRST_NS


class StartAllowance:
    """Twice as long after each start that was cut short: one that only lacks a core gets there.

    ns    what the start under way, or the next one, may take
    """

    def __init__(self) -> None:
        self.ns = _FIRST_NS

    def cut_short(self) -> None:
        """A start took longer, and was ended."""
        self.ns = min(2 * self.ns, _MOST_NS)

    def started(self) -> None:
        """It is there: the next start is a first one again."""
        self.ns = _FIRST_NS
