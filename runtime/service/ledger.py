"""The book of triggers: each gets exactly one final answer, the first one, by its deadline.

Pure: the time is passed in, nothing is sent. `coordinator.py` asks the ledger what
is due, `announcer.py` tells the world.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict, deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from kenpin.camera.capture import Capture
from kenpin.config.text import brief
from kenpin.runtime.judging.verdict import Outcome, Reason

__all__ = [
    "READERS",
    "UNACKED_RING",
    "Answer",
    "Ledger",
    "LedgerEntry",
    "Owner",
    "Stage",
    "TriggerConflictError",
]

# In-Sight buffers as many results for a PLC that does not acknowledge.
UNACKED_RING = 8
# Clients with verdicts that they have not acknowledged. Each connection without an id of its
# own is another client to ZeroMQ: whoever comes and goes for a year must cost no memory.
READERS = 64
_UNKNOWN = Capture()
# Triggers whose verdict can still be asked for by sending them again.
WINDOW = 1024


@dataclass(frozen=True, slots=True)
class Owner:
    """Who is owed a verdict: a client in one of its sessions."""

    client: bytes
    session: str


class TriggerConflictError(ValueError):
    """A trigger id was used again for something else."""


class Stage(Enum):
    """How far a trigger has come."""

    WAITING = auto()  # for its frame
    JUDGING = auto()  # the inspection has its frame
    FINAL = auto()


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said about a trigger, as far as the ledger cares."""

    outcome: Outcome
    reason: Reason | None
    detail: str = ""

    def __post_init__(self) -> None:
        if (self.outcome is Outcome.OK) != (self.reason is None):
            raise ValueError(f"{self.outcome.name} with reason {self.reason}: OK has none, NG one")

    @classmethod
    def ng(cls, reason: Reason, detail: str = "") -> Answer:
        """NG, and why."""
        return cls(Outcome.NG, reason, detail)


@dataclass(slots=True)
class LedgerEntry:
    """A trigger, or a frame that came without one.

    number       counts every entry of this boot from 1
    owner, trig  who triggered and the id they chose; None for a frame that came by itself
    recipe       the recipe that the trigger asked for; None: whichever is in force
    opened_ns    the trigger, or the last scan line of an untriggered frame
    deadline_ns  the answer is NG late from here on
    bundle       the bundle in force for this trigger
    frame_index  of its frame; None before there is one
    captured_ns  when its last scan line arrived; None before there is one
    frame_name, capture
                 what else is known of its frame
    seq          number of its verdict; 0 before the verdict
    sent         the verdict as it was sent
    """

    number: int
    owner: Hashable | None
    trig: str | None
    recipe: str | None
    opened_ns: int
    deadline_ns: int
    bundle: str
    frame_index: int | None = None
    captured_ns: int | None = None
    frame_name: str = ""
    capture: Capture = _UNKNOWN
    stage: Stage = Stage.WAITING
    answer: Answer | None = None
    answered_ns: int = 0
    seq: int = 0
    sent: bytes = b""


@dataclass
class _Reader:
    """What one client has been sent and has not acknowledged."""

    unacked: OrderedDict[int, LedgerEntry] = field(default_factory=OrderedDict)
    overrun: bool = False


class Ledger:
    """Entries from their trigger to their verdict, and until the verdict is acknowledged.

    resend_ns  pause before an unacknowledged verdict is sent again
    window     finished triggers that are remembered
    """

    def __init__(self, *, resend_ns: int = 20_000_000, window: int = WINDOW) -> None:
        self._resend_ns = resend_ns
        self._window = window
        self._number = 0
        self._open: dict[int, LedgerEntry] = {}
        self._by_id: dict[tuple[Hashable, str], LedgerEntry] = {}
        self._finished: deque[tuple[Hashable, str]] = deque()
        # In which session a client used an id last.
        self._used: dict[tuple[bytes, str], Owner] = {}
        self._deadlines: list[tuple[int, int]] = []
        self._resends: list[tuple[int, int, LedgerEntry]] = []
        self._readers: OrderedDict[Hashable, _Reader] = OrderedDict()
        self.last_seq = 0
        self.outcomes: Counter[Outcome] = Counter()
        self.reasons: Counter[Reason] = Counter()
        self.late_results = 0
        self.missed = 0
        self.repeated = 0
        self.resent = 0

    # -- opening ---------------------------------------------------------------------------

    def find(self, owner: Hashable, trig: str) -> LedgerEntry | None:
        """The entry under an id, as long as it is remembered."""
        return self._by_id.get((owner, trig))

    def trigger(
        self,
        owner: Hashable,
        trig: str,
        now_ns: int,
        budget_ns: int,
        bundle: str,
        recipe: str | None = None,
    ) -> tuple[LedgerEntry, bool]:
        """The entry of a trigger, and whether it is a new one.

        Raises
        ------
        TriggerConflictError
            If the id was used for another recipe.
        """
        known = self.find(owner, trig)
        if known is None:
            entry = self._new(owner, trig, recipe, now_ns, now_ns + budget_ns, bundle)
            self._by_id[owner, trig] = entry
            if isinstance(owner, Owner):
                self._used[owner.client, trig] = owner
            return entry, True
        if known.recipe != recipe:
            raise TriggerConflictError(
                f"id {brief(trig)} is taken, for recipe {known.recipe!r}, not {recipe!r}; choose "
                "a new id"
            )
        self.repeated += 1
        return known, False

    def stale(self, owner: Owner, trig: str) -> bool:
        """Whether an id is remembered from another session of the same client."""
        return self._used.get((owner.client, trig), owner) != owner

    def end(self, owner: Hashable) -> None:
        """A client's session has ended: its ids and its verdicts are nobody's any more."""
        self._readers.pop(owner, None)
        for known in [key for key in self._by_id if key[0] == owner]:
            del self._by_id[known]

    def untriggered(
        self, frame_index: int, captured_ns: int, budget_ns: int, bundle: str
    ) -> LedgerEntry:
        """The entry of a frame that came by itself: each frame started is owed a verdict."""
        entry = self._new(None, None, None, captured_ns, captured_ns + budget_ns, bundle)
        entry.frame_index, entry.captured_ns = frame_index, captured_ns
        return entry

    def _new(
        self,
        owner: Hashable | None,
        trig: str | None,
        recipe: str | None,
        opened_ns: int,
        deadline_ns: int,
        bundle: str,
    ) -> LedgerEntry:
        self._number += 1
        entry = LedgerEntry(self._number, owner, trig, recipe, opened_ns, deadline_ns, bundle)
        self._open[entry.number] = entry
        heapq.heappush(self._deadlines, (deadline_ns, entry.number))
        return entry

    # -- on the way ------------------------------------------------------------------------

    def acquired(self, number: int, frame_index: int, captured_ns: int) -> LedgerEntry | None:
        """Note the frame of a trigger; None if it has been answered, or has its frame."""
        entry = self._open.get(number)
        if entry is None or entry.frame_index is not None:
            return None
        entry.frame_index, entry.captured_ns = frame_index, captured_ns
        return entry

    def judging(self, number: int, bundle: str) -> None:
        """Note that the inspection has the frame, and which bundle will judge it."""
        entry = self._open[number]
        entry.stage, entry.bundle = Stage.JUDGING, bundle

    def entry(self, number: int) -> LedgerEntry | None:
        """An entry that has no answer yet."""
        return self._open.get(number)

    def opened(self, stage: Stage | None = None) -> list[LedgerEntry]:
        """Entries without an answer, oldest first, or those of them at one stage."""
        return [e for e in self._open.values() if stage is None or e.stage is stage]

    @property
    def open(self) -> int:
        """How many entries have no answer yet."""
        return len(self._open)

    # -- answering -------------------------------------------------------------------------

    def conclude(self, number: int, answer: Answer, now_ns: int) -> LedgerEntry | None:
        """Give an entry its final answer; None if it has one: the first one wins.

        After the deadline every answer is NG late: OK would come too late to be
        acted on, and the reason must not depend on which event was seen first.
        """
        entry = self._open.pop(number, None)
        if entry is None:
            self.late_results += 1
            return None
        if now_ns > entry.deadline_ns and answer.reason is not Reason.SHUTDOWN:
            answer = self._overdue(entry, answer)
        self.last_seq += 1
        entry.seq, entry.answer, entry.answered_ns = self.last_seq, answer, now_ns
        missed = entry.stage is Stage.WAITING
        entry.stage = Stage.FINAL
        self.outcomes[answer.outcome] += 1
        if answer.reason is not None:
            self.reasons[answer.reason] += 1
        if missed:
            self.missed += 1
        if entry.owner is not None:
            self._remember(entry)
        return entry

    @staticmethod
    def _overdue(entry: LedgerEntry, answer: Answer) -> Answer:
        # Without a frame "late" would send people to the wrong machine.
        if entry.frame_index is None and answer.reason is not None:
            return answer
        allowed = (entry.deadline_ns - entry.opened_ns) / 1e6
        return Answer.ng(Reason.LATE, f"no verdict within {allowed:.1f} ms")

    def due(self, now_ns: int) -> list[LedgerEntry]:
        """Entries whose deadline has come and that have no answer; ask until it is empty."""
        found = []
        while self._deadlines and self._deadlines[0][0] <= now_ns:
            _, number = heapq.heappop(self._deadlines)
            entry = self._open.get(number)
            if entry is not None:
                found.append(entry)
        return found

    def next_deadline_ns(self) -> int | None:
        """When the next entry falls due; None if nothing is open."""
        while self._deadlines and self._deadlines[0][1] not in self._open:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    # -- until it is acknowledged ----------------------------------------------------------

    def _remember(self, entry: LedgerEntry) -> None:
        if entry.owner is None or entry.trig is None:
            return
        self._finished.append((entry.owner, entry.trig))
        while len(self._finished) > self._window:
            self._forget(self._finished.popleft())
        if (entry.owner, entry.trig) not in self._by_id:
            return  # its session has ended meanwhile
        reader = self._readers.setdefault(entry.owner, _Reader())
        self._readers.move_to_end(entry.owner)
        if len(self._readers) > READERS:
            self._readers.popitem(last=False)
        reader.unacked[entry.seq] = entry
        if len(reader.unacked) > UNACKED_RING:
            reader.unacked.popitem(last=False)
            reader.overrun = True
        self._schedule(entry, entry.answered_ns)

    def _forget(self, known: tuple[Hashable, str]) -> None:
        self._by_id.pop(known, None)
        owner, trig = known
        if isinstance(owner, Owner) and self._used.get((owner.client, trig)) == owner:
            del self._used[owner.client, trig]

    def _schedule(self, entry: LedgerEntry, now_ns: int) -> None:
        heapq.heappush(self._resends, (now_ns + self._resend_ns, entry.seq, entry))

    def acknowledge(self, owner: Hashable, seq: int) -> bool:
        """Note that a client has a verdict; False if it was not waiting for that."""
        reader = self._readers.get(owner)
        if reader is None or reader.unacked.pop(seq, None) is None:
            return False
        if not reader.unacked:
            del self._readers[owner]
        return True

    def overrun(self, owner: Hashable) -> bool:
        """Whether a client has let more than UNACKED_RING verdicts go unacknowledged."""
        reader = self._readers.get(owner)
        return reader is not None and reader.overrun

    def unacknowledged(self, owner: Hashable) -> list[LedgerEntry]:
        """Verdicts that a client has not acknowledged, oldest first, UNACKED_RING at most."""
        reader = self._readers.get(owner)
        return list(reader.unacked.values()) if reader else []

    def resends(self, now_ns: int) -> Iterator[LedgerEntry]:
        """Verdicts to be sent again now; each comes up again until acknowledged or overdue."""
        while self._resends and self._resends[0][0] <= now_ns:
            _, seq, entry = heapq.heappop(self._resends)
            reader = self._readers.get(entry.owner)
            if reader is None or seq not in reader.unacked:
                continue
            # After the deadline nobody may act on it; the client can still ask for it.
            if now_ns <= entry.deadline_ns:
                self.resent += 1
                self._schedule(entry, now_ns)
                yield entry

    def next_resend_ns(self) -> int | None:
        """When something may have to be sent again; None if nothing has."""
        return self._resends[0][0] if self._resends else None
