"""The last verdicts that a PLC has not acknowledged, as every bridge keeps them. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Kept", "Results", "act_until_ns", "defects_found"]

# As the line's own, runtime/service/ledger.py: more are not sent again by it either.
_KEPT = 8
# Verdicts that may still come again and must be known for old.
_REMEMBERED = 1024
_MS = 1_000_000


@dataclass(slots=True)
class Kept:
    """One result.

    number        in the bridge; the next one's is another
    verdict       as the line told it
    until_ns      nothing may act on it later, by the box's monotonic clock
    acknowledged  the PLC has taken it
    """

    number: int
    verdict: Mapping[str, Any]
    until_ns: int
    acknowledged: bool = False


@dataclass(slots=True)
class Results:
    """At most eight that wait to be acknowledged; with one more the oldest is given up.

    following  the number after a number; the first comes after 0
    newest     the last one's number
    overrun    one was given up since the others were last all acknowledged
    """

    following: Callable[[int], int]
    newest: int = 0
    overrun: bool = False
    _kept: OrderedDict[int, Kept] = field(default_factory=OrderedDict)
    _known: OrderedDict[int, int] = field(default_factory=OrderedDict)

    def add(self, verdict: Mapping[str, Any], until_ns: int) -> Kept | None:
        """Keep a verdict; None if it is known already."""
        seq = verdict["seq"]
        if seq in self._known:
            return None
        self.newest = self.following(self.newest)
        kept = Kept(self.newest, verdict, until_ns)
        self._kept[kept.number] = kept
        self._known[seq] = kept.number
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        self._give_up(kept.number)
        return kept

    def _give_up(self, newest: int) -> None:
        """The oldest, until no other has the newest's place: numbers wrap where places do not."""
        place = (newest - 1) % _KEPT
        while any(n != newest and (n - 1) % _KEPT == place for n in self._kept):
            _, lost = self._kept.popitem(last=False)
            self.overrun |= not lost.acknowledged

    def acknowledge(self, number: int) -> Kept | None:
        """The PLC has taken one; None if it is not waiting."""
        kept = self._kept.get(number)
        if kept is None or kept.acknowledged:
            return None
        kept.acknowledged = True
        if not self.waiting:
            self.overrun = False
        return kept

    def taken(self, seq: int) -> bool:
        """Whether a verdict that comes once more has been acknowledged, or given up."""
        number = self._known.get(seq)
        kept = None if number is None else self._kept.get(number)
        return number is not None and (kept is None or kept.acknowledged)

    @property
    def kept(self) -> list[Kept]:
        """The last eight, acknowledged ones too, oldest first."""
        return list(self._kept.values())

    @property
    def waiting(self) -> list[Kept]:
        """Those that are not acknowledged, oldest first."""
        return [kept for kept in self._kept.values() if not kept.acknowledged]

    def forget(self) -> None:
        """Another session, or another boot of the line: nothing of before is anybody's."""
        self._kept.clear()
        self._known.clear()
        self.overrun = False


def defects_found(verdict: Mapping[str, Any]) -> int:
    """How many defects a line's message tells of, on a part or on a web's lines."""
    web = verdict.get("web")
    return int(web["n_defects"] if web else verdict.get("n_defects", 0))


def act_until_ns(verdict: Mapping[str, Any], deadline_ns: int | None, hold_ms: float) -> int:
    """When a verdict is too old to act on, by the box's monotonic clock.

    deadline_ns  as in TRIGGER_ACK; where nobody triggered, or it is not known any more, the
                 verdict's own time stands for it, which is never later
    hold_ms      what a PLC that polls is given on top
    """
    begun_ns: int = verdict["t_mono_ns"] if deadline_ns is None else deadline_ns
    return begun_ns + round(hold_ms * _MS)
