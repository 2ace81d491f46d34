"""What a line promises, as far as its clients can see, and the book of promises kept and broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from kenpin.config.text import shorten

__all__ = ["SENTENCES", "Book", "Breach", "Promise"]

# More would only scroll away what came first.
_DETAIL_CHARS = 300
_BREACHES_KEPT = 1000


class Promise(StrEnum):
    """One check each; the words are those of the table and of `--json`."""

    ANSWER = "answer"
    IN_TIME = "in_time"
    ONCE = "once"
    ORDER = "order"
    OURS = "ours"
    SAME = "same"
    PROVEN = "proven"
    RESENT = "resent"
    OVERRUN = "overrun"
    SEQUENCE = "sequence"
    FRESH = "fresh"
    BUNDLE = "bundle"
    HEARTBEAT = "heartbeat"


# What each promise says, for people.
SENTENCES: Mapping[Promise, str] = {
    Promise.ANSWER: "every trigger is acknowledged and gets a verdict, or an error says why not",
    Promise.IN_TIME: "the verdict comes by its deadline",
    Promise.ONCE: "one part, one frame, one verdict",
    Promise.ORDER: "acknowledged, acquired, judged: in this order",
    Promise.OURS: "a verdict is about a part that was triggered, on this line",
    Promise.SAME: "a verdict never changes, whoever hears it and how often",
    Promise.PROVEN: "every message keeps its schema, and OK is proven",
    Promise.RESENT: "sent again until acknowledged or overdue, and no longer",
    Promise.OVERRUN: "more than 8 unacknowledged verdicts are told, fewer are not",
    Promise.SEQUENCE: "verdicts and heartbeats are numbered without gaps",
    Promise.FRESH: "what is published is new",
    Promise.BUNDLE: "the bundle in force has judged",
    Promise.HEARTBEAT: "a line that is well gives a sign of life every 100 ms",
}


@dataclass(frozen=True, slots=True)
class Breach:
    """A promise that was broken: when, by our monotonic clock, and how."""

    promise: Promise
    at_ns: int
    detail: str


class Book:
    """Checks made and promises broken."""

    def __init__(self) -> None:
        self.checks: Counter[Promise] = Counter()
        self.broken: Counter[Promise] = Counter()
        self.breaches: list[Breach] = []

    def check(self, promise: Promise, kept: bool, at_ns: int, detail: str) -> bool:
        """Note one check, and its breach unless the promise was kept."""
        self.checks[promise] += 1
        if not kept:
            self.broken[promise] += 1
            if len(self.breaches) < _BREACHES_KEPT:
                self.breaches.append(Breach(promise, at_ns, shorten(detail, _DETAIL_CHARS)))
        return kept

    @property
    def clean(self) -> bool:
        """Whether every promise was kept."""
        return not self.broken
