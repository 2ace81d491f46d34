"""Slots of the ring that are lent to a process beside the line, and how they come back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kenpin.camera.acquisition.ring import Ticket
from kenpin.processes.side import SideProcess
from kenpin.runtime.judging.verdict import Verdict
from kenpin.runtime.service.ledger import LedgerEntry
from kenpin.runtime.service.sides.messages import Lent
from kenpin.runtime.service.sides.start_allowance import StartAllowance

__all__ = ["Loans", "lent"]


class Loans:
    """At most so many slots; a process that keeps one too long hangs, and is ended.

    side       who borrows
    most       slots at once
    hung_ns    how long it may keep one; longer while it has not said a word, and starts
    give_back  takes a slot that is no longer needed
    """

    def __init__(
        self,
        side: SideProcess[Any, Any],
        most: int,
        hung_ns: int,
        give_back: Callable[[Ticket], None],
        clock_ns: Callable[[], int],
    ) -> None:
        self._side = side
        self._most = most
        self._hung_ns = hung_ns
        self._give_back = give_back
        self._clock_ns = clock_ns
        self._lent: dict[Ticket, int] = {}
        self._start = StartAllowance()
        self._killed = False

    def __len__(self) -> int:
        return len(self._lent)

    def can_lend(self, ticket: Ticket) -> bool:
        """Whether one more may be lent, and this one is not lent already."""
        return len(self._lent) < self._most and ticket not in self._lent

    def lend(self, ticket: Ticket) -> None:
        """The process has been told of it."""
        self._lent[ticket] = self._clock_ns()

    def returned(self, ticket: Ticket) -> None:
        """The process is done with it."""
        if self._lent.pop(ticket, None) is not None:
            self._give_back(ticket)

    def look(self) -> int:
        """Take back what a dead process had, and end one that hangs; how many came back."""
        if self._side.ended:
            # Its memory is unmapped: only now nobody can read the slots any more.
            count, self._killed = len(self._lent), False
            while self._lent:
                self._give_back(self._lent.popitem()[0])
            return count
        if self._side.heard:
            self._start.started()
        may_keep_ns = self._hung_ns if self._side.heard else max(self._hung_ns, self._start.ns)
        if not self._lent or self._killed:
            return 0
        if self._clock_ns() - min(self._lent.values()) > may_keep_ns:
            self._killed = True
            if not self._side.heard:
                self._start.cut_short()
            self._side.kill()
        return 0


def lent(entry: LedgerEntry, verdict: Verdict, ticket: Ticket) -> Lent:
    """The message that lends a frame."""
    return Lent(
        ticket=ticket,
        # A verdict without a score did not wait for the map, which may be half written.
        with_map=verdict.score is not None,
        seq=entry.seq,
        trig=entry.trig,
        opened_ns=entry.opened_ns,
        deadline_ns=entry.deadline_ns,
        verdict=verdict,
    )
