from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kenpin.runtime.wire.feed import VerdictFeed
from kenpin.runtime.wire.map_encoding import Encoding, State, decode, encode, topic
from kenpin.runtime.wire.sockets import VerdictPublisher
from kenpin.runtime.wire.subscriber import SequenceCheck, VerdictSubscriber, main
from wire_samples import (
    NG_VERDICT,
    OK_VERDICT,
    Clock,
    identity,
    state_message,
    verdict_message,
)

PATIENCE_S = 30.0
OTHER_BOOT = "00000000-0000-4000-8000-000000000000"

pytestmark = [pytest.mark.clock, pytest.mark.timeout(90)]


@pytest.fixture
def publisher() -> Iterator[VerdictPublisher]:
    with VerdictPublisher("tcp://127.0.0.1:*") as opened:
        yield opened


@contextmanager
def program(publisher: VerdictPublisher, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The program in a process of its own, up to the line `ready`."""
    command = [sys.executable, "-m", "kenpin.runtime.wire.subscriber", publisher.endpoint]
    command += ["--ready", "-", "--timeout-s", str(PATIENCE_S), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        try:
            assert publisher.wait_for_subscriber(PATIENCE_S, "v1/verdict/web-1")
            assert process.stdout is not None
            assert "ready\n" in iter(process.stdout.readline, "")
            yield process
        finally:
            process.kill()


def outcome(process: subprocess.Popen[str]) -> tuple[int, str]:
    shown, _ = process.communicate(timeout=PATIENCE_S)
    return process.returncode, shown


def send(publisher: VerdictPublisher, *messages: object, line: str = "web-1") -> None:
    for message in messages:
        payload = encode(message, Encoding.MSGPACK)  # type: ignore[arg-type]
        publisher.publish(topic(message.type, line), payload)  # type: ignore[attr-defined]


def with_state(publisher: VerdictPublisher) -> VerdictPublisher:
    payload = encode(state_message(), Encoding.MSGPACK)
    publisher.greet_with(lambda: ("v1/state/web-1", payload))
    return publisher


@pytest.mark.parametrize("encoding", list(Encoding))
def test_all_that_a_feed_publishes_is_shown_and_written_down(
    publisher: VerdictPublisher, tmp_path: Path, encoding: Encoding
) -> None:
    feed = VerdictFeed(identity(), publisher, encoding, mono_ns=Clock(), wall_ns=Clock())
    feed.state(State.CONTINUOUS)
    lines = tmp_path / "messages.jsonl"
    options = ("--count", "2", "--encoding", encoding.value, "--json-lines", str(lines))
    with program(publisher, *options) as process:
        given = [feed.verdict(OK_VERDICT), feed.verdict(NG_VERDICT)]
        code, shown = outcome(process)
    assert code == 0
    assert "NG defect" in shown
    assert "END 2 verdicts, 0 faults" in shown
    written = [decode(line, Encoding.JSON) for line in lines.read_bytes().splitlines()]
    assert written[0].type == "state"
    assert written[-2:] == given


def test_a_gap_is_reported_and_fails(publisher: VerdictPublisher) -> None:
    with program(with_state(publisher), "--count", "2") as process:
        send(publisher, verdict_message(1), verdict_message(3))
        code, shown = outcome(process)
    assert code == 1
    assert "FAULT verdict 2 is missing" in shown


def test_a_state_shows_that_the_newest_verdicts_are_lost(publisher: VerdictPublisher) -> None:
    with program(with_state(publisher), "--count", "2") as process:
        send(publisher, verdict_message(1), state_message(3), verdict_message(4))
        code, shown = outcome(process)
    assert code == 1
    assert "FAULT verdicts 2 to 3 are missing" in shown


def test_a_message_that_cannot_be_read_is_reported_and_fails(publisher: VerdictPublisher) -> None:
    with program(with_state(publisher), "--count", "1") as process:
        publisher.publish("v1/verdict/web-1", b"\xc1")
        send(publisher, verdict_message(1))
        code, shown = outcome(process)
    assert code == 1
    assert "FAULT unreadable message" in shown
    assert "END 1 verdicts, 1 faults" in shown


def test_a_message_under_the_topic_of_another_line_is_a_fault(publisher: VerdictPublisher) -> None:
    with program(with_state(publisher), "--count", "1") as process:
        publisher.publish("v1/verdict/web-1", encode(verdict_message(line="x"), Encoding.MSGPACK))
        send(publisher, verdict_message(1))
        code, shown = outcome(process)
    assert code == 1
    assert "does not fit" in shown


def test_one_line_is_not_taken_for_another_that_begins_alike(publisher: VerdictPublisher) -> None:
    with program(with_state(publisher), "--count", "1", "--line", "web-1") as process:
        send(publisher, verdict_message(7, line="web-10"), line="web-10")
        publisher.publish("v1/hb/web-1", b"later versions may send this")
        send(publisher, verdict_message(1))
        code, shown = outcome(process)
    assert code == 0
    assert "web-10" not in shown


def test_an_escape_sequence_does_not_reach_the_terminal(publisher: VerdictPublisher) -> None:
    with program(with_state(publisher), "--count", "1") as process:
        message = verdict_message().model_copy(update={"name": "\x1b[2Jcleared"})
        send(publisher, message)
        code, shown = outcome(process)
    assert code == 0
    assert "\x1b" not in shown
    assert "[2Jcleared" in shown


def test_verdicts_that_do_not_come_in_time_fail(
    publisher: VerdictPublisher, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([publisher.endpoint, "--count", "1", "--timeout-s", "0.01"]) == 1
    assert "END 0 verdicts" in capsys.readouterr().out


def test_watching_for_a_while_is_no_failure_if_nothing_was_missing(
    publisher: VerdictPublisher,
) -> None:
    assert main([publisher.endpoint, "--timeout-s", "0.01"]) == 0


def test_messages_of_other_lines_do_not_hold_up_a_reader(publisher: VerdictPublisher) -> None:
    endpoint, encoding = publisher.endpoint, Encoding.MSGPACK
    with VerdictSubscriber(endpoint, encoding, "web-1") as reader:
        with VerdictSubscriber(endpoint, encoding) as witness:
            while publisher.subscribers("v1/") < 2:
                assert publisher.serve_subscriptions(PATIENCE_S)
            foreign = [verdict_message(1 + number, line="web-2") for number in range(200)]
            send(publisher, *foreign, line="web-2")
            send(publisher, verdict_message(1))
            for _ in range(201):
                assert witness.receive(PATIENCE_S)
        looks = 1
        while reader.receive(0.0) is None:
            looks += 1
    # Its time being up, it looks at one message and no further.
    assert looks >= 201


@pytest.mark.parametrize(
    "arguments",
    [
        ["no address"],
        ["tcp://127.0.0.1:5556", "--json-lines", "/no/such/folder/lines"],
        ["tcp://127.0.0.1:5556", "--ready", "/no/such/folder/ready"],
    ],
    ids=str,
)
def test_a_wrong_command_line_is_explained(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert "--help" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--count", "0"], ["--encoding", "xml"], []], ids=str)
def test_a_wrong_option_ends_with_code_2(option: list[str]) -> None:
    endpoint = ["tcp://127.0.0.1:5556"] if option else []
    with pytest.raises(SystemExit) as ended:
        main(endpoint + option)
    assert ended.value.code == 2


def test_reading_verdicts_needs_neither_torch_nor_openvino() -> None:
    script = (
        "import sys, json, kenpin.runtime.wire.subscriber, kenpin.runtime.wire.feed;"
        "print(json.dumps(sorted(sys.modules)))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, timeout=PATIENCE_S
    )
    heavy = {"torch", "nncf", "openvino", "cv2", "numpy"}
    assert not heavy & set(json.loads(loaded.stdout))


@given(count=st.integers(1, 30), lost=st.sets(st.integers(1, 30)), told=st.sets(st.integers(1, 30)))
def test_lost_verdicts_are_complained_of_and_only_they(
    count: int, lost: set[int], told: set[int]
) -> None:
    check = SequenceCheck()
    assert check.fault(state_message(0)) is None
    unseen = 0
    for seq in range(1, count + 1):
        messages: list[Any] = [] if seq in lost else [verdict_message(seq)]
        messages += [state_message(seq)] if seq in told else []
        unseen += seq in lost
        for message in messages:
            assert (check.fault(message) is not None) is (unseen > 0)
            unseen = 0


def test_a_verdict_that_comes_twice_is_complained_of() -> None:
    check = SequenceCheck()
    assert check.fault(verdict_message(5)) is None
    assert check.fault(verdict_message(5)) == "verdict 5 came again, or too late: expected 6"
    assert check.fault(verdict_message(6)) is None


def test_a_new_boot_begins_a_new_numbering() -> None:
    check = SequenceCheck()
    assert check.fault(verdict_message(5)) is None
    assert check.fault(verdict_message(1, boot=OTHER_BOOT)) is None
    assert check.fault(verdict_message(3, boot=OTHER_BOOT)) == "verdict 2 is missing"


def test_a_parent_can_wait_at_a_pipe_of_its_own(
    publisher: VerdictPublisher, tmp_path: Path
) -> None:
    pipe = tmp_path / "ready"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "kenpin.runtime.wire.subscriber", publisher.endpoint]
    command += ["--ready", str(pipe), "--count", "1", "--timeout-s", str(PATIENCE_S)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            assert with_state(publisher).wait_for_subscriber(PATIENCE_S)
            with pipe.open() as ready:
                assert ready.readline() == "ready\n"
            send(publisher, verdict_message(1))
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
