"""Who speaks under which name, and in which session: no verdict crosses from one to another."""

from __future__ import annotations

import pytest

from kenpin.runtime.judging.verdict import Reason
from kenpin.runtime.service.ledger import Answer, Ledger, Owner
from kenpin.runtime.service.sessions import (
    DISPUTE_NS,
    OWN_NUMBERS,
    SEATS,
    DuplicateClientError,
    Sessions,
    StaleError,
)
from kenpin.runtime.wire.authentication import Connection


class Door:
    """Connections that come, go, and are hung up on."""

    def __init__(self) -> None:
        self.now = 1
        self.number = 0
        self.hung_up: list[Connection] = []
        self.ended: list[Owner] = []
        self.sessions = Sessions(self.ended.append, self.hung_up.append, lambda: self.now)

    def call(self, key: str = "") -> Connection:
        self.number += 1
        return Connection(self.number, label=f"10.0.0.{self.number}", key=key)

    def hello(self, over: Connection, session: str | None = None, name: bytes = b"plc") -> Owner:
        return self.sessions.hear(name, over, session, hello=True, trigger=False)

    def trigger(self, over: Connection, session: str | None = None, name: bytes = b"plc") -> Owner:
        return self.sessions.hear(name, over, session, hello=False, trigger=True)


@pytest.fixture
def door() -> Door:
    return Door()


def test_hello_opens_the_session_that_it_names_and_a_verdict_is_owed_to_it(door):
    first = door.call()
    owner = door.hello(first, "1")
    assert owner == Owner(b"plc", "1")
    assert door.trigger(first) == door.trigger(first, "1") == owner
    assert door.sessions.serves(owner)
    assert door.sessions.named(owner)


def test_a_client_that_names_none_has_a_session_of_the_lines_for_each_connection(door):
    first = door.call()
    owner = door.trigger(first)
    assert int(owner.session) >= OWN_NUMBERS
    assert door.hello(first) == owner
    first.ended = True
    second = door.call()
    other = door.trigger(second)
    assert other != owner
    assert door.ended == [owner]
    assert not door.sessions.serves(owner)
    assert not door.sessions.named(other)


def test_a_program_that_starts_anew_ends_its_old_session_for_good(door):
    first = door.call()
    old = door.hello(first, "1")
    first.ended = True
    second = door.call()
    new = door.hello(second, "2")
    assert door.ended == [old]
    assert (door.sessions.serves(old), door.sessions.serves(new)) == (False, True)
    with pytest.raises(StaleError, match="session '1' is not in force, '2' is"):
        door.trigger(second, "1")
    with pytest.raises(StaleError, match="session '1' has ended"):
        door.hello(second, "1")
    assert door.trigger(second) == new


def test_a_session_goes_on_over_another_connection_if_hello_or_the_trigger_names_it(door):
    first = door.call()
    owner = door.hello(first, "1")
    first.ended = True
    second = door.call()
    assert door.hello(second, "1") == owner
    assert door.ended == []
    second.ended = True
    third = door.call()
    with pytest.raises(StaleError, match="has not said HELLO"):
        door.trigger(third)
    assert not door.sessions.serves(owner), "a verdict would go to whoever has not said HELLO"


def test_nothing_is_sent_to_a_name_whose_connection_has_gone_until_it_speaks_again(door):
    first = door.call()
    owner = door.hello(first, "1")
    first.ended = True
    # ZeroMQ sends what is for this name to whoever connects under it, before a word is heard.
    assert not door.sessions.serves(owner)
    assert door.hello(door.call(), "1") == owner
    assert door.sessions.serves(owner)


def test_a_trigger_that_names_its_session_needs_no_hello(door):
    first = door.call()
    owner = door.trigger(first, "1")
    first.ended = True
    second = door.call()
    assert door.trigger(second, "1") == owner
    assert door.sessions.serves(owner)


def test_a_client_that_only_asked_may_still_name_its_session_in_its_first_trigger(door):
    first = door.call()
    door.sessions.hear(b"plc", first, None, hello=False, trigger=False)
    assert door.trigger(first, "1").session == "1"
    second = door.call()
    door.trigger(second, name=b"other")
    with pytest.raises(StaleError, match="session '1' is not in force"):
        door.trigger(second, "1", name=b"other")


@pytest.mark.parametrize("session", [None, "2"])
def test_the_second_client_of_a_name_is_refused_and_the_first_one_goes_on(door, session):
    first = door.call()
    owner = door.hello(first, "1")
    second = door.call()
    with pytest.raises(DuplicateClientError, match="duplicate: another client calls itself 'plc'"):
        door.hello(second, session)
    # ZeroMQ has given the name to the second; nothing that is owed may be sent there.
    assert not door.sessions.serves(owner)
    assert door.hung_up == [first]
    assert "two clients call themselves 'plc' (from 10.0.0.1, 10.0.0.2)" in door.sessions.dispute
    with pytest.raises(DuplicateClientError):
        door.trigger(second, session)
    first.ended = True
    third = door.call()
    assert door.hello(third, "1") == owner, "the first one has called again"
    assert door.sessions.serves(owner)
    assert door.ended == []


def test_a_name_that_two_have_claimed_is_sent_nothing_again_unasked(door):
    first = door.call()
    owner = door.hello(first, "1")
    assert door.sessions.uncontested(owner)
    with pytest.raises(DuplicateClientError):
        door.hello(door.call(), "2")
    first.ended = True
    back = door.call()
    door.hello(back, "1")
    # The other one may call anew at any moment, and has the name before it says a word.
    door.now += 2 * DISPUTE_NS
    assert not door.sessions.uncontested(owner)
    back.ended = True
    assert door.sessions.uncontested(door.hello(door.call(), "3")), "a session of its own"
    assert not door.sessions.uncontested(owner)


def test_a_client_that_was_cut_off_is_still_reminded(door):
    first = door.call()
    owner = door.hello(first, "1")
    assert door.hello(door.call(), "1") == owner
    assert door.sessions.uncontested(owner)


def test_two_clients_that_name_no_session_are_both_refused_while_they_fight(door):
    first = door.call()
    owner = door.trigger(first)
    second = door.call()
    with pytest.raises(DuplicateClientError):
        door.trigger(second)
    third = door.call()  # the first one, back
    with pytest.raises(DuplicateClientError):
        door.trigger(third)
    assert not door.sessions.serves(owner)
    door.now += DISPUTE_NS
    assert door.trigger(third) != owner
    assert door.sessions.dispute == ""


def test_two_clients_of_one_name_and_one_session_are_told_from_one_that_was_cut_off(door):
    first, second, third = door.call(), door.call(), door.call()
    owner = door.hello(first, "1")
    assert door.hello(second, "1") == owner, "a cut that the box has not noticed"
    assert door.hung_up == [first]
    with pytest.raises(DuplicateClientError):
        door.hello(third, "1")
    assert not door.sessions.serves(owner)


def test_a_session_belongs_to_the_key_that_opened_it(door):
    first = door.call(key="a")
    old = door.hello(first, "1")
    first.ended = True
    stranger = door.call(key="b")
    with pytest.raises(StaleError, match="has not said HELLO"):
        door.trigger(stranger)
    with pytest.raises(StaleError, match="belongs to another key"):
        door.hello(stranger, "1")
    assert not door.sessions.serves(old)
    assert door.hello(stranger, "2") != old
    assert door.ended == [old]


def test_numbers_of_the_lines_own_are_no_clients_to_choose(door):
    with pytest.raises(StaleError, match="chosen by the line"):
        door.hello(door.call(), str(OWN_NUMBERS))


def test_whoever_comes_and_goes_for_a_year_costs_no_memory(door):
    for k in range(SEATS + 10):
        door.trigger(door.call(), name=str(k).encode())
    assert len(door.ended) == 10


NG = Answer.ng(Reason.DEFECT)


def test_ids_of_one_session_are_unknown_in_the_next_and_its_verdicts_are_not_sent_again():
    ledger = Ledger()
    old, new = Owner(b"plc", "1"), Owner(b"plc", "2")
    finished, _ = ledger.trigger(old, "1", 0, 100, "b@1")
    under_way, _ = ledger.trigger(old, "2", 0, 100, "b@1")
    ledger.conclude(finished.number, NG, 1)
    ledger.end(old)
    ledger.conclude(under_way.number, NG, 2)
    assert ledger.unacknowledged(old) == ledger.unacknowledged(new) == []
    assert list(ledger.resends(10**12)) == []
    entry, fresh = ledger.trigger(new, "1", 3, 100, "b@1")
    assert fresh
    assert entry is not finished


def test_an_id_of_an_earlier_session_is_stale_as_long_as_it_is_remembered():
    ledger = Ledger(window=2)
    old, new = Owner(b"plc", "32768"), Owner(b"plc", "32769")
    for trig in ("1", "2"):
        entry, _ = ledger.trigger(old, trig, 0, 100, "b@1")
        ledger.conclude(entry.number, NG, 1)
    ledger.end(old)
    assert ledger.stale(new, "1")
    assert ledger.stale(new, "2")
    assert not ledger.stale(new, "3")
    assert not ledger.stale(Owner(b"other", "32769"), "1")
    for trig in ("3", "4"):
        entry, _ = ledger.trigger(new, trig, 0, 100, "b@1")
        ledger.conclude(entry.number, NG, 1)
    assert not ledger.stale(new, "1")
    assert not ledger.stale(new, "3")
