"""The line between a process and its child: whole messages, no waiting, deaths noticed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path

import msgpack
import msgspec
import numpy as np
import pytest

from kenpin.camera.acquisition.ring import Ticket
from kenpin.config.web import WebSpec
from kenpin.processes.channel import MAX_PACKET_BYTES, Channel, Message


class Note(Message, frozen=True):
    """What the processes of these tests tell each other."""

    text: str = ""
    filler: bytes = b""


class Grade(StrEnum):
    FINE = "fine"


class Score(IntEnum):
    ONE = 1


@dataclass(frozen=True, slots=True)
class Inner:
    number: int
    score: Score
    grade: Grade | None
    pairs: tuple[tuple[int, int], ...]
    shares: Mapping[str, float]


class Parcel(Message, frozen=True):
    """One of everything."""

    inner: Inner
    ticket: Ticket
    folder: Path
    web: WebSpec | None = None


TEXTS = [Note("x" * k) for k in range(0, 5000, 500)]
INNER = Inner(7, Score.ONE, Grade.FINE, ((1, 2), (3, 4)), {"a": 0.5})
PARCEL = Parcel(INNER, Ticket(3, 9), Path("/data/b"), WebSpec())


@pytest.fixture
def pair():
    one, other = Channel.pair(Note | Parcel, Note | Parcel)
    yield one, other
    one.close()
    other.close()


def test_messages_arrive_whole_and_in_order(pair):
    one, other = pair
    assert all(one.send(message) for message in TEXTS)
    assert other.receive() == TEXTS
    assert other.receive() == []
    assert not other.ended


def test_sending_to_one_who_does_not_read_never_waits(pair):
    one, other = pair
    started = time.monotonic()
    sent = 0
    while one.send(Note(filler=b"x" * 1000)):
        sent += 1
        assert sent < 100_000
    assert time.monotonic() - started < 10
    assert one.refused == 1
    assert sent > 200
    received = 0
    while messages := other.receive():
        received += len(messages)
    assert received == sent
    assert one.send(Note())


def test_the_end_comes_after_everything_that_was_said(pair):
    one, other = pair
    one.send(Note("last word"))
    one.close()
    assert other.wait(1)
    assert other.receive() == [Note("last word")]
    assert other.ended
    assert other.receive() == []
    assert not other.send(Note("into the void"))


def test_too_large_a_message_is_refused_by_its_size(pair):
    one, _other = pair
    with pytest.raises(ValueError, match="frame ring"):
        one.send(Note(filler=b"x" * MAX_PACKET_BYTES))


def _echo_until_killed(channel: Channel[Note | Parcel, Note | Parcel]) -> None:
    while channel.wait(30):
        for message in channel.receive():
            channel.send(message)
        if channel.ended:
            return


@pytest.mark.clock
def test_the_death_of_a_child_is_noticed_and_its_words_are_kept(pair):
    ours, theirs = pair
    child = multiprocessing.get_context("spawn").Process(
        target=_echo_until_killed, args=(theirs,), daemon=True
    )
    child.start()
    theirs.close()
    ours.send(PARCEL)
    assert ours.wait(30)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert ours.receive() == [PARCEL]
    assert ours.ended


@pytest.mark.clock
def test_a_child_notices_that_its_parent_has_gone(pair):
    ours, theirs = pair
    child = multiprocessing.get_context("spawn").Process(
        target=_echo_until_killed, args=(theirs,), daemon=True
    )
    child.start()
    theirs.close()
    ours.close()
    child.join(30)
    assert child.exitcode == 0


def test_what_is_told_arrives_as_the_types_that_it_was(pair):
    one, other = pair
    assert one.send(PARCEL)
    (told,) = other.receive()
    assert told == PARCEL
    assert type(told.inner.score) is Score
    assert isinstance(told.folder, Path)
    assert isinstance(told.web, WebSpec)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"score": True}, "bool"),
        ({"score": 1.0}, "float"),
        ({"score": 0}, "Invalid enum value 0"),
        ({"number": "7"}, "str"),
        ({"grade": "poor"}, "Invalid enum value 'poor'"),
        ({"pairs": [[1, 2, 3]]}, "length 2"),
        ({"number": None}, "None"),
    ],
)
def test_nothing_is_taken_for_what_it_is_not(pair, changed, why):
    one, other = pair
    one.send(PARCEL)
    plain = msgpack.unpackb(other._socket.recv(MAX_PACKET_BYTES))
    plain["inner"] |= changed
    one._socket.send(msgpack.packb(plain))
    with pytest.raises(msgspec.ValidationError, match=why):
        other.receive()


@pytest.mark.parametrize("wrong", [{"type": "Stop"}, {"type": "Note", "txt": ""}, {"text": ""}])
def test_a_kind_or_a_field_that_nobody_expects_is_refused(pair, wrong):
    one, other = pair
    one._socket.send(msgpack.packb(wrong))
    with pytest.raises(msgspec.ValidationError):
        other.receive()


def test_a_value_that_no_message_carries_says_what_to_do(pair):
    one, _other = pair
    with pytest.raises(TypeError, match=r"float64 in a message.*convert it"):
        one.send(Note(np.float64(1.5)))
