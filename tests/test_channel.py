"""The line between a process and its child: whole messages, no waiting, deaths noticed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest

from kenpin.processes.channel import MAX_PACKET_BYTES, Channel


@pytest.fixture
def pair():
    one, other = Channel.pair()
    yield one, other
    one.close()
    other.close()


def test_messages_arrive_whole_and_in_order(pair):
    one, other = pair
    messages = [{"number": k, "text": "x" * k} for k in range(0, 5000, 500)]
    assert all(one.send(message) for message in messages)
    assert other.receive() == messages
    assert other.receive() == []
    assert not other.ended


def test_sending_to_one_who_does_not_read_never_waits(pair):
    one, other = pair
    started = time.monotonic()
    sent = 0
    while one.send({"filler": b"x" * 1000}):
        sent += 1
        assert sent < 100_000
    assert time.monotonic() - started < 10
    assert one.refused == 1
    assert sent > 200
    received = 0
    while messages := other.receive():
        received += len(messages)
    assert received == sent
    assert one.send({"filler": b""})


def test_the_end_comes_after_everything_that_was_said(pair):
    one, other = pair
    one.send({"last": "word"})
    one.close()
    assert other.wait(1)
    assert other.receive() == [{"last": "word"}]
    assert other.ended
    assert other.receive() == []
    assert not other.send({"into": "the void"})


def test_too_large_a_message_is_refused_by_its_size(pair):
    one, _other = pair
    with pytest.raises(ValueError, match="frame ring"):
        one.send({"pixels": b"x" * MAX_PACKET_BYTES})


def _echo_until_killed(channel: Channel) -> None:
    while channel.wait(30):
        for message in channel.receive():
            channel.send(message)
        if channel.ended:
            return


def test_the_death_of_a_child_is_noticed_and_its_words_are_kept(pair):
    ours, theirs = pair
    child = multiprocessing.get_context("spawn").Process(
        target=_echo_until_killed, args=(theirs,), daemon=True
    )
    child.start()
    theirs.close()
    ours.send({"hello": 1})
    assert ours.wait(30)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert ours.receive() == [{"hello": 1}]
    assert ours.ended


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
