"""The archive as the gateway sees it: a few slots lent to a process that may be slow, or gone."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from kenpin.camera.acquisition.ring import FrameRing, Ticket
from kenpin.config.line import ArchiveSpec, Line
from kenpin.processes.channel import Channel
from kenpin.processes.side import SideProcess
from kenpin.runtime.judging.verdict import REASON_CODES, Outcome, Verdict
from kenpin.runtime.service.ledger import Entry
from kenpin.runtime.service.sides.loans import Loans, about

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


class Archive:
    """Decides what is kept and lends its slot out; whatever fails costs entries, no verdict.

    give_back  takes a slot that is no longer needed
    dropped    entries that were not kept, by why: `behind`, `not_ready`, `died`, `disk`,
               `no_room` (an OK frame that would have cost an NG one)
    counts     what the archive holds, as the process told last
    """

    def __init__(
        self,
        line: Line,
        spec: ArchiveSpec,
        boot: str,
        ring: FrameRing,
        give_back: Callable[[Ticket], None],
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._ok_every = spec.ok_every
        self._most = lendable(line.ring.slots, line.trigger.max_in_flight)
        self._clock_ns = clock_ns
        self._oks = 0
        self._ready = False
        self._fault = ""
        self._behind_ns: int | None = None
        self.dropped: Counter[str] = Counter()
        self.kept: Counter[str] = Counter()
        self.counts: dict[str, int] = {}
        self.side = SideProcess(
            "kenpin-archive",
            keep,
            spec,
            about(line, boot),
            ring,
            clock_ns=clock_ns,
        )
        self._loans = Loans(self.side, self._most, _HUNG_NS, give_back, clock_ns)

    # -- what the desk asks ----------------------------------------------------------------

    def offer(self, entry: Entry, verdict: Verdict, ticket: Ticket) -> bool:
        """Whether the archive takes the frame; then it gives the slot back later."""
        if not self._wanted(verdict):
            return False
        if not self._ready:
            return self._drop("not_ready")
        if not self._loans.room_for(ticket):
            return self._drop("behind")
        # A verdict without a score did not wait for the map, which may be half written.
        told = {"ticket": list(ticket), "map": verdict.score is not None}
        if not self._tell(told, plain(entry, verdict)):
            return self._drop("behind")
        self._loans.lend(ticket)
        return True

    def _tell(self, told: dict[str, Any], verdict: dict[str, Any]) -> bool:
        try:
            return self.side.send(told | {"verdict": verdict})
        except ValueError:
            # A web with hundreds of defects in one frame; the map shows them all.
            return self.side.send(told | {"verdict": verdict | {"web": None}})

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
        for message in self.side.poll():
            self._heard(message)
        if self.side.ended:
            self._ready = False
        died = self._loans.look()
        if died:
            self._drop("died", died)

    def _heard(self, message: Mapping[str, Any]) -> None:
        self._ready = message["ready"]
        self._fault = message["fault"]
        self.counts = message["counts"]
        if message["ticket"] is None:
            return
        self._loans.returned(Ticket(*message["ticket"]))
        if message["why"]:
            self._drop(message["why"])
        else:
            self.kept[message["kind"]] += 1

    @property
    def complaint(self) -> str:
        """What a person must look at; empty if nothing."""
        if not self._most:
            return "the ring has no slot for the archive: raise ring.slots"
        if self.side.ended or self._fault:
            return self.side.ended or self._fault
        behind = self._behind_ns
        if behind is None or self._clock_ns() - behind > _RECENT_NS:
            return ""
        return "entries are dropped: more to keep than the disk can take; see archive.ok_every"

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return self.side.pid


def plain(entry: Entry, verdict: Verdict) -> dict[str, Any]:
    """A verdict as it stands in the archive, whatever the wire speaks."""
    t, score = verdict.thresholds, verdict.score
    return {
        "seq": entry.seq,
        "trig": entry.trig,
        "frame": verdict.frame_index,
        "name": verdict.frame_name,
        "verdict": verdict.outcome.name,
        "reason": verdict.reason.value if verdict.reason else None,
        "code": REASON_CODES[verdict.reason] if verdict.reason else 0,
        "detail": verdict.detail,
        # JSON has no NaN; the reason says it.
        "score": score if score is not None and math.isfinite(score) else None,
        "thr": t.ok if t else None,
        "thr_ng": t.ng if t else None,
        "peak": list(verdict.peak_xy) if verdict.peak_xy else None,
        "bundle": verdict.bundle,
        "web": entry.web,
        "stages_us": dict(verdict.stages_us),
        "opened_ns": entry.opened_ns,
        "captured_ns": verdict.captured_ns,
        "judged_ns": verdict.judged_ns,
        "deadline_ns": entry.deadline_ns,
    }


def keep(spec: ArchiveSpec, about: dict[str, Any], ring: FrameRing, channel: Channel) -> None:
    """Write down what is lent, until the channel ends."""
    # Here, so that the gateway, which hands `keep` out, need not load numpy.
    from kenpin.runtime.service.sides.archive_body import Archiving

    Archiving(spec, about, ring, channel).run()
