"""The dialogue about each part, from TRIGGER to ACK. No socket, no clock."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kenpin.runtime.judging.verdict import Outcome
from kenpin.runtime.plc.book import Book, Promise
from kenpin.runtime.plc.clocks import Clocks
from kenpin.runtime.plc.histogram import Histogram
from kenpin.runtime.plc.limits import PlcLimits

__all__ = ["Part", "PartBook", "difference"]

_MS = 1_000_000
# As the line's own, runtime/service/ledger.py: what its protocol promises to keep.
_RING = 8
_REMEMBERED = 4096


@dataclass(slots=True)
class Part:
    """One part under inspection; times by our clock.

    budget_ns   as the line said in its TRIGGER_ACK
    excused     we were away: nothing can be said about its time
    verdict     the first one heard
    acked_ns    when we acknowledged it
    again_ns    when we last asked for the verdict again
    """

    trig: str
    sent_ns: int
    budget_ns: int
    excused: bool = False
    acknowledged: bool = False
    acquired: int | None = None
    verdict: Mapping[str, Any] | None = None
    heard_ns: int = 0
    resent: int = 0
    acked_ns: int | None = None
    again_ns: int | None = None


class PartBook:
    """What we triggered, and whether the line deals with it as it promised.

    prefix   every id of ours begins with it, so that nobody else's is taken for ours
    session  that our verdicts must name
    """

    def __init__(
        self, book: Book, clocks: Clocks, limits: PlcLimits, prefix: str, session: str
    ) -> None:
        self._book = book
        self._clocks = clocks
        self._limits = limits
        self._prefix = prefix
        self._session = session
        self._parts: OrderedDict[str, Part] = OrderedDict()
        self._open: dict[str, Part] = {}
        self._unsettled: dict[str, Part] = {}
        self._ring: OrderedDict[int, None] = OrderedDict()
        self._overrun: bool | None = False
        self._back_ns: int | None = None
        self._asked: tuple[str, bool | None, int] | None = None
        self.latency = Histogram()
        self.sent = self.repeated = self.resent = self.refusals = 0

    # -- what we do ------------------------------------------------------------------------

    @property
    def open(self) -> list[Part]:
        """PartBook without a verdict, oldest first."""
        return list(self._open.values())

    def __getitem__(self, trig: str) -> Part:
        return self._parts[trig]

    def triggered(self, trig: str, now_ns: int, *, repeated: bool = False) -> None:
        """We sent a TRIGGER, for the first time or once more."""
        self._asked = trig, self._overrun, len(self._open)
        if repeated:
            self.repeated += 1
            self._parts[trig].again_ns = now_ns
            return
        self.sent += 1
        part = Part(trig, now_ns, self._limits.budget_ns)
        self._parts[trig] = self._open[trig] = self._unsettled[trig] = part
        if len(self._parts) > _REMEMBERED:
            self._parts.popitem(last=False)

    def acknowledged(self, trig: str, now_ns: int) -> None:
        """We sent an ACK."""
        part = self._parts[trig]
        assert part.verdict is not None
        part.acked_ns = now_ns
        self._ring.pop(part.verdict["seq"], None)
        if not self._ring and self._overrun:
            self._overrun = False

    def away(self, now_ns: int) -> None:
        """We vanished and came back: what is open is late through our own fault."""
        self._back_ns = now_ns
        # Verdicts sent meanwhile may or may not have reached us; the line counts them.
        self.deafened()

    def deafened(self) -> None:
        """The line listens to no ACK for a while: what is open is sent again, by our own fault."""
        for part in self._unsettled.values():
            part.excused = True
        self._overrun = None
        self._ring.clear()

    def restarted(self) -> None:
        """Another boot: it knows nothing of what was not acknowledged."""
        self._ring.clear()
        self._overrun = False

    # -- what the line says ----------------------------------------------------------------

    def ack(self, fields: Mapping[str, Any], at_ns: int) -> None:
        """TRIGGER_ACK."""
        part = self._ours(fields, at_ns)
        if part is None:
            return
        fresh, first = fields.get("fresh") is True, not part.acknowledged
        self._book.check(
            Promise.ONCE,
            fresh == first or part.excused,
            at_ns,
            f"{part.trig}: taken for a {'new' if fresh else 'known'} part, "
            f"it was sent {'for the first time' if first else 'before'}",
        )
        if first:
            self._book.check(
                Promise.ORDER,
                part.verdict is None or part.excused,
                at_ns,
                f"{part.trig}: judged before its ack",
            )
            budget_ns = fields.get("deadline_ns", 0) - fields.get("t_mono_ns", 0)
            self._book.check(
                Promise.IN_TIME,
                part.excused or 0 < budget_ns <= part.budget_ns,
                at_ns,
                f"{part.trig}: the line takes {budget_ns / _MS:.1f} ms, "
                f"allowed are {part.budget_ns / _MS:.1f}",
            )
            part.acknowledged, part.budget_ns = True, min(part.budget_ns, max(1, budget_ns))
        self._compare_overrun(part, fields.get("overrun") is True, at_ns)

    def _compare_overrun(self, part: Part, reported: bool, at_ns: int) -> None:
        asked, self._asked = self._asked, None
        if asked is None or asked[0] != part.trig or asked[1] is None or asked[2]:
            return  # verdicts were under way: the line may have counted one more
        self._book.check(
            Promise.OVERRUN,
            reported == asked[1],
            at_ns,
            f"{part.trig}: overrun {reported}, {len(self._ring)} verdicts were unacknowledged",
        )

    def refused(self, fields: Mapping[str, Any], at_ns: int) -> None:
        """ERROR: nobody listens to us. If it names a part, that is the answer to it."""
        if fields.get("trig") is None:
            return
        part = self._ours(fields, at_ns)
        if part is None or part.acknowledged or part.trig not in self._open:
            return
        del self._open[part.trig]
        self._unsettled.pop(part.trig, None)
        part.excused = True
        self.refusals += 1
        self._book.check(Promise.ANSWER, True, at_ns, "")

    def acquired(self, fields: Mapping[str, Any], at_ns: int) -> None:
        """ACQUIRED."""
        part = self._ours(fields, at_ns)
        if part is None or part.excused:
            return
        in_order = part.acknowledged and part.verdict is None and part.acquired is None
        self._book.check(
            Promise.ORDER,
            in_order,
            at_ns,
            f"{part.trig}: acquired {'before its ack' if not part.acknowledged else 'too late'}",
        )
        part.acquired = fields.get("frame")

    def verdict(self, fields: Mapping[str, Any], at_ns: int) -> Part | None:
        """VERDICT, said to us: the part if this is its first, None if it is not."""
        part = self._ours(fields, at_ns)
        if part is None:
            return None
        if part.verdict is not None:
            self._again(part, fields, at_ns)
            return None
        named = fields.get("session")
        self._book.check(
            Promise.OURS,
            named == self._session,
            at_ns,
            f"{part.trig}: a verdict of session {named!r}, ours is {self._session!r}",
        )
        part.verdict, part.heard_ns = fields, at_ns
        self._open.pop(part.trig, None)
        self._hold(fields["seq"])
        check = self._book.check
        check(Promise.ANSWER, True, at_ns, "")
        if not part.excused:
            check(
                Promise.ORDER,
                part.acknowledged and (part.acquired is not None or fields["score"] is None),
                at_ns,
                f"{part.trig}: judged, but never acknowledged and acquired",
            )
        if part.acquired is not None:
            check(
                Promise.OURS,
                part.acquired == fields["frame"],
                at_ns,
                f"{part.trig}: frame {part.acquired} was acquired, {fields['frame']} was judged",
            )
        self._time(part, fields, at_ns)
        return part

    def _time(self, part: Part, fields: Mapping[str, Any], at_ns: int) -> None:
        if part.excused:
            return
        spent_ns = at_ns - part.sent_ns
        limit_ns = part.budget_ns + self._limits.slack_ns
        self.latency.add(spent_ns / _MS)
        if not self._clocks.could_look(part.sent_ns, at_ns):
            # We overslept. The line's own clock says when it spoke.
            spent_ns = round(self._clocks.ours_ns(fields["t_mono_ns"])) - part.sent_ns
        outcome = "NG" if fields["verdict"] == Outcome.NG else "OK"
        self._book.check(
            Promise.IN_TIME,
            spent_ns <= limit_ns,
            at_ns,
            f"{part.trig}: {outcome} after {spent_ns / _MS:.1f} ms, "
            f"allowed are {part.budget_ns / _MS:.1f} + {self._limits.slack_ns / _MS:.1f}",
        )

    def _again(self, part: Part, fields: Mapping[str, Any], at_ns: int) -> None:
        assert part.verdict is not None
        part.resent += 1
        self.resent += 1
        check, slack_ns = self._book.check, self._limits.resend_slack_ns
        if fields["seq"] != part.verdict["seq"]:
            check(
                Promise.ONCE,
                False,
                at_ns,
                f"{part.trig}: judged as {part.verdict['seq']} and again as {fields['seq']}",
            )
            return
        asked = part.again_ns is not None and at_ns - part.again_ns < slack_ns
        # Our HELLO after we were away asks for all that we have not acknowledged.
        greeted = self._back_ns is not None and at_ns - self._back_ns < self._limits.grace_ns
        if asked or greeted or part.excused:
            return
        ends_ns = part.sent_ns + part.budget_ns
        if part.acked_ns is not None:
            ends_ns = min(ends_ns, part.acked_ns)
        kept = at_ns <= ends_ns + slack_ns
        if not kept and at_ns - self._clocks.napped_ns(ends_ns, at_ns) <= ends_ns + slack_ns:
            return
        check(
            Promise.RESENT,
            kept,
            at_ns,
            f"{part.trig}: sent again {(at_ns - ends_ns) / _MS:.0f} ms after "
            f"{'its deadline' if part.acked_ns is None else 'it was acknowledged'}",
        )

    def _hold(self, seq: int) -> None:
        """The line's ring of unacknowledged verdicts, as it must look."""
        self._ring[seq] = None
        if len(self._ring) > _RING:
            self._ring.popitem(last=False)
            if self._overrun is not None:
                self._overrun = True

    def check_ours(self, fields: Mapping[str, Any], at_ns: int) -> None:
        """A published verdict claims to be about one of our parts."""
        self._ours(fields, at_ns)

    def _ours(self, fields: Mapping[str, Any], at_ns: int) -> Part | None:
        trig = fields.get("trig")
        part = self._parts.get(trig) if isinstance(trig, str) else None
        known = part is not None or self._forgotten(trig)
        self._book.check(
            Promise.OURS, known, at_ns, f"{fields.get('type')} of {trig!r}, which was never sent"
        )
        return part

    def _forgotten(self, trig: object) -> bool:
        """Whether it may be one of ours that we no longer remember."""
        return self.sent > _REMEMBERED and isinstance(trig, str) and trig.startswith(self._prefix)

    # -- time ------------------------------------------------------------------------------

    def tick(self, now_ns: int) -> None:
        """Look for what should have come by now."""
        for part in list(self._unsettled.values()):
            self._settle(part, now_ns)

    def given_up_ns(self, part: Part) -> int:
        """When we no longer wait for its verdict."""
        # A trigger that nobody takes is known for lost long before its deadline.
        budget_ns = part.budget_ns if part.acknowledged else 0
        return part.sent_ns + budget_ns + self._limits.slack_ns + self._limits.grace_ns

    def _settle(self, part: Part, now_ns: int) -> None:
        limits, check = self._limits, self._book.check
        if part.verdict is None:
            if now_ns > self.given_up_ns(part) and not part.excused:
                part.excused = True  # told once
                what = "no verdict" if part.acknowledged else "neither acknowledged nor judged"
                waited = (now_ns - part.sent_ns) / _MS
                check(Promise.ANSWER, False, now_ns, f"{part.trig}: {what} in {waited:.0f} ms")
            return
        over_ns = part.sent_ns + part.budget_ns + limits.slack_ns
        if part.acked_ns is None and now_ns <= over_ns:
            return
        del self._unsettled[part.trig]
        # How long the line had to send it again before its deadline or our ACK.
        until_ns = min(part.acked_ns or over_ns, part.sent_ns + part.budget_ns)
        if until_ns - part.heard_ns > limits.resend_slack_ns and not part.excused:
            check(
                Promise.RESENT,
                part.resent > 0,
                now_ns,
                f"{part.trig}: not acknowledged for {(until_ns - part.heard_ns) / _MS:.0f} ms, "
                "and not sent again",
            )

    def finish(self, now_ns: int) -> None:
        """Nothing more will come: whatever is open now was not answered."""
        for part in self._open.values():
            if not part.excused:
                waited = (now_ns - part.sent_ns) / _MS
                self._book.check(
                    Promise.ANSWER, False, now_ns, f"{part.trig}: no verdict in {waited:.0f} ms"
                )


# Fields of a changed verdict that a breach shows.
_MOST_CHANGES = 3


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What changed in a verdict that must not."""
    keys = [k for k in {**before, **after} if before.get(k) != after.get(k)]
    changes = ", ".join(f"{k} {before.get(k)!r} -> {after.get(k)!r}" for k in keys[:_MOST_CHANGES])
    return f"verdict {before.get('seq')} changed: {changes}"
