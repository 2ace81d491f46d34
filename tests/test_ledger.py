"""The ledger against a plain model of itself: one final answer each, whatever the order."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kenpin.runtime.judging.verdict import Outcome, Reason
from kenpin.runtime.service.ledger import (
    READERS,
    UNACKED_RING,
    Answer,
    Ledger,
    Stage,
    TriggerConflictError,
)

MS = 1_000_000
OK = Answer(Outcome.OK, None)


def defect() -> Answer:
    return Answer.ng(Reason.DEFECT)


class LedgerMachine(RuleBasedStateMachine):
    """Two clients, free-running frames, answers in any order, at any time, more than once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.ledger = Ledger(resend_ns=5 * MS, window=6)
        self.opened: dict[int, int] = {}  # number -> deadline
        self.finals: dict[int, tuple[int, Answer]] = {}  # number -> seq, answer
        self.ids: dict[tuple[str, str], int] = {}
        self.recipes: dict[tuple[str, str], str | None] = {}
        self.order: dict[str, list[int]] = {"a": [], "b": []}  # unacked seqs

    numbers = st.integers(1, 40)

    def note(self, entry) -> None:
        assert entry.number not in self.finals, "a second final answer"
        assert entry.answer is not None
        self.finals[entry.number] = entry.seq, entry.answer
        assert entry.seq == len(self.finals), "a gap in seq"
        if entry.owner is not None:
            waiting = self.order[entry.owner]
            waiting.append(entry.seq)
            del waiting[:-UNACKED_RING]

    @rule(
        owner=st.sampled_from("ab"),
        trig=st.sampled_from("xyz"),
        recipe=st.sampled_from([None, "r"]),
        budget=st.integers(0, 20),
    )
    def trigger(self, owner, trig, recipe, budget) -> None:
        known = self.ledger.find(owner, trig)
        if known is not None and self.recipes[owner, trig] != recipe:
            with pytest.raises(TriggerConflictError, match="new id"):
                self.ledger.trigger(owner, trig, self.now, budget * MS, "b", recipe)
            return
        entry, fresh = self.ledger.trigger(owner, trig, self.now, budget * MS, "b", recipe)
        assert fresh == (known is None)
        if fresh:
            assert entry.number not in self.opened
            self.opened[entry.number] = self.now + budget * MS
            self.ids[owner, trig] = entry.number
            self.recipes[owner, trig] = recipe
        else:
            assert entry.number == self.ids[owner, trig], "an id fired twice"

    @rule(age=st.integers(0, 10), budget=st.integers(0, 20))
    def frame(self, age, budget) -> None:
        entry = self.ledger.untriggered(7, self.now - age * MS, budget * MS, "b")
        self.opened[entry.number] = self.now - age * MS + budget * MS

    @rule(number=numbers)
    def acquired(self, number) -> None:
        entry = self.ledger.acquired(number, 3, self.now)
        if entry is not None:
            assert number not in self.finals
            self.ledger.judging(number, "b2")
            assert (entry.stage, entry.bundle) == (Stage.JUDGING, "b2")

    @rule(number=numbers, ok=st.booleans())
    def answer(self, number, ok) -> None:
        late_results = self.ledger.late_results
        entry = self.ledger.conclude(number, OK if ok else defect(), self.now)
        if number in self.opened and number not in self.finals:
            assert entry is not None
            self.note(entry)
            if self.now > self.opened[number]:
                assert entry.answer.outcome is Outcome.NG, "OK after its deadline"
            elif ok:
                assert entry.answer == OK
        else:
            assert entry is None
            assert self.ledger.late_results == late_results + 1

    @rule(step=st.integers(0, 12))
    def time_passes(self, step) -> None:
        self.now += step * MS
        for entry in self.ledger.due(self.now):
            final = self.ledger.conclude(entry.number, Answer.ng(Reason.LATE), self.now)
            assert final is not None
            self.note(final)
        overdue = [n for n, d in self.opened.items() if d <= self.now and n not in self.finals]
        assert overdue == [], "a deadline passed without an answer"
        for entry in self.ledger.resends(self.now):
            assert entry.seq in self.order[entry.owner]
            assert self.now <= entry.deadline_ns

    @rule(owner=st.sampled_from("ab"), seq=numbers)
    def acknowledge(self, owner, seq) -> None:
        waiting = self.order[owner]
        assert self.ledger.acknowledge(owner, seq) == (seq in waiting)
        if seq in waiting:
            waiting.remove(seq)

    @precondition(lambda self: self.opened)
    @invariant()
    def the_books_balance(self) -> None:
        ledger = self.ledger
        assert ledger.open == len(self.opened) - len(self.finals)
        assert ledger.outcomes.total() == len(self.finals) == ledger.last_seq
        assert ledger.outcomes[Outcome.NG] == ledger.reasons.total()
        for owner, waiting in self.order.items():
            assert [e.seq for e in ledger.unacknowledged(owner)] == waiting
            assert len(waiting) <= UNACKED_RING
        due = [d for n, d in self.opened.items() if n not in self.finals]
        assert ledger.next_deadline_ns() == (min(due) if due else None)


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=80, stateful_step_count=50, deadline=None)


def final(ledger: Ledger, trig: str, now: int, budget: int = 100 * MS):
    entry, _ = ledger.trigger("plc", trig, now, budget, "b")
    return ledger.conclude(entry.number, OK, now)


def test_an_unacknowledged_verdict_comes_up_again_until_its_deadline() -> None:
    ledger = Ledger(resend_ns=20 * MS)
    entry = final(ledger, "1", 0, budget=50 * MS)
    assert ledger.next_resend_ns() == 20 * MS
    assert list(ledger.resends(19 * MS)) == []
    assert list(ledger.resends(20 * MS)) == [entry]
    assert list(ledger.resends(41 * MS)) == [entry]
    assert list(ledger.resends(90 * MS)) == []
    assert ledger.next_resend_ns() is None
    assert ledger.resent == 2


def test_an_acknowledged_verdict_is_not_sent_again() -> None:
    ledger = Ledger(resend_ns=20 * MS)
    entry = final(ledger, "1", 0)
    assert not ledger.acknowledge("another", entry.seq)
    assert ledger.acknowledge("plc", entry.seq)
    assert not ledger.acknowledge("plc", entry.seq)
    assert list(ledger.resends(60 * MS)) == []


def test_a_client_that_never_acknowledges_is_told_of_its_overrun() -> None:
    ledger = Ledger()
    for number in range(UNACKED_RING):
        final(ledger, str(number), 0)
    assert not ledger.overrun("plc")
    final(ledger, "more", 0)
    assert ledger.overrun("plc")
    assert next(e.trig for e in ledger.unacknowledged("plc")) == "1"
    for entry in ledger.unacknowledged("plc"):
        ledger.acknowledge("plc", entry.seq)
    assert not ledger.overrun("plc")


def test_clients_that_come_and_go_cost_no_memory() -> None:
    ledger = Ledger()
    for number in range(3 * READERS):
        entry, _ = ledger.trigger(f"connection {number}", "1", 0, MS, "b")
        ledger.conclude(entry.number, defect(), 0)
        entry, _ = ledger.trigger("plc", str(number), 0, MS, "b")
        ledger.conclude(entry.number, defect(), 0)
        assert ledger.acknowledge("plc", entry.seq)
        assert "plc" not in ledger._readers
    assert READERS - 1 <= len(ledger._readers) <= READERS
    assert not ledger.unacknowledged("connection 0")
    assert len(ledger.unacknowledged(f"connection {3 * READERS - 1}")) == 1


def test_ids_are_remembered_for_a_window_and_no_longer() -> None:
    ledger = Ledger(window=2)
    first = final(ledger, "1", 0)
    assert ledger.trigger("plc", "1", 5, MS, "b") == (first, False)
    final(ledger, "2", 0)
    final(ledger, "3", 0)
    assert ledger.find("plc", "1") is None
    assert ledger.trigger("plc", "1", 5, MS, "b")[1]


def test_a_trigger_without_a_frame_keeps_its_reason_after_the_deadline() -> None:
    ledger = Ledger()
    entry, _ = ledger.trigger("plc", "1", 0, MS, "b")
    answer = Answer.ng(Reason.NO_FRAME)
    assert ledger.conclude(entry.number, answer, 2 * MS).answer is answer


def test_a_defect_found_after_the_deadline_is_late() -> None:
    ledger = Ledger()
    entry = ledger.untriggered(1, 0, MS, "b")
    concluded = ledger.conclude(entry.number, defect(), 2 * MS)
    assert concluded.answer.reason is Reason.LATE


@pytest.mark.parametrize("bad", [(Outcome.OK, Reason.DEFECT), (Outcome.NG, None)])
def test_an_answer_without_sense_cannot_be_made(bad) -> None:
    with pytest.raises(ValueError, match="OK has none"):
        Answer(*bad)
