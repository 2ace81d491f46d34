"""The archive as the gateway sees it: a few slots lent to a process that may be slow, or gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from kenpin.camera.acquisition.ring import FrameRing, Ticket
from kenpin.config.line import ArchiveSpec
from kenpin.processes.channel import Channel
from kenpin.processes.child import Body
from kenpin.processes.side import SideProcess
from kenpin.runtime.judging.verdict import Outcome, Verdict
from kenpin.runtime.service.ledger import LedgerEntry
from kenpin.runtime.service.sides.loans import Loans, lent
from kenpin.runtime.service.sides.messages import ArchiveCounts, ArchiveReport, Lent
from kenpin.runtime.service.sides.side import Side, Surroundings

__all__ = ["Archive", "lendable"]

# More than the archive can work on at once gains nothing, and the ring is for the camera.
_LENT_AT_MOST = 4
# A disk may hesitate for seconds; a process that keeps a slot longer hangs.
_HUNG_NS = 10_000_000_000
# So long after the last entry was dropped, a person still wants to know.
_RECENT_NS = 10_000_000_000


def lendable(slots: int, max_in_flight: int) -> int:
    """How many slots of a ring the archive may hold: one to fill and one to spare are kept."""
    return max(0, min(_LENT_AT_MOST, slots - max_in_flight - 2))


class Archive(Side):
    """Decides what is kept and lends its slot out; whatever fails costs entries, no verdict.

    dropped    entries that were not kept, by why: `behind`, `not_ready`, `died`, `disk`,
               `no_room` (an OK frame that would have cost an NG one)
    counts     what the archive holds, as the process told last
    """

    part = "archive"

    def __init__(self, settings: ArchiveSpec, around: Surroundings) -> None:
        """See `MakeSide`."""
        line = around.line
        self._ok_every = settings.ok_every
        self._most = lendable(line.ring.slots, line.trigger.max_in_flight)
        self._clock_ns = around.clock_ns
        self._oks = 0
        self._ready = False
        self._behind_ns: int | None = None
        self.dropped: Counter[str] = Counter()
        self.kept: Counter[str] = Counter()
        self.counts: Mapping[str, int] = {}
        self.process: SideProcess[Lent, ArchiveReport] = SideProcess(
            Body("kenpin-archive", keep, (settings, around.about(), around.ring)),
            Lent,
            ArchiveReport,
            clock_ns=around.clock_ns,
        )
        self._loans = Loans(self.process, self._most, _HUNG_NS, around.give_back, around.clock_ns)

    # -- what the coordinator asks ----------------------------------------------------------------

    def offer(self, entry: LedgerEntry, verdict: Verdict, ticket: Ticket) -> bool:
        """Whether the archive takes the frame; see `Side`."""
        if not self._wanted(verdict):
            return False
        if not self._ready:
            return self._drop("not_ready")
        if not self._loans.can_lend(ticket):
            return self._drop("behind")
        if not self.process.send(lent(entry, verdict, ticket)):
            return self._drop("behind")
        self._loans.lend(ticket)
        return True

    def _wanted(self, verdict: Verdict) -> bool:
        if verdict.outcome is not Outcome.OK:
            return True
        if not self._ok_every:
            return False
        self._oks += 1
        # The first one too: whoever sets a line up wants to see that something is kept.
        return self._oks % self._ok_every == 1 % self._ok_every

    def _drop(self, why: str, count: int = 1) -> bool:
        self.dropped[why] += count
        # The other reasons are complained of by themselves, or are nobody's fault.
        if why == "behind":
            self._behind_ns = self._clock_ns()
        return False

    # -- what the process tells ------------------------------------------------------------

    def poll(self) -> None:
        """Take slots back from whoever is done with them, or dead, or hangs."""
        for message in self.process.poll():
            self._heard(message)
        if self.process.ended:
            self._ready = False
        died = self._loans.look()
        if died:
            self._drop("died", died)

    def _heard(self, report: ArchiveReport) -> None:
        self._ready, self.fault, self.counts = report.ready, report.fault, report.counts
        if report.ticket is None:
            return
        self._loans.returned(report.ticket)
        if report.dropped:
            self._drop(report.dropped)
        else:
            self.kept[report.kind] += 1

    @property
    def alarm(self) -> str:
        """What a person must look at; empty if nothing."""
        if not self._most:
            return "the ring has no slot for the archive: raise ring.slots"
        if alarm := super().alarm:
            return alarm
        behind = self._behind_ns
        if behind is None or self._clock_ns() - behind > _RECENT_NS:
            return ""
        return "entries are dropped: more to keep than the disk can take; see archive.ok_every"

    @property
    def archived(self) -> ArchiveCounts:
        """See `Side`."""
        return ArchiveCounts(dict(self.kept), dict(self.dropped), self.counts)


def keep(
    spec: ArchiveSpec, about: dict[str, Any], ring: FrameRing, channel: Channel[ArchiveReport, Lent]
) -> None:
    """Write down what is lent, until the channel ends."""
    # Here, so that the gateway, which hands `keep` out, need not load numpy.
    from kenpin.runtime.service.sides.archive_body import Archiving

    Archiving(spec, about, ring, channel).run()
