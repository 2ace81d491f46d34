"""A flood of nonsense from one client, as the other clients feel it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flooder import Flooder
from kenpin.runtime.bundles.bundle import Bundle
from running_line import Client, RunningLine, line_toml

pytestmark = pytest.mark.clock

STILL = 'kind = "synthetic", height_px = 128, width_px = 320, seed = 3'
WINDOW_S = 0.5
ROUNDS = 6


@pytest.fixture
def line(patchcore: Bundle, tmp_path: Path) -> Iterator[RunningLine]:
    # Less than a flood lasts: who waited for its end would be late. More than others of a busy
    # machine take from the inspection.
    trigger = 'mode = "software", budget_ms = 2500'
    toml = line_toml(tmp_path, patchcore.folder, trigger=trigger, camera=STILL)
    with RunningLine(toml) as running:
        running.state("operational.ready")
        yield running


@pytest.fixture
def flooder(line: RunningLine, tmp_path: Path) -> Iterator[Flooder]:
    started = Flooder(f"ipc://{tmp_path}/ctl")
    yield started
    started.close()


def answers_ms(client: Client, seconds: float) -> list[float]:
    """How long answers of the line take, one question after the other."""
    found = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.monotonic()
        client.say("status")
        client.of_kind("state")
        found.append((time.monotonic() - started) * 1e3)
        client.hear(0.002)
    return found


@pytest.mark.alone
def test_a_thousand_malformed_messages_a_second_are_not_felt_by_another_client(
    line: RunningLine, flooder: Flooder
) -> None:
    plc = line.client()
    answers_ms(plc, WINDOW_S)
    peace, flood, sent = [], [], 0
    # Interleaved and by medians of windows: other work on the machine hits both alike.
    for _ in range(ROUNDS):
        peace.append(answers_ms(plc, WINDOW_S))
        flooder.flood(1000, WINDOW_S)
        flood.append(answers_ms(plc, WINDOW_S))
        sent += flooder.sent()
    assert sent > 0.5 * ROUNDS * WINDOW_S * 1000
    for share in (0.5, 0.99):
        before, during = (
            statistics.median(sorted(window)[int(share * (len(window) - 1))] for window in windows)
            for windows in (peace, flood)
        )
        # Without patience: every message explained, 1.5 times the median or more.
        assert during < 1.5 * before + 0.5, f"p{100 * share:g}: {before:.2f} to {during:.2f} ms"


def test_every_trigger_gets_its_verdict_during_a_flood_as_fast_as_can_be(
    line: RunningLine, flooder: Flooder
) -> None:
    plc = line.client()
    flooder.flood(100_000, 3.0)
    for number in range(20):
        verdict = plc.ask(str(number))
        plc.say("ack", seq=verdict["seq"])
        assert verdict["reason"] != "late"
    assert flooder.sent() > 5000
    while len(line.verdicts) < 20:
        line.verdict()
    line.listen(0.2)
    assert [message["seq"] for message in line.verdicts] == list(range(1, 21))
