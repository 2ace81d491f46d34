"""The Modbus bridge: its registers, what it does with them, and that no promise is lost in it."""

from __future__ import annotations

import dataclasses
import random
import struct
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kenpin.config.bridges import ModbusSettings
from kenpin.runtime.bridges.link import Unsaid
from kenpin.runtime.bridges.modbus.dialogue import ModbusDialogue, TriggerRefusal
from kenpin.runtime.bridges.modbus.reduced import reduced
from kenpin.runtime.bridges.modbus.registers import (
    BLOCKS,
    CONTROL,
    CONTROL_AT,
    CONTROL_BITS,
    END,
    RESULT,
    SLOTS_AT,
    STATUS,
    STATUS_AT,
    STATUS_BITS,
    WINDOW_AT,
    bits_of,
    next_number,
    word_of,
)
from kenpin.runtime.bridges.modbus.shown import Shown
from kenpin.runtime.bridges.modbus.tables import as_csv, as_page
from kenpin.runtime.bridges.process import BridgedLine
from kenpin.runtime.bridges.results import Results
from kenpin.runtime.wire.client import Heard
from wire_samples import BOOT, NG_VERDICT, OK_VERDICT, verdict_message

DOCS = Path(__file__).resolve().parents[1] / "docs/bridges"
MS = 1_000_000
BUDGET_NS = 100 * MS
FACTS = BridgedLine(
    box="box-7", line="web-1", triggered=True, budget_ms=100, ctl="", pub="", encoding="msgpack",
    pub_encoding="msgpack",
)  # fmt: skip


# -- the map -----------------------------------------------------------------------------------


def test_the_docs_show_the_map_that_the_code_uses() -> None:
    assert (DOCS / "modbus-registers.md").read_text(encoding="utf-8") == as_page()
    assert (DOCS / "modbus-registers.csv").read_text(encoding="utf-8") == as_csv()


def test_no_two_registers_share_a_place_and_blocks_follow_each_other() -> None:
    taken: list[int] = []
    for block in BLOCKS:
        for register in block.layout.registers:
            assert register.at + register.words <= block.layout.size, register.name
            at = block.at + register.at
            taken += range(at, at + register.words)
            assert len({bit.at for bit in register.bits}) == len(register.bits)
    assert len(taken) == len(set(taken))
    assert max(taken) < END
    assert WINDOW_AT + RESULT.size - STATUS_AT <= 125, "status and window fit one request"


def _values(form: str) -> st.SearchStrategy[Any]:
    if form.startswith("text"):
        return st.text("abcXYZ0189-._", max_size=2 * int(form[4:]))
    bits = int(form[1:])
    if form[0] == "u":
        return st.integers(0, 2**bits - 1)
    if form[0] == "i":
        return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return st.none() | st.floats(width=32, allow_nan=False)


@pytest.mark.parametrize("layout", [CONTROL, STATUS, RESULT], ids=["control", "status", "result"])
@pytest.mark.parametrize("low_first", [False, True])
@given(data=st.data())
def test_what_is_written_is_read_again(layout: Any, low_first: bool, data: st.DataObject) -> None:
    values = {r.name: data.draw(_values(r.form), r.name) for r in layout.registers}
    words = layout.encode(values, low_first=low_first)
    assert layout.decode(words, low_first=low_first) == values
    assert all(0 <= word < 2**16 for word in words)


def test_longer_numbers_have_their_high_word_first_unless_asked_otherwise() -> None:
    values = {register.name: 0 for register in CONTROL.registers} | {"trigger_id": 0x12345678}
    at = next(r.at for r in CONTROL.registers if r.name == "trigger_id")
    assert CONTROL.encode(values)[at : at + 2] == [0x1234, 0x5678]
    assert CONTROL.encode(values, low_first=True)[at : at + 2] == [0x5678, 0x1234]


@given(st.floats(0, 1e30), st.floats(0, 1e30))
def test_rounding_keeps_an_ok_below_its_threshold(one: float, other: float) -> None:
    score, thr = sorted((one, other))
    words = RESULT.encode(_result_values(score=score, thr=thr))
    found = RESULT.decode(words)
    assert found["score"] <= found["thr"]


def _result_values(**some: Any) -> dict[str, Any]:
    return {register.name: 0 for register in RESULT.registers} | some


def test_numbers_of_results_never_become_zero() -> None:
    assert next_number(0) == 1
    assert next_number(65534) == 65535
    assert next_number(65535) == 1


def test_a_ninth_result_costs_the_oldest_that_was_not_acknowledged() -> None:
    results = Results(next_number)
    for seq in range(1, 10):
        assert results.add({"seq": seq}, 0) is not None
    assert results.overrun
    assert [kept.number for kept in results.waiting] == list(range(2, 10))
    assert results.add({"seq": 9}, 0) is None, "known already"
    for number in range(2, 10):
        results.acknowledge(number)
    assert not results.overrun
    assert results.taken(1)
    assert results.taken(9)
    assert not results.taken(10)


@pytest.mark.parametrize("newest", range(65524, 65536))
def test_where_numbers_wrap_no_result_is_shown_in_anothers_place(newest: int) -> None:
    """65,535 is no multiple of eight."""
    shown = Shown(FACTS, low_first=False)
    shown.results.newest = newest
    for seq in range(1, 30):
        kept = shown.results.add({"seq": seq}, 10**9)
        assert kept is not None
        shown.keep(kept, RESULT.encode(_result_values(number=kept.number)))
        waiting = [one.number for one in shown.results.waiting]
        assert len({(number - 1) % 8 for number in waiting}) == len(waiting)
        assert waiting[-1] == kept.number
        image = shown.image(0)
        slots = [
            RESULT.decode(image[SLOTS_AT + n * RESULT.size : SLOTS_AT + (n + 1) * RESULT.size])
            for n in range(8)
        ]
        found = {slot["number"] for slot in slots if slot["valid"]}
        assert found == set(waiting)
        if seq % 3 == 0:
            shown.results.acknowledge(waiting[0])


# -- the dialogue, with a PLC and a line that are played -----------------------------------------


class Played:
    """A dialogue between a PLC and a line that a test plays, by a clock that it moves."""

    def __init__(self, facts: BridgedLine = FACTS, **settings: Any) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.settings = ModbusSettings(kind="modbus", **settings)
        self.dialogue = ModbusDialogue(
            facts, self.settings, lambda kind, **f: self.said.append((kind, f))
        )
        self.now_ns = 1_000_000_000
        self.wants: dict[str, Any] = {r.name: 0 for r in CONTROL.registers}
        self.bits = {bit.name: False for bit in CONTROL_BITS}
        self.bits |= {"trigger_enable": True, "buffer_results": True}
        self.beats = 0
        self.seq = 0

    # the PLC
    def write(self, **wants: Any) -> None:
        self.bits |= {name: wants.pop(name) for name in list(wants) if name in self.bits}
        self.wants |= wants
        values = {**self.wants, "control": word_of(CONTROL_BITS, **self.bits)}
        self.dialogue.written(CONTROL_AT, CONTROL.encode(values))

    def trigger(self, number: int, part: int = 0, **wants: Any) -> None:
        self.write(trigger_id=number, part_id=part, trigger=not self.bits["trigger"], **wants)

    def status(self) -> dict[str, Any]:
        image = self.dialogue.shown.image(self.now_ns)
        found = STATUS.decode(image[STATUS_AT : STATUS_AT + STATUS.size])
        return found | bits_of(STATUS_BITS, found["status"])

    def window(self) -> dict[str, Any]:
        image = self.dialogue.shown.image(self.now_ns)
        return RESULT.decode(image[WINDOW_AT : WINDOW_AT + RESULT.size])

    # the line
    def told(self, kind: str, **fields: Any) -> None:
        self._heard(kind, fields, "")

    def published(self, kind: str, **fields: Any) -> None:
        self._heard(kind, fields, f"v1/{kind}/web-1")

    def _heard(self, kind: str, fields: dict[str, Any], topic: str) -> None:
        head = {"boot": BOOT, "t_mono_ns": self.now_ns}
        self.dialogue.heard(Heard(kind, head | fields, self.now_ns, topic), self.now_ns)

    def beat(self, state: str = "operational.ready", **fields: Any) -> None:
        self.beats += 1
        said = {"hb_seq": self.beats, "state": state, "last_seq": self.seq, "cam_ok": True}
        self.published("hb", **said | fields)

    def open(self, session: int = 7) -> None:
        self.write(session=session)
        name = self.said[-1][1]["session"]
        self.told("state", **_state(), session=name)
        self.beat()

    def acknowledge(self, trig: str, *, fresh: bool = True) -> None:
        session = f"plc-{self.wants['session']}"
        self.told(
            "trigger_ack", trig=trig, session=session, fresh=fresh, overrun=False,
            deadline_ns=self.now_ns + BUDGET_NS,
        )  # fmt: skip

    def verdict(self, trig: str | None, *, ok: bool = True, **fields: Any) -> dict[str, Any]:
        self.seq += 1
        message = verdict_message(self.seq, OK_VERDICT if ok else NG_VERDICT)
        said = message.model_dump(mode="json") | {"trig": trig, "t_mono_ns": self.now_ns}
        if trig is None:
            self.published("verdict", **said | fields)
        else:
            said["session"] = f"plc-{self.wants['session']}"
            self.told("verdict", **said | fields)
        return said


def _state(state: str = "operational.ready") -> dict[str, Any]:
    return {
        "state": state, "last_seq": 0, "sim": False, "degraded": False, "selftest": False,
        "bundle": "web@0123456789ab",
    }  # fmt: skip


@pytest.fixture
def played() -> Played:
    found = Played()
    found.open()
    found.said.clear()
    return found


def test_a_part_goes_through_the_registers_once(played: Played) -> None:
    assert played.status()["trigger_ready"]
    played.trigger(4711, part=12)
    assert played.said == [("trigger", {"trig": "4711-12", "session": "plc-7"})]
    assert not played.status()["trigger_ack"]
    played.acknowledge("4711-12")
    status = played.status()
    assert (status["trigger_ack"], status["trigger_id"], status["acquiring"]) == (True, 4711, True)
    played.told("acquired", trig="4711-12", session="plc-7", frame=99)
    assert not played.status()["acquiring"]
    assert not played.status()["results_valid"]
    said = played.verdict("4711-12")
    window = played.window()
    assert (window["verdict"], window["valid"], window["code"]) == (1, 1, 0)
    assert (window["trigger_id"], window["part_id"]) == (4711, 12)
    assert played.status()["results_valid"]
    played.write(ack=window["number"])
    assert played.said[-1] == ("ack", {"seq": said["seq"]})
    assert not played.status()["results_valid"]
    assert played.window() == RESULT.decode([0] * RESULT.size)


def test_a_verdict_that_comes_again_is_the_same_result(played: Played) -> None:
    played.trigger(1)
    played.acknowledge("1")
    said = played.verdict("1")
    number = played.window()["number"]
    played.told("verdict", **said)
    assert played.status()["newest"] == number
    played.write(ack=number)
    played.said.clear()
    played.told("verdict", **said)
    assert played.said == [("ack", {"seq": said["seq"]})]
    assert played.status()["newest"] == number


def test_a_result_that_nobody_took_in_time_may_not_be_acted_on(played: Played) -> None:
    played.trigger(1)
    played.acknowledge("1")
    played.verdict("1")
    played.now_ns += BUDGET_NS + 249 * MS
    assert played.window()["valid"] == 1
    played.now_ns += 2 * MS
    assert played.window()["valid"] == 2
    status = played.status()
    assert not status["results_valid"]
    assert status["slots"] == 1 << 8


def test_an_old_ok_after_a_restart_of_the_bridge_is_overdue_at_once(played: Played) -> None:
    played.verdict("1", t_mono_ns=played.now_ns - 251 * MS)
    assert played.window()["verdict"] == 1
    assert played.window()["valid"] == 2


def test_three_missed_heartbeats_are_silence(played: Played) -> None:
    played.now_ns += 300 * MS
    assert played.status()["online"]
    played.now_ns += 1
    status = played.status()
    assert (status["state"], status["error"], status["trigger_ready"]) == (0, True, False)
    beats = status["heartbeat"]
    played.beat(t_mono_ns=played.now_ns - 301 * MS)
    assert played.status()["heartbeat"] == beats, "one that is old says nothing of now"
    played.beat()
    assert played.status()["online"]


@pytest.mark.parametrize(
    ("wants", "why"),
    [
        ({"session": 0}, TriggerRefusal.NO_SESSION),
        ({"trigger_enable": False}, TriggerRefusal.DISABLED),
        ({"set_offline": True}, TriggerRefusal.DISABLED),
        ({"number": 0}, TriggerRefusal.NO_ID),
    ],
)
def test_a_trigger_that_is_not_passed_on_is_told(
    played: Played, wants: dict[str, Any], why: TriggerRefusal
) -> None:
    number = wants.pop("number", 5)
    played.trigger(number, **wants)
    assert "trigger" not in [kind for kind, _ in played.said]
    status = played.status()
    assert (status["refusal"], status["refusals"], status["refused_id"]) == (why, 1, number)
    assert status["refused"]
    assert status["trigger_ack"], "the PLC may go on"


def test_a_trigger_that_the_line_refuses_or_never_got_is_told(played: Played) -> None:
    played.trigger(5)
    played.told("error", about="trigger", trig="5", reason="stale", detail="")
    assert played.status()["refusal"] == TriggerRefusal.STALE
    played.trigger(6)
    played.dialogue.heard(Unsaid("trigger", {"trig": "6"}, "nobody answers"), played.now_ns)
    status = played.status()
    assert (status["refusal"], status["refused_id"], status["refusals"]) == (
        TriggerRefusal.AWAY,
        6,
        2,
    )


def test_a_restart_of_the_bridge_is_no_trigger_and_no_command() -> None:
    played = Played()
    played.write(session=7, trigger=True, execute=True, command=1, trigger_id=9)
    assert [kind for kind, _ in played.said] == ["hello"]
    assert played.status()["trigger_ack"]
    played.trigger(9)
    assert played.said[-1][0] == "trigger"


def test_another_session_forgets_every_result(played: Played) -> None:
    played.verdict("1")
    assert played.status()["results_valid"]
    played.write(session=8)
    assert played.said[-1] == ("hello", {"session": "plc-8"})
    status = played.status()
    assert not status["results_valid"]
    assert (status["slots"], status["session"]) == (0, 0)
    played.verdict("1", session="plc-7")
    assert not played.status()["results_valid"], "a verdict of the session before"


def test_another_boot_of_the_line_forgets_every_result_and_is_greeted(played: Played) -> None:
    played.verdict("1")
    played.beat(boot="00000000-0000-4000-8000-000000000001")
    assert played.said[-1] == ("hello", {"session": "plc-7"})
    status = played.status()
    assert (status["slots"], status["session"], status["online"]) == (0, 0, False)


def test_without_buffering_the_newest_result_stands_alone(played: Played) -> None:
    played.write(buffer_results=False)
    played.verdict("1")
    played.verdict("2", ok=False)
    assert [kind for kind, _ in played.said] == ["ack", "ack"]
    assert (played.window()["verdict"], played.window()["trigger_id"]) == (2, 2)


@pytest.mark.parametrize("triggered", [True, False])
def test_without_buffering_an_ng_that_was_taken_gives_way_to_no_ok_before_it(
    triggered: bool,
) -> None:
    played = Played(dataclasses.replace(FACTS, triggered=triggered))
    played.open()
    played.write(buffer_results=False)
    played.verdict("1" if triggered else None)
    played.verdict("2" if triggered else None, ok=False)
    played.write(ack=played.window()["number"])
    assert played.window() == RESULT.decode([0] * RESULT.size)
    assert not played.status()["results_valid"]
    played.verdict("3" if triggered else None)
    assert (played.window()["verdict"], played.window()["number"]) == (1, 3)
    played.write(buffer_results=True)
    assert played.window()["number"] == 1, "what was never taken waits, where the PLC asks for it"


def test_with_buffering_results_are_shown_in_order(played: Played) -> None:
    for number in range(1, 4):
        played.verdict(str(number))
    seen = []
    while (window := played.window())["valid"]:
        seen.append(window["trigger_id"])
        played.write(ack=window["number"])
    assert seen == [1, 2, 3]


def test_commands_are_executed_and_told_by_toggles() -> None:
    played = Played(recipes=("web@0123456789ab",))
    played.open()
    played.write(command=3, recipe=1, execute=True)
    assert played.said[-1] == ("prepare", {"bundle": "web@0123456789ab"})
    assert played.status()["executing"]
    played.told("prepared", bundle="web@0123456789ab", detail="")
    status = played.status()
    assert (status["command_done"], status["commands"], status["executing"]) == (True, 1, False)
    played.write(command=3, recipe=2, execute=False)
    assert played.status()["command_failed"]
    played.write(command=2, execute=True)
    played.told("selftest_done", passed=False, detail="golden 3")
    assert played.status()["command_failed"]


def test_a_line_that_runs_freely_shows_every_verdict() -> None:
    played = Played(dataclasses.replace(FACTS, triggered=False))
    played.open()
    played.said.clear()
    for _ in range(9):
        played.verdict(None)
    status = played.status()
    assert status["overrun"]
    assert played.window()["number"] == 2
    for number in range(2, 10):
        played.write(ack=number)
    assert played.said == [], "nobody waits for them on the line"
    assert not played.status()["overrun"]


@pytest.mark.parametrize("poll_ms", [10, 32, 100])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_plc_that_polls_gets_exactly_one_result_for_each_trigger(poll_ms: int, seed: int) -> None:
    """Twenty parts a second; the PLC looks every `poll_ms`, and its looks come late at times."""
    rng = random.Random(seed)
    played = Played()
    played.open()
    due: list[tuple[int, str, str]] = []
    got: Counter[int] = Counter()
    sent, seen, next_look_ns = 0, 0, played.now_ns
    end_ns = played.now_ns + 5_000 * MS
    while played.now_ns < end_ns + 500 * MS:
        played.now_ns += MS
        if (played.now_ns // MS) % 100 == 0:
            played.beat()
        for kind, fields in played.said:
            if kind == "trigger":
                wait_ms = rng.randrange(2, 80)
                due.append((played.now_ns + 1 * MS, "ack", fields["trig"]))
                due.append((played.now_ns + wait_ms * MS, "verdict", fields["trig"]))
        played.said.clear()
        for item in [item for item in due if item[0] <= played.now_ns]:
            due.remove(item)
            played.acknowledge(item[2]) if item[1] == "ack" else played.verdict(item[2])
        if played.now_ns < next_look_ns:
            continue
        next_look_ns = played.now_ns + round(poll_ms * rng.uniform(0.8, 1.5)) * MS
        # One cycle of a PLC: read status and window once, act, write once.
        status, window = played.status(), played.window()
        ready = status["trigger_ack"] == played.bits["trigger"]
        ack: dict[str, int] = {}
        if window["valid"] == 1 and window["number"] != seen:
            got[window["trigger_id"]] += 1
            seen = window["number"]
            ack = {"ack": window["number"]}
        if ready and played.now_ns < end_ns:
            sent += 1
            played.trigger(sent, **ack)
        elif ack:
            played.write(**ack)
    assert sent > 20
    assert got == Counter(range(1, sent + 1))


def test_lanes_and_lines_of_a_web_are_in_the_result(played: Played) -> None:
    lane = {"name": "a", "verdict": 1}
    web = {
        "first_line": -5,
        "end_line": 123,
        "n_defects": 3,
        "lanes": (lane, lane | {"verdict": 2}),
    }
    played.verdict("1", ok=False, web=web, enc=-77)
    found = played.window()
    assert (found["first_line"], found["lines"], found["enc"]) == (-5, 128, -77)
    assert (found["lanes"], found["lanes_ng"], found["n_defects"]) == (2, 0b10, 3)


@given(st.integers(0, CONTROL.size - 1), st.lists(st.integers(0, 65535), min_size=1, max_size=16))
def test_whatever_a_plc_writes_is_dealt_with(start: int, words: Sequence[int]) -> None:
    played = Played()
    played.open()
    played.dialogue.written(CONTROL_AT + start, words[: CONTROL.size - start])
    assert len(played.dialogue.shown.image(played.now_ns)) == END


def test_the_registers_say_of_a_verdict_what_the_line_says(played: Played) -> None:
    said = played.verdict("7-3", ok=False)
    window, expected = played.window(), reduced(said | {"session": "plc-7"})
    score = struct.unpack("<f", struct.pack("<f", said["score"]))[0]
    assert (window["verdict"], window["code"], window["score"]) == (2, said["code"], score)
    for name in ("verdict", "code", "seq", "frame", "score", "thr", "deadline_us"):
        assert window[name] == (expected[name] or 0), name
    assert (str(window["trigger_id"]), str(window["session"])) == (
        expected["trig"], expected["session"],
    )  # fmt: skip
