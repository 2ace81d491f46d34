"""Slots of the ring that are in use, and when the camera gets them back."""

from __future__ import annotations

from collections import Counter

from kenpin.camera.acquisition.ring import FrameRing, Ticket

__all__ = ["SlotBook"]


class SlotBook:
    """Who holds which slot: the inspection, for a job, and any number of side processes.

    The last one to let go of a slot frees it.
    """

    def __init__(self, ring: FrameRing) -> None:
        self._ring = ring
        self._jobs: dict[int, Ticket] = {}
        self._lent: Counter[Ticket] = Counter()

    @property
    def held(self) -> list[Ticket]:
        """Slots in use: with the inspection, or lent to a side."""
        return [*self._jobs.values(), *self._lent]

    def of(self, job: int) -> Ticket | None:
        """The slot that the inspection reads for a job."""
        return self._jobs.get(job)

    def judging(self, job: int, ticket: Ticket) -> None:
        """The inspection reads it from now on."""
        self._jobs[job] = ticket

    def judged(self, job: int) -> Ticket | None:
        """The inspection is done with a job; its slot, which `let_go` frees."""
        return self._jobs.pop(job, None)

    def lend(self, ticket: Ticket) -> None:
        """A side reads it, until `give_back`."""
        self._lent[ticket] += 1

    def give_back(self, ticket: Ticket) -> None:
        """A side is done with a frame."""
        if self._lent[ticket] > 1:
            self._lent[ticket] -= 1
            return
        self._lent.pop(ticket, None)
        if ticket not in self._jobs.values():
            self._ring.release(ticket)

    def let_go(self, ticket: Ticket) -> None:
        """Nobody needs it any more but the sides that it is lent to."""
        if not self._lent[ticket]:
            self._lent.pop(ticket, None)
            self._ring.release(ticket)
