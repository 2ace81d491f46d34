"""Pictures of NG frames for whoever looks on: best effort, in a process beside the line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from msgspec import structs

from kenpin.camera.acquisition.ring import FrameRing, Ticket
from kenpin.config.line import WireSpec
from kenpin.processes.channel import Channel
from kenpin.processes.child import Body
from kenpin.processes.side import SideProcess
from kenpin.runtime.judging.verdict import Outcome, Verdict
from kenpin.runtime.service.ledger import LedgerEntry
from kenpin.runtime.service.sides.loans import Loans, lent
from kenpin.runtime.service.sides.messages import Lent, PreviewReport
from kenpin.runtime.service.sides.side import Side, Surroundings

__all__ = ["Preview"]

_HUNG_NS = 3_000_000_000


class Preview(Side):
    """Lends one NG frame at a time; those that come meanwhile are not shown.

    shown    pictures published
    skipped  NG frames that found the process at work, or away
    """

    part = "img"

    def __init__(self, settings: WireSpec, around: Surroundings) -> None:
        """See `MakeSide`."""
        self.process: SideProcess[Lent, PreviewReport] = SideProcess(
            Body("kenpin-preview", show, (settings, around.about(), around.ring)),
            Lent,
            PreviewReport,
            clock_ns=around.clock_ns,
        )
        self._loans = Loans(self.process, 1, _HUNG_NS, around.give_back, around.clock_ns)
        self.shown = 0
        self.skipped = 0

    def offer(self, entry: LedgerEntry, verdict: Verdict, ticket: Ticket) -> bool:
        """Whether the frame will be shown; see `Side`."""
        if verdict.outcome is Outcome.OK:
            return False
        loan = lent(entry, verdict, ticket)
        if verdict.web is not None:
            # A web's map lies across its frames.
            loan = structs.replace(loan, with_map=False, verdict=replace(verdict, web=None))
        if not self._loans.can_lend(ticket) or not self.process.send(loan):
            self.skipped += 1
            return False
        self._loans.lend(ticket)
        return True

    def poll(self) -> None:
        """Take the slot back from whoever is done with it, or dead, or hangs."""
        for message in self.process.poll():
            self.fault = message.fault
            if message.ticket is not None:
                self._loans.returned(message.ticket)
                self.shown += 1
        self._loans.look()


def show(
    wire: WireSpec, about: dict[str, Any], ring: FrameRing, channel: Channel[PreviewReport, Lent]
) -> None:
    """Publish pictures of what is lent, until the channel ends."""
    # Here, so that the gateway, which hands `show` out, need not load numpy.
    from kenpin.runtime.service.sides.preview_body import Previewing

    Previewing(wire, about, ring, channel).run()
