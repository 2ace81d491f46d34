"""The live page as the gateway sees it: somebody who is shown frames, and may ask for a bundle."""

from __future__ import annotations

from typing import Any

import structlog

from kenpin.camera.acquisition.ring import FrameRing, Ticket
from kenpin.config.line import Line
from kenpin.config.page import PageSpec
from kenpin.processes.channel import Channel
from kenpin.processes.child import Body
from kenpin.processes.side import SideProcess
from kenpin.runtime.judging.verdict import Outcome, Verdict
from kenpin.runtime.service.inspection.changeover import Change
from kenpin.runtime.service.ledger import LedgerEntry
from kenpin.runtime.service.sides.loans import Loans, lent
from kenpin.runtime.service.sides.messages import (
    BundleChanged,
    LivePageReport,
    ToLivePage,
    WithoutPicture,
)
from kenpin.runtime.service.sides.side import Side, Surroundings

__all__ = ["LivePage"]

_HUNG_NS = 3_000_000_000
_COUNTS_NS = 1_000_000_000
# Who asks for another bundle, as the changeover knows it.
OWNER = "page"


class LivePage(Side):
    """Lends the page one frame at a time: each NG that finds it idle, good ones now and then."""

    part = "page"

    def __init__(self, settings: PageSpec, around: Surroundings) -> None:
        """See `MakeSide`."""
        self._counts = around.counts
        self._clock_ns = around.clock_ns
        self._log = structlog.get_logger()
        self._every_ns = round(1e9 / settings.pictures_per_s)
        self._next_good_ns = self._next_counts_ns = 0
        self._wanted: list[tuple[str, str]] = []
        self.address = ""
        self.process: SideProcess[ToLivePage, LivePageReport] = SideProcess(
            Body("kenpin-page", serve, (settings, around.line, around.about(), around.ring)),
            ToLivePage,
            LivePageReport,
            greet=lambda: [self._counts()],
            clock_ns=around.clock_ns,
        )
        self._loans = Loans(self.process, 1, _HUNG_NS, around.give_back, around.clock_ns)
        self._lent_seq = -1

    def offer(self, entry: LedgerEntry, verdict: Verdict, ticket: Ticket) -> bool:
        """Whether the frame will be shown; see `Side`."""
        ok, now = verdict.outcome is Outcome.OK, self._clock_ns()
        if (ok and now < self._next_good_ns) or not self._loans.can_lend(ticket):
            return False
        if not self.process.send(lent(entry, verdict, ticket)):
            return False
        if ok:
            self._next_good_ns = now + self._every_ns
        self._loans.lend(ticket)
        self._lent_seq = entry.seq
        return True

    def verdict(self, entry: LedgerEntry, verdict: Verdict) -> None:
        """Tell of one whose frame is not shown."""
        if entry.seq != self._lent_seq:
            self.process.send(WithoutPicture(entry.seq, verdict))

    def poll(self) -> None:
        """Take the slot back, hear what is wanted, and tell the counts when they are due."""
        for message in self.process.poll():
            if message.ticket is not None:
                self._loans.returned(message.ticket)
            if message.address and message.address != self.address:
                self.address = message.address
                self._log.info("page", address=self.address)
            if message.fault is not None:
                self.fault = message.fault
            if message.wanted:
                self._wanted.append((message.wanted, message.instead_of))
        self._loans.look()
        now = self._clock_ns()
        if now >= self._next_counts_ns and self.process.fileno() is not None:
            self._next_counts_ns = now + _COUNTS_NS
            self.process.send(self._counts())

    def wanted(self) -> list[tuple[str, str]]:
        """Bundles that the page has asked for since the last call, and instead of which."""
        found, self._wanted = self._wanted, []
        return found

    def changed(self, change: Change) -> None:
        """Tell how far a bundle has come that it asked for."""
        if change.owner == OWNER:
            # First: whoever is told that another bundle is in force must know which one it is.
            self.process.send(self._counts())
            self.process.send(BundleChanged(change.step, change.bundle, change.detail))


def serve(
    spec: PageSpec,
    line: Line,
    about: dict[str, Any],
    ring: FrameRing,
    channel: Channel[LivePageReport, ToLivePage],
) -> None:
    """Serve the page until the channel ends."""
    # Here: the gateway, which hands `serve` out, needs no web server.
    from kenpin.runtime.service.sides.page.body import PageBody

    PageBody(spec, line, about, ring, channel).run()
