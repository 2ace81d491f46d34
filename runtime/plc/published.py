"""What everybody hears: verdicts, states and heartbeats of one boot. No socket, no clock."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any

from kenpin.runtime.plc.book import Book, Promise
from kenpin.runtime.plc.clocks import Clocks
from kenpin.runtime.plc.limits import BEAT_NS, PlcLimits
from kenpin.runtime.wire.verdict_messages import State

__all__ = ["WELL", "Bundles", "Numbers", "Pulse"]

# States in which a line inspects.
WELL = frozenset({State.READY, State.SINGLE, State.CONTINUOUS})
_MS = 1_000_000
_REMEMBERED = 2048
_BUNDLES_KEPT = 64
# The gateway tells of a new bundle at the end of the turn in which it came into force.
_TURN_NS = 100 * _MS


class Numbers:
    """Verdicts are numbered 1, 2, 3, … in each boot; a gap is a lost one.

    numbered    the key of that number; a bridge that shows only our own has one of its own
    history_ns  a missing one may still come so much later, as history
    """

    def __init__(self, book: Book, numbered: str = "seq", history_ns: int = 0) -> None:
        self._book = book
        self._numbered = numbered
        self._history_ns = history_ns
        self._next: int | None = None
        # Missing numbers, in the order of their being missed: until when each may come.
        self._owed: OrderedDict[int, int] = OrderedDict()
        self._frames: OrderedDict[int, int] = OrderedDict()

    def restart(self, seq: int | None) -> None:
        """Another boot, whose next verdict is `seq`; None: the first message will say."""
        self._next = seq
        self._frames.clear()
        self._owed.clear()

    def verdict(self, fields: Mapping[str, Any], at_ns: int) -> bool:
        """A published verdict; whether it is a new one."""
        seq, expected = fields[self._numbered], self._next
        if expected is not None and seq < expected:
            self._book.check(Promise.ONCE, False, at_ns, f"verdict {seq} was published twice")
            return False
        if expected is not None:
            self._come(seq, at_ns, f"verdicts {expected} to {seq - 1} are missing")
        self._next = seq + 1
        # A trigger that never got a frame bears the number 0.
        if fields["score"] is not None:
            frame = fields["frame"]
            before = self._frames.setdefault(frame, seq)
            self._book.check(
                Promise.ONCE,
                before == seq,
                at_ns,
                f"frame {frame} was judged twice, as {before} and as {seq}",
            )
            if len(self._frames) > _REMEMBERED:
                self._frames.popitem(last=False)
        return True

    def last(self, last_seq: int, at_ns: int, who: str) -> None:
        """A state or a heartbeat says how many there were."""
        if self._next is None:
            self._next = last_seq + 1
        detail = f"{who} speaks of {last_seq} verdicts, {self._next - 1} came"
        if last_seq < self._next - 1:
            self._book.check(Promise.SEQUENCE, False, at_ns, detail)
        else:
            self._come(last_seq + 1, at_ns, detail)
            self._next = last_seq + 1

    def history(self, fields: Mapping[str, Any], at_ns: int) -> None:
        """A verdict that was held up on its way: for books, and not lost."""
        seq = fields[self._numbered]
        if self._next is not None and seq >= self._next:
            self._come(seq, at_ns, f"verdicts {self._next} to {seq - 1} are missing")
            self._next = seq + 1
        self._owed.pop(seq, None)

    def tick(self, now_ns: int) -> None:
        """Look for what should have come by now."""
        while self._owed and next(iter(self._owed.values())) < now_ns:
            seq, _ = self._owed.popitem(last=False)
            self._book.check(Promise.SEQUENCE, False, now_ns, f"verdict {seq} never came")

    def finish(self, now_ns: int) -> None:
        """Nothing more will come."""
        self.tick(now_ns + self._history_ns + 1)

    def _come(self, seq: int, at_ns: int, detail: str) -> None:
        """All below that number should have come."""
        expected = self._next
        assert expected is not None
        self._book.check(Promise.SEQUENCE, seq == expected or self._history_ns > 0, at_ns, detail)
        if self._history_ns:
            self._owed |= dict.fromkeys(range(expected, seq), at_ns + self._history_ns)


class Pulse:
    """Heartbeats, and the state that they must agree with."""

    def __init__(self, book: Book, clocks: Clocks, limits: PlcLimits, now_ns: int) -> None:
        self._book = book
        self._clocks = clocks
        self._limits = limits
        self._last_ns = now_ns
        self._number: int | None = None
        self._silent = False
        self.state: str = ""
        self.beats = 0

    def restart(self, now_ns: int, *, forget_state: bool = True) -> None:
        """Another boot, or we were away."""
        self._number, self._last_ns, self._silent = None, now_ns, False
        if forget_state:
            self.state = ""

    def note(self, state: str, at_ns: int) -> None:
        """A published state."""
        if state != self.state and state in WELL and self.state not in WELL:
            self._last_ns = at_ns  # it owes heartbeats from now on
        self.state = state

    def beat(self, fields: Mapping[str, Any], at_ns: int) -> None:
        """A heartbeat."""
        number = fields.get("hb_seq", 0)
        if self._number is not None:
            most = self._limits.beats_a_look
            if most > 1:  # a look of ours that came late must not be taken for a lost heartbeat
                most += self._clocks.napped_ns(self._last_ns, at_ns) // BEAT_NS
            self._book.check(
                Promise.SEQUENCE,
                0 < number - self._number <= most,
                at_ns,
                f"heartbeat {number} after {self._number}",
            )
        self._number = number
        if self.state:
            self._book.check(
                Promise.HEARTBEAT,
                fields.get("state") == self.state,
                at_ns,
                f"a heartbeat says {fields.get('state')}, the state is {self.state}",
            )
        self._last_ns, self._silent = at_ns, False
        self.beats += 1

    def tick(self, now_ns: int) -> None:
        """Three missed: the inspection may be dead. A line that says so has kept its promise."""
        if self.state not in WELL or self._silent:
            return
        silent_ns = now_ns - self._last_ns
        if silent_ns > 3 * BEAT_NS + self._limits.slack_ns:
            self._silent = True
            self._book.check(
                Promise.HEARTBEAT,
                False,
                now_ns,
                f"no heartbeat for {silent_ns / _MS:.0f} ms while the line says {self.state}",
            )


class Bundles:
    """Which bundle may have judged when, by the line's own clock.

    A verdict may name a bundle of which no state has told yet: it is kept until
    one does.
    """

    def __init__(self, book: Book, limits: PlcLimits) -> None:
        self._book = book
        self._limits = limits
        self._noted: list[tuple[int, str]] = []
        self._early: deque[tuple[int, Mapping[str, Any]]] = deque()

    def restart(self) -> None:
        """Another boot."""
        self._noted.clear()
        self._early.clear()

    @property
    def now(self) -> str:
        """The bundle in force, as last told."""
        return self._noted[-1][1] if self._noted else ""

    def note(self, fields: Mapping[str, Any]) -> None:
        """A state, told to us or to all."""
        at_ns, label = fields["t_mono_ns"], fields["bundle"]
        if label and label != self.now and (not self._noted or at_ns >= self._noted[-1][0]):
            self._noted.append((at_ns, label))
            del self._noted[:-_BUNDLES_KEPT]

    def verdict(self, fields: Mapping[str, Any], at_ns: int) -> None:
        """A verdict; one without a score was not given by any bundle."""
        if fields["score"] is None or not self._noted:
            return
        if self._fits(fields):
            self._book.check(Promise.BUNDLE, True, at_ns, "")
        else:
            self._early.append((at_ns, fields))

    def _fits(self, fields: Mapping[str, Any]) -> bool:
        taken_ns, spoke_ns, label = fields["t_acq_ns"], fields["t_mono_ns"], fields["bundle"]
        for number, (from_ns, noted) in enumerate(self._noted):
            following = self._noted[number + 1 : number + 2]
            until_ns = following[0][0] if following else spoke_ns
            # The first one told was in force for we do not know how long.
            begun = number == 0 or spoke_ns >= from_ns - _TURN_NS
            if noted == label and begun and taken_ns <= until_ns:
                return True
        return False

    def tick(self, now_ns: int) -> None:
        """Nobody has told of that bundle in time."""
        while self._early and now_ns - self._early[0][0] > self._limits.grace_ns / 2:
            at_ns, fields = self._early.popleft()
            self._book.check(
                Promise.BUNDLE,
                self._fits(fields),
                at_ns,
                f"verdict {fields['seq']} is by {fields['bundle']}, in force was {self.now}",
            )

    def finish(self, now_ns: int) -> None:
        """No more states will come."""
        self.tick(now_ns + self._limits.grace_ns)


def age(
    book: Book, clocks: Clocks, limits: PlcLimits, fields: Mapping[str, Any], at_ns: int
) -> None:
    """Check that a published message is new."""
    made_ns = fields.get("t_mono_ns")
    if not isinstance(made_ns, int):
        return
    old_ns = clocks.age_ns(made_ns, at_ns)
    fresh = old_ns <= limits.stale_ns
    if fresh or old_ns - clocks.napped_ns(round(at_ns - old_ns), at_ns) > limits.stale_ns:
        detail = f"a {fields.get('type')} is {old_ns / _MS:.0f} ms old"
        book.check(Promise.FRESH, fresh, at_ns, detail)
