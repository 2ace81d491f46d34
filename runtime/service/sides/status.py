"""The status page as the gateway sees it: somebody who is told things, and may be deaf."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from msgspec import structs

from kenpin.config.line import Line, StatusSpec
from kenpin.processes.channel import Channel, Message
from kenpin.processes.side import SideProcess
from kenpin.runtime.judging.verdict import Thresholds, Verdict
from kenpin.runtime.service.ledger import LedgerEntry

__all__ = [
    "SNAPSHOT_NS",
    "ArchiveCounts",
    "LineCounts",
    "StatusReporter",
    "StatusTold",
    "ToStatus",
    "VerdictTimes",
]

# /healthz calls a gateway dead that was silent three times as long.
SNAPSHOT_NS = 1_000_000_000


class VerdictTimes(Message, frozen=True):
    """Of one verdict."""

    stages_us: Mapping[str, int]
    score: float | None


class ArchiveCounts(Message, frozen=True):
    """What became of the frames that the archive should keep, and what it holds."""

    kept: Mapping[str, int]
    dropped: Mapping[str, int]
    holds: Mapping[str, int]


class LineCounts(Message, frozen=True):
    """All that is known of the line at one moment: totals since its start."""

    state: str
    degraded: bool
    camera: str
    camera_up: bool
    bundle: str
    recipe: str
    thresholds: Thresholds | None
    ok: int
    reasons: Mapping[str, int]
    counts: Mapping[str, int]
    archive: ArchiveCounts | None
    pids: Mapping[str, int]


class StatusTold(Message, frozen=True):
    """Where the page is, or why it is not."""

    address: str
    fault: str


ToStatus = VerdictTimes | LineCounts


class StatusReporter:
    """Tells the page each verdict's times and, every second, all counts as they stand.

    Counts are told as totals, so that a lost message, or a page that was killed,
    never makes one wrong; only a histogram may miss an observation.

    snapshot  all that is known of the line now
    """

    def __init__(
        self,
        line: Line,
        spec: StatusSpec,
        snapshot: Callable[[], LineCounts],
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._snapshot = snapshot
        self._clock_ns = clock_ns
        self._next_ns = 0
        self._fault = ""
        self.address = ""
        self.side = SideProcess(
            "kenpin-status",
            show,
            spec,
            line.name,
            line.trigger.budget_ms / 1000,
            told=ToStatus,
            tells=StatusTold,
            greet=lambda: [self._told()],
            clock_ns=clock_ns,
        )

    def verdict(self, _entry: LedgerEntry, verdict: Verdict) -> None:
        """A verdict was given."""
        self.side.send(VerdictTimes(verdict.stages_us, verdict.score))

    def poll(self) -> str:
        """Tell what is due; where the page is, if that is news."""
        before = self.address
        for message in self.side.poll():
            self._fault, self.address = message.fault, message.address
        now = self._clock_ns()
        if now >= self._next_ns and self.side.fileno() is not None:
            self._next_ns = now + SNAPSHOT_NS
            self.side.send(self._told())
        return self.address if self.address != before else ""

    def _told(self) -> LineCounts:
        counts = self._snapshot()
        untold = {"status_untold": self.side.refused}
        return structs.replace(counts, counts={**counts.counts, **untold})

    @property
    def alarm(self) -> str:
        """What a person must look at; empty if nothing."""
        return self.side.ended or self._fault

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return self.side.pid


def show(
    spec: StatusSpec, line: str, budget_s: float, channel: Channel[StatusTold, ToStatus]
) -> None:
    """Serve the page until the channel ends."""
    # Here: the gateway, which hands `show` out, needs neither HTTP nor Prometheus.
    from kenpin.runtime.service.sides.status_body import StatusPage

    StatusPage(spec, line, budget_s, channel).run()
