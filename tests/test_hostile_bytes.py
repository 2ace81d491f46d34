"""Bytes of strangers: only declared errors come out of what decodes them."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kenpin.runtime.wire.map_encoding import MAX_COMMAND_BYTES, Encoding, WireError, decode_command

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "fuzz"))

import targets

NAMES = list(targets.TARGETS)

WORDS = st.sampled_from(
    ["v", "type", "trig", "recipe", "budget_us", "seq", "name", "trigger", "ack", "hello"]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | WORDS
)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text() | WORDS, inner, max_size=6)
    ),
    max_leaves=12,
)
COMMANDS = st.fixed_dictionaries(
    {"v": st.sampled_from([1, 1, 1, 2, True, 1.0]), "type": WORDS}, optional={"trig": LEAVES}
).flatmap(lambda head: st.dictionaries(WORDS, LEAVES, max_size=3).map(lambda more: more | head))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(name: str, payload: bytes) -> None:
    targets.TARGETS[name](payload)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_good_bytes_with_a_part_replaced(name: str, data: st.DataObject) -> None:
    good = data.draw(st.sampled_from(targets.good(name)))
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(good))] * 2)))
    targets.TARGETS[name](good[:start] + data.draw(st.binary(max_size=9)) + good[end:])


@pytest.mark.parametrize("name", ["command-msgpack", "message-msgpack"])
@settings(max_examples=150, deadline=None)
@given(tree=TREES | COMMANDS)
def test_any_tree_in_msgpack(name: str, tree: object) -> None:
    targets.TARGETS[name](msgpack.packb(tree))


@pytest.mark.parametrize("name", ["command-json", "message-json", "manifest"])
@settings(max_examples=150, deadline=None)
@given(tree=TREES | COMMANDS, ascii_only=st.booleans())
@example(tree={"\ud800": 1}, ascii_only=True)
@example(tree={"v": 1, "type": "trigger", "trig": "\ud800"}, ascii_only=True)
def test_any_tree_in_json(name: str, tree: object, ascii_only: bool) -> None:
    targets.TARGETS[name](json.dumps(tree, ensure_ascii=ascii_only).encode())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("number", range(len(targets.HOSTILE)))
def test_bytes_that_are_known_to_hurt(name: str, number: int) -> None:
    targets.TARGETS[name](targets.HOSTILE[number])


@pytest.mark.parametrize("name", NAMES)
def test_the_targets_accept_what_is_good(name: str) -> None:
    assert targets.good(name)


@pytest.mark.parametrize("encoding", list(Encoding))
def test_the_longest_trigger_fits_and_a_byte_above_the_cap_does_not(encoding: Encoding) -> None:
    longest = {
        "v": 1,
        "type": "trigger",
        "trig": "\U0001f600" * 128,
        "recipe": "\U0001f600" * 250,
        "budget_us": 60_000_000,
    }
    payload = json.dumps(longest).encode() if encoding is Encoding.JSON else msgpack.packb(longest)
    assert decode_command(payload, encoding)
    with pytest.raises(WireError, match=f"at most {MAX_COMMAND_BYTES}"):
        decode_command(payload + b" " * (MAX_COMMAND_BYTES + 1 - len(payload)), encoding)


def test_a_command_as_costly_as_the_cap_allows_is_refused_in_a_moment() -> None:
    costly = (
        b"\xdc" + (MAX_COMMAND_BYTES - 3).to_bytes(2, "big") + b"\x90" * (MAX_COMMAND_BYTES - 3)
    )
    spent = []
    for _ in range(5):
        started = time.thread_time()
        with pytest.raises(WireError, match="expected a map"):
            decode_command(costly, Encoding.MSGPACK)
        spent.append(time.thread_time() - started)
    # 64 KiB of the same took 5 ms to unpack alone.
    assert min(spent) < 0.005
