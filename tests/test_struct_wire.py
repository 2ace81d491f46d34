"""The struct encoding: nothing is lost that a gate needs, and no OK is made up."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kenpin.runtime.judging.verdict import REASON_CODES
from kenpin.runtime.wire.commands import Ack, Prepare, RollStart, Trigger
from kenpin.runtime.wire.map_encoding import WireError
from kenpin.runtime.wire.struct_encoding import (
    STATE_NUMBERS,
    pack,
    pack_message,
    table,
    unpack,
    unpack_command,
)
from kenpin.runtime.wire.struct_layouts import CRC_AT, FLAGS_AT, LAYOUTS, SIZE
from kenpin.runtime.wire.verdict_messages import State
from wire_samples import NG_VERDICT, OK_VERDICT, state_message, verdict_message, verdicts

PAGE = Path(__file__).parents[1] / "docs/wire/struct.v1.md"
U64 = st.integers(1, 2**64 - 1)
VERDICT_AT = 86


@given(verdict=verdicts(), seq=U64)
def test_every_verdict_arrives_as_the_same_verdict(verdict, seq) -> None:
    message = verdict_message(seq, verdict)
    packed = pack_message(message)
    says = unpack(packed)
    assert len(packed) == SIZE
    assert (says["seq"], says["verdict"], says["code"]) == (seq, message.verdict, message.code)
    assert says["reason"] == message.reason
    for flag in ("unsure", "partial", "late", "sim"):
        assert says[flag] is getattr(message, flag)
    assert (says["score"] is None) is (message.score is None)
    assert (says["enc"], says["trig"]) == (None, None)


@given(trig=U64, seq=U64, enc=st.none() | st.integers(-(2**63), 2**63 - 1))
def test_numbers_arrive_whole(trig, seq, enc) -> None:
    message = verdict_message(seq).model_copy(update={"trig": str(trig), "enc": enc})
    says = unpack(pack_message(message))
    assert (says["trig"], says["seq"], says["enc"]) == (str(trig), seq, enc)


@given(first=st.integers(-(2**63), 2**62), lines=st.integers(0, 2**32 - 1))
def test_the_lines_of_a_web_arrive(first, lines) -> None:
    fields = verdict_message().model_dump(mode="json")
    assert "web" not in unpack(pack(fields))
    fields["web"] = {"first_line": first, "end_line": first + lines}
    assert unpack(pack(fields))["web"] == fields["web"]


_COMMANDS = st.one_of(
    st.builds(
        Trigger,
        v=st.just(1),
        type=st.just("trigger"),
        trig=U64.map(str),
        recipe=st.none() | st.text("äb-@9", min_size=1, max_size=24),
        budget_us=st.none() | st.integers(1, 60_000_000),
    ),
    st.builds(Ack, v=st.just(1), type=st.just("ack"), seq=U64),
    st.builds(
        Prepare, v=st.just(1), type=st.just("prepare"), bundle=st.text("w1@", min_size=1)
    ).filter(lambda c: len(c.bundle) <= 80),
    st.builds(
        RollStart, v=st.just(1), type=st.just("roll_start"), name=st.text("検 7", max_size=21)
    ),
)


@given(command=_COMMANDS)
def test_every_command_comes_back_the_same(command) -> None:
    assert unpack_command(pack_message(command)) == command


@given(payload=st.binary(max_size=200) | st.binary(min_size=SIZE, max_size=SIZE))
def test_random_bytes_raise_nothing_but_a_wire_error(payload) -> None:
    with pytest.raises(WireError):
        unpack(payload)


@given(at=st.integers(0, SIZE * 8 - 1))
def test_no_bit_can_turn_over_unseen(at) -> None:
    damaged = bytearray(pack_message(verdict_message()))
    damaged[at // 8] ^= 1 << at % 8
    with pytest.raises(WireError):
        unpack(bytes(damaged))


@given(kind=st.integers(0, 255), body=st.binary(min_size=84, max_size=84))
def test_any_fields_under_a_right_crc_are_read_or_raise_a_wire_error(kind, body) -> None:
    head = struct.pack("<IBBH", 0x31504E4B, 1, kind, SIZE)
    packed = head + body
    packed += struct.pack("<I", zlib.crc32(packed))
    try:
        says = unpack(packed)
    except WireError:
        return
    if says["type"] == "verdict" and says["verdict"] == 1:
        assert says["code"] == 0
        assert says["score"] <= says["thr"]


@pytest.mark.parametrize("kind", [k for k, layout in LAYOUTS.items() if layout.number >= 32])
def test_nothing_but_a_verdict_has_anything_where_a_verdict_is_looked_for(kind) -> None:
    for field in LAYOUTS[kind].fields:
        end = field.at + struct.calcsize("<" + field.code)
        if (kind, field.key) != ("verdict", "verdict"):
            assert not field.at <= VERDICT_AT < end


@pytest.mark.parametrize("kind", list(LAYOUTS))
def test_fields_are_aligned_within_the_body_and_do_not_overlap(kind) -> None:
    taken: set[int] = set()
    for field in LAYOUTS[kind].fields:
        size = struct.calcsize("<" + field.code)
        if not field.code.endswith("s"):
            assert field.at % size == 0
        bytes_of = set(range(field.at, field.at + size))
        # The session lies behind the flags, where there was nothing at first.
        assert bytes_of <= set(range(8, FLAGS_AT)) | {FLAGS_AT + 2, FLAGS_AT + 3}
        assert not bytes_of & taken
        taken |= bytes_of
    bits = [bit for bit, _ in LAYOUTS[kind].flags]
    assert len(set(bits)) == len(bits)
    assert CRC_AT == FLAGS_AT + 4 == SIZE - 4


def test_every_state_and_every_reason_has_a_number_that_fits() -> None:
    assert set(STATE_NUMBERS) == set(State)
    assert 0 not in STATE_NUMBERS.values()
    assert max(REASON_CODES.values()) < 2**15
    for state in State:
        message = state_message().model_copy(update={"state": state})
        assert unpack(pack_message(message))["state"] == state


def test_numbers_that_do_not_fit_are_brought_to_the_nearest_that_does() -> None:
    verdict = replace(NG_VERDICT, score=1e300, stages_us={"total": 2**40})
    says = unpack(pack_message(verdict_message(verdict=verdict)))
    assert says["score"] == pytest.approx(3.4028235e38)
    assert says["lat_us"] == {"total": 2**32 - 1}


def test_a_score_just_over_its_threshold_stays_ng() -> None:
    verdict = replace(NG_VERDICT, score=0.5 + 1e-12)
    says = unpack(pack_message(verdict_message(verdict=verdict)))
    assert (says["score"], says["verdict"], says["reason"]) == (0.5, 2, "defect")


def test_an_id_that_is_no_number_is_0_when_told_and_refused_when_commanded() -> None:
    message = verdict_message(verdict=OK_VERDICT).model_copy(update={"trig": "part-1"})
    assert unpack(pack_message(message))["trig"] is None
    for trig in ("part-1", "0", "-1", "1.0", "00", str(2**64), None):
        with pytest.raises(WireError, match="whole numbers from 1"):
            pack({"v": 1, "type": "trigger", "trig": trig})


def test_a_command_is_not_cut() -> None:
    cut: list[dict[str, Any]] = [
        {"type": "trigger", "trig": "1", "recipe": "x" * 49},
        {"type": "prepare", "bundle": "x" * 81},
        {"type": "roll_start", "name": "検" * 22},
    ]
    for fields in cut:
        with pytest.raises(WireError, match="bytes fit"):
            pack(fields)


def test_what_a_client_says_must_be_a_command() -> None:
    with pytest.raises(WireError):
        unpack_command(pack_message(state_message()))


def test_the_page_with_the_byte_tables_is_the_codes() -> None:
    assert PAGE.read_text(encoding="utf-8") == table()
