"""A client written from docs/protocol.md alone, in everyday mistakes: no old OK, nor another's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from kenpin.runtime.bundles.bundle import Bundle
from running_line import PATIENCE_S, RunningLine, line_toml

pytestmark = pytest.mark.clock

STILL = 'kind = "synthetic", height_px = 128, width_px = 320, seed = 3'
TRIGGER = 'mode = "software", budget_ms = 2000'


class Plc:
    """A DEALER, msgpack, and nothing of ours."""

    def __init__(self, folder: Path, name: bytes) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.ROUTING_ID, name)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.IMMEDIATE, 1)
        self.socket.connect(f"ipc://{folder}/ctl")
        self.verdicts: list[dict[str, Any]] = []

    def say(self, kind: str, **fields: Any) -> None:
        self.socket.send(msgpack.packb({"v": 1, "type": kind} | fields))

    def hear(self, *kinds: str, seconds: float = PATIENCE_S) -> dict[str, Any] | None:
        """The next of these; None if none comes in time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.socket.poll(max(1, left * 1000)):
                message = msgpack.unpackb(self.socket.recv())
                if message["type"] == "verdict":
                    self.verdicts.append(message)
                if message["type"] in kinds:
                    return message
        return None

    def judge(self, trig: str, **fields: Any) -> dict[str, Any]:
        """A part's verdict, acknowledged, or the error."""
        self.say("trigger", trig=trig, **fields)
        while True:
            heard = self.hear("verdict", "error")
            assert heard is not None, "no answer"
            if heard["type"] == "error" or heard["trig"] == trig:
                if heard["type"] == "verdict":
                    self.say("ack", seq=heard["seq"])
                return heard

    def vanish(self) -> None:
        self.context.destroy(linger=0)


@pytest.fixture(scope="module")
def line(patchcore: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLine]:
    folder = tmp_path_factory.mktemp("integrator")
    toml = line_toml(folder, patchcore.folder, trigger=TRIGGER, camera=STILL)
    with RunningLine(toml) as running:
        running.state("operational.ready")
        yield running


@pytest.fixture
def plc(line: RunningLine) -> Iterator[Any]:
    made = []

    def make(name: bytes) -> Plc:
        made.append(Plc(line.folder, name))
        return made[-1]

    yield make
    for each in made:
        each.vanish()


@pytest.mark.parametrize("hello", [True, False])
def test_a_program_that_starts_anew_and_counts_from_1_gets_no_old_verdict(plc, hello) -> None:
    name = b"restarts-hello" if hello else b"restarts"
    first = plc(name)
    if hello:
        first.say("hello")
        assert first.hear("state")["session"]
    assert [first.judge(str(n))["type"] for n in (1, 2, 3)] == ["verdict"] * 3
    first.say("trigger", trig="4")  # its verdict is still to come
    first.hear("trigger_ack")
    first.vanish()
    again = plc(name)
    if hello:
        again.say("hello")
        assert again.hear("state")
    for n in ("1", "2", "3", "4"):
        error = again.judge(n)
        assert (error["type"], error.get("reason")) == ("error", "stale"), error
        assert (error["about"], error["trig"]) == ("trigger", n)
    fresh = again.judge("5")
    assert fresh["type"] == "verdict"
    assert again.verdicts == [fresh]


def test_a_program_that_names_a_new_session_begins_its_ids_anew(plc) -> None:
    first = plc(b"epochs")
    first.say("hello", session="monday")
    assert first.hear("state")["session"] == "monday"
    old = [first.judge(str(n)) for n in (1, 2)]
    first.say("trigger", trig="3")
    first.hear("trigger_ack")
    first.vanish()
    again = plc(b"epochs")
    again.say("hello", session="tuesday")
    again.hear("state")
    new = [again.judge(str(n)) for n in (1, 2)]
    assert {verdict["session"] for verdict in old} == {"monday"}
    assert {verdict["session"] for verdict in again.verdicts} == {"tuesday"}
    assert min(v["frame"] for v in new) > max(v["frame"] for v in old), "an old frame was judged"
    # Whoever goes on in the old session is told so.
    error = again.judge("3", session="monday")
    assert (error["reason"], error["trig"]) == ("stale", "3")


def test_whoever_comes_under_a_name_that_is_owed_a_verdict_hears_nothing_unasked(plc) -> None:
    first = plc(b"owed")
    first.say("hello", session="before")
    first.hear("state")
    first.say("trigger", trig="1")
    first.hear("verdict")  # not acknowledged: it comes again until its deadline
    first.vanish()
    again = plc(b"owed")
    assert again.socket.poll(round(PATIENCE_S * 1000), zmq.POLLOUT), "it has its connection"
    assert not again.socket.poll(200), "it has not said a word yet"
    again.say("hello", session="after")
    again.hear("state")
    assert again.judge("1")["session"] == "after"


def test_whoever_takes_a_name_again_that_two_have_claimed_hears_nothing_unasked(plc) -> None:
    one = plc(b"claimed")
    one.say("hello", session="one")
    one.hear("state")
    two = plc(b"claimed")
    two.say("hello", session="two")
    error = two.hear("error")
    assert error is not None
    assert error["reason"] == "duplicate"
    verdict, end = None, time.monotonic() + PATIENCE_S
    while verdict is None and time.monotonic() < end:
        one.say("trigger", trig="1", session="one")
        verdict = one.hear("verdict", seconds=0.5)
    assert verdict is not None, "not acknowledged: it would come again until its deadline"
    again = plc(b"claimed")
    assert again.socket.poll(round(PATIENCE_S * 1000), zmq.POLLOUT), "it has its connection"
    assert not again.socket.poll(200), "it has not said a word yet"


def test_a_session_goes_on_over_a_cut_connection(plc) -> None:
    first = plc(b"cut")
    first.say("hello", session="1")
    first.hear("state")
    first.say("trigger", trig="1")
    unread = first.hear("verdict")
    first.vanish()
    again = plc(b"cut")
    again.say("hello", session="1")
    again.hear("state")
    again.say("trigger", trig="1")
    assert again.hear("trigger_ack")["fresh"] is False
    assert again.hear("verdict") == unread


def test_two_clients_of_one_name_never_hear_each_others_verdicts(line, plc) -> None:
    one = plc(b"twins")
    one.say("hello", session="one")
    one.hear("state")
    assert one.judge("1")["session"] == "one"
    two = plc(b"twins")
    two.say("hello", session="two")
    two.say("trigger", trig="1", session="two")
    two.say("trigger", trig="2")
    errors = [two.hear("error") for _ in range(3)]
    assert [error["reason"] for error in errors] == ["duplicate"] * 3
    assert [error["trig"] for error in errors] == [None, "1", "2"]
    line.until(
        lambda m: m["type"] == "alarm" and m["source"] == "clients" and "'twins'" in m["detail"]
    )
    # The first one's library has called again by itself; it goes on where it was.
    end = time.monotonic() + PATIENCE_S
    verdict = None
    # Meanwhile the first part's may come again, for nobody has acknowledged it.
    while (verdict is None or verdict["trig"] != "2") and time.monotonic() < end:
        one.say("trigger", trig="2", session="one")
        verdict = one.hear("verdict", seconds=0.5)
    assert verdict is not None
    assert verdict["trig"] == "2"
    # The second one is no longer read: the first is left in peace, until the other calls anew.
    two.say("trigger", trig="3", session="two")
    assert two.hear("verdict", "error", seconds=0.3) is None
    assert one.judge("3", session="one")["session"] == "one"
    two.vanish()
    again = plc(b"twins")
    again.say("hello", session="two")
    error = again.hear("error")
    assert error is not None
    assert error["reason"] == "duplicate"
    assert two.verdicts == again.verdicts == []
    assert {v["session"] for v in one.verdicts} == {"one"}
    again.vanish()
    line.until(lambda m: m["type"] == "alarm" and m["source"] == "clients" and not m["active"])
