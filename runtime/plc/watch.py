"""Every message of the line, brought to whoever checks it. No socket; times are passed in."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Any

from kenpin.runtime.bridges.process import HISTORY
from kenpin.runtime.plc.book import Book, Promise
from kenpin.runtime.plc.clocks import Clocks
from kenpin.runtime.plc.histogram import Histogram
from kenpin.runtime.plc.limits import PlcLimits
from kenpin.runtime.plc.parts import Part, PartBook, difference
from kenpin.runtime.plc.published import Bundles, Numbers, Pulse, age
from kenpin.runtime.wire.client import Heard

__all__ = ["Watch"]

_MS = 1_000_000
_REMEMBERED = 2048


class Watch:
    """Looks at a line from outside.

    limits   what is forgiven
    prefix   our trigger ids begin with it
    session  that they count in
    numbered
             the key by which what is published is counted
    """

    def __init__(
        self,
        limits: PlcLimits,
        prefix: str,
        now_ns: int,
        *,
        session: str,
        numbered: str = "seq",
    ) -> None:
        self._numbered = numbered
        self.limits = limits
        self.book = Book()
        self.clocks = Clocks()
        self.parts = PartBook(self.book, self.clocks, limits, prefix, session)
        self.numbers = Numbers(self.book, numbered, limits.history_ns)
        self.pulse = Pulse(self.book, self.clocks, limits, now_ns)
        self.bundles = Bundles(self.book, limits)
        self.reasons: Counter[str] = Counter()
        self.stages: dict[str, Histogram] = {}
        # From a frame's last scan line until its verdict is here.
        self.latency = Histogram()
        self.verdicts = self.restarts = self.errors = self.late_results = self.history = 0
        self.error = ""
        # Until when the line does not listen to us, through our own fault.
        self.deaf_until_ns = 0
        # How far a change of the bundle that we asked for has come, and why no further.
        self.change: tuple[str, str] = ("", "")
        self.alarms: dict[str, str] = {}
        self.last: Mapping[str, Any] | None = None
        self.sim = False
        self._prefix = prefix
        self._boot = ""
        self._line: tuple[Any, Any] | None = None
        self._seen: OrderedDict[int, Mapping[str, Any]] = OrderedDict()

    def heard(self, heard: Heard) -> Part | None:
        """Check one message; the part, if it is the first verdict on one of ours."""
        fields, at_ns = heard.fields, heard.at_ns
        self._whose(fields, at_ns)
        if heard.topic:
            self._published(heard.kind, fields, at_ns)
            return None
        return self._note(heard.kind, fields, at_ns)

    def _whose(self, fields: Mapping[str, Any], at_ns: int) -> None:
        boot = fields.get("boot")
        if boot is None:
            return
        if boot != self._boot:
            if self._boot:
                self.restarts += 1
                self.parts.restarted()
                self.numbers.restart(None)
                self.pulse.restart(at_ns)
                self.bundles.restart()
                self.clocks.restart()
                self._seen.clear()
            self._boot = boot
        line = fields.get("box"), fields.get("line")
        self._line = self._line or line
        self.book.check(Promise.OURS, line == self._line, at_ns, f"a message of {line} came")

    def _note(self, kind: str, fields: Mapping[str, Any], at_ns: int) -> Part | None:
        if kind == "verdict":
            self._same(fields, at_ns)
            part = self.parts.verdict(fields, at_ns)
            if part is not None:
                self.clocks.age_ns(fields["t_mono_ns"], at_ns)
                self._proven(fields, at_ns)
                self.bundles.verdict(fields, at_ns)
                self._count(fields)
            return part
        if kind == "trigger_ack":
            self.clocks.age_ns(fields["t_mono_ns"], at_ns)
            self.parts.ack(fields, at_ns)
        elif kind == "acquired":
            self.parts.acquired(fields, at_ns)
        elif kind == "state":
            self.bundles.note(fields)
        elif kind in ("preparing", "prepared", "active", "failed"):
            self.change = kind, fields.get("detail", "")
            if kind == "active":
                self.bundles.note(fields)
        elif kind == "error":
            self.errors += 1
            self.error = str(fields.get("detail", ""))
            if fields.get("reason") == "paused":
                self.deaf_until_ns = at_ns + fields.get("pause_ms", 0) * _MS
                self.parts.refused(fields, at_ns)
        return None

    def _published(self, kind: str, fields: Mapping[str, Any], at_ns: int) -> None:
        if kind == HISTORY:
            self._same(fields, at_ns)
            self.numbers.history(fields, at_ns)
            self.history += 1
            return
        # An open alarm is told again to whoever joins, with the time at which it began.
        if kind != "alarm":
            age(self.book, self.clocks, self.limits, fields, at_ns)
        if kind == "verdict":
            self._same(fields, at_ns)
            if self.numbers.verdict(fields, at_ns):
                self.verdicts += 1
                self._proven(fields, at_ns)
                self.bundles.verdict(fields, at_ns)
                self._whole(fields, at_ns)
        elif kind == "state":
            # Somebody's joining makes the line say it again: only what is new counts.
            self.numbers.last(fields["last_seq"], at_ns, "a state")
            self.pulse.note(fields["state"], at_ns)
            self.bundles.note(fields)
            self.sim = fields["sim"]
        elif kind == "hb":
            self.numbers.last(fields["last_seq"], at_ns, "a heartbeat")
            self.pulse.beat(fields, at_ns)
        elif kind == "alarm":
            self.alarms[fields["source"]] = fields["detail"]
        elif kind == "late":
            self.late_results += 1

    def _whole(self, fields: Mapping[str, Any], at_ns: int) -> None:
        """A verdict that all heard: is it about one of our parts, or about a free frame?"""
        trig = fields["trig"]
        if trig is None:
            self.latency.add((at_ns - self.clocks.ours_ns(fields["t_acq_ns"])) / _MS)
            self._free_in_time(fields, at_ns)
            self._count(fields)
        elif trig.startswith(self._prefix):
            self.parts.check_ours(fields, at_ns)

    def _free_in_time(self, fields: Mapping[str, Any], at_ns: int) -> None:
        allowed_us = fields["deadline_us"]
        if allowed_us is None:
            return
        spent_us = (fields["t_mono_ns"] - fields["t_acq_ns"]) / 1000
        self.book.check(
            Promise.IN_TIME,
            spent_us <= allowed_us + self.limits.slack_ns / 1000,
            at_ns,
            f"frame {fields['frame']}: judged {spent_us / 1000:.1f} ms after its last line, "
            f"allowed are {allowed_us / 1000:.1f}",
        )

    def directly(self, fields: Mapping[str, Any], at_ns: int) -> None:
        """What the line itself published of a verdict, in the words of the bridge before us."""
        if fields["boot"] == self._boot:
            self._same(fields, at_ns)

    def _same(self, fields: Mapping[str, Any], at_ns: int) -> None:
        """One number, one verdict, wherever it is heard."""
        if self._numbered != "seq":
            # The number in the bridge is the bridge's affair.
            fields = {key: value for key, value in fields.items() if key != self._numbered}
        before = self._seen.setdefault(fields["seq"], fields)
        if before is not fields:
            same = fields == before
            self.book.check(Promise.SAME, same, at_ns, "" if same else difference(before, fields))
        elif len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def _proven(self, fields: Mapping[str, Any], at_ns: int) -> None:
        """What the schema cannot say: an OK comes in time by the line's own account."""
        allowed_us, total_us = fields["deadline_us"], fields["lat_us"].get("total", 0)
        self.book.check(
            Promise.PROVEN,
            fields["verdict"] != 1 or allowed_us is None or total_us <= allowed_us,
            at_ns,
            f"verdict {fields['seq']}: OK after {total_us / 1000:.1f} ms, "
            f"allowed are {(allowed_us or 0) / 1000:.1f}",
        )

    def _count(self, fields: Mapping[str, Any]) -> None:
        self.reasons[fields["reason"] or "ok"] += 1
        self.last = fields
        for stage, us in fields["lat_us"].items():
            self.stages.setdefault(stage, Histogram()).add(us / 1000)

    def unreadable(self, why: str, at_ns: int) -> None:
        """A message came that breaks the protocol."""
        self.book.check(Promise.PROVEN, False, at_ns, why)

    def away(self, now_ns: int) -> None:
        """We were away, by our own will: what was published meanwhile is nobody's fault."""
        self.parts.away(now_ns)
        self.numbers.restart(None)
        self.pulse.restart(now_ns)

    def paused(self, until_ns: int) -> None:
        """We said so much rubbish that the line listens no more; it will say how long."""
        self.deaf_until_ns = until_ns
        self.parts.deafened()

    def tick(self, now_ns: int) -> None:
        """Look for what should have come by now. Whatever has come must have been read before."""
        self.parts.tick(now_ns)
        self.numbers.tick(now_ns)
        self.pulse.tick(now_ns)
        self.bundles.tick(now_ns)

    def finish(self, now_ns: int) -> None:
        """Nothing more will come."""
        self.parts.finish(now_ns)
        self.numbers.finish(now_ns)
        self.bundles.finish(now_ns)
