"""The status page as the gateway sees it: somebody who is told things, and may be deaf."""

from __future__ import annotations

import structlog
from msgspec import structs

from kenpin.config.line import StatusSpec
from kenpin.processes.channel import Channel
from kenpin.processes.child import Body
from kenpin.processes.side import SideProcess
from kenpin.runtime.judging.verdict import Verdict
from kenpin.runtime.service.ledger import LedgerEntry
from kenpin.runtime.service.sides.messages import (
    SNAPSHOT_NS,
    LineTotals,
    PageReport,
    ToStatus,
    VerdictTimes,
)
from kenpin.runtime.service.sides.side import Side, Surroundings

__all__ = ["StatusReporter"]


class StatusReporter(Side):
    """Tells the page each verdict's times and, every second, all counts as they stand.

    Counts are told as totals, so that a lost message, or a page that was killed,
    never makes one wrong; only a histogram may miss an observation.
    """

    part = "status"

    def __init__(self, settings: StatusSpec, around: Surroundings) -> None:
        """See `MakeSide`."""
        self._counts = around.counts
        self._clock_ns = around.clock_ns
        self._log = structlog.get_logger()
        self._next_ns = 0
        self.address = ""
        self.process: SideProcess[ToStatus, PageReport] = SideProcess(
            Body(
                "kenpin-status",
                show,
                (settings, around.line.name, around.line.trigger.budget_ms / 1000),
            ),
            ToStatus,
            PageReport,
            greet=lambda: [self._snapshot()],
            clock_ns=around.clock_ns,
        )

    def verdict(self, entry: LedgerEntry, verdict: Verdict) -> None:  # noqa: ARG002
        """Tell how long it took."""
        self.process.send(VerdictTimes(verdict.stages_us, verdict.score))

    def poll(self) -> None:
        """Tell what is due, and log where the page is, if that is news."""
        before = self.address
        for message in self.process.poll():
            self.fault, self.address = message.fault, message.address
        if self.address and self.address != before:
            self._log.info("status_page", address=self.address)
        now = self._clock_ns()
        if now >= self._next_ns and self.process.fileno() is not None:
            self._next_ns = now + SNAPSHOT_NS
            self.process.send(self._snapshot())

    def _snapshot(self) -> LineTotals:
        counts = self._counts()
        refused = {"status_untold": self.process.refused}
        return structs.replace(counts, counts={**counts.counts, **refused})


def show(
    spec: StatusSpec, line: str, budget_s: float, channel: Channel[PageReport, ToStatus]
) -> None:
    """Serve the page until the channel ends."""
    # Here: the gateway, which hands `show` out, needs neither HTTP nor Prometheus.
    from kenpin.runtime.service.sides.status_body import StatusPage

    StatusPage(spec, line, budget_s, channel).run()
