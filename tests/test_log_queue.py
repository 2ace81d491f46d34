"""The log never blocks whoever writes to it, and says what it dropped."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator

import pytest
import structlog

from kenpin.runtime.service.logs import LogQueue, configure

pytestmark = pytest.mark.clock


@pytest.fixture(autouse=True)
def restore() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_lines_arrive_in_order_and_as_json() -> None:
    lines: list[bytes] = []
    log = LogQueue(lines.append)
    configure(log)
    logger = structlog.get_logger()
    for number in range(3):
        logger.info(f"event{number}", value=number)
    logger.debug("not wanted")
    assert log.close()
    found = [json.loads(line) for line in lines]
    assert [f["value"] for f in found] == [0, 1, 2]
    assert {f["level"] for f in found} == {"info"}


def test_a_blocked_reader_costs_lines_and_no_time() -> None:
    gate = threading.Event()
    lines: list[bytes] = []

    def write(line: bytes) -> None:
        gate.wait()
        lines.append(line)

    log = LogQueue(write, capacity=50)
    started = time.monotonic()
    for number in range(1000):
        log.write(f"{number}\n")
    assert time.monotonic() - started < 1
    assert 948 <= log.dropped <= 950
    gate.set()
    log.write("after\n")
    assert log.close(5)
    text = b"".join(lines).decode()
    assert f'"count": {log.dropped}' in text
    assert text.splitlines()[0] == "0"


def test_lines_that_were_dropped_are_an_alarm_for_five_minutes() -> None:
    now_s = [1000.0]
    gate = threading.Event()
    log = LogQueue(lambda _: gate.wait(), capacity=1, clock=lambda: now_s[0])
    assert log.alarm == ""
    while not log.alarm:
        log.write("x")
    told = f"{log.dropped} lines were dropped"
    for now_s[0], alarm in ((1000.0, told), (1300.0, told), (1301.0, "")):
        assert log.alarm == alarm
    while not log.alarm:
        log.write("x")
    gate.set()
    assert log.close(5)


def test_a_pipe_that_nobody_reads_is_left_behind_at_the_end() -> None:
    reader, writer = os.pipe()
    log = LogQueue(lambda line: os.write(writer, line), capacity=10)
    for _ in range(20):
        log.write("x" * 65_000)
    started = time.monotonic()
    assert not log.close(0.1)
    assert time.monotonic() - started < 1
    os.close(reader)
    os.close(writer)


def test_a_repeated_event_is_limited_and_the_rest_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    lines: list[bytes] = []
    log = LogQueue(lines.append)
    configure(log, burst=3)
    logger = structlog.get_logger()
    for _ in range(10):
        logger.warning("camera")
    logger.warning("other")
    now[0] = 61.0
    logger.warning("camera")
    monkeypatch.undo()
    assert log.close(5)
    found = [json.loads(line) for line in lines]
    assert [f["event"] for f in found] == ["camera"] * 3 + ["other", "camera"]
    assert found[-1]["suppressed"] == 7
