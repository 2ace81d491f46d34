"""The service as a process: what its clients see while it is well, and while it is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgpack
import pytest

from kenpin.runtime.bundle import Bundle
from kenpin.runtime.wire import Encoding, decode
from running_line import RunningLine, line_toml

Start = Callable[..., RunningLine]

SYNTHETIC = (
    'kind = "synthetic", height_px = 128, width_px = 320, seed = 3, '
    "rate_hz = {rate}, count = {count}"
)


@pytest.fixture
def start(patchcore: Bundle, tmp_path: Path) -> Iterator[Start]:
    running: list[RunningLine] = []

    def begin(*, environ: dict[str, str] | None = None, **settings: str) -> RunningLine:
        toml = line_toml(tmp_path, patchcore.folder, **settings)
        running.append(RunningLine(toml, environ=environ))
        return running[-1]

    yield begin
    for line in running:
        line.close()


def check_books(line: RunningLine) -> None:
    """Every verdict once, none missing, none contradicting itself."""
    verdicts = line.verdicts
    assert [m["seq"] for m in verdicts] == list(range(1, len(verdicts) + 1))
    frames = [m["frame"] for m in verdicts]
    assert len(set(frames)) == len(frames)
    for message in verdicts:
        decode(msgpack.packb(message), Encoding.MSGPACK)


def test_every_frame_of_a_free_running_line_gets_its_verdict(start: Start) -> None:
    line = start(camera=SYNTHETIC.format(rate=50, count=40))
    line.state("operational.continuous")
    while len(line.verdicts) < 40:
        line.verdict()
    assert line.stop() == 0
    check_books(line)
    assert sorted(m["frame"] for m in line.verdicts) == list(range(40))
    assert {m["verdict"] for m in line.verdicts} == {1, 2}
    assert all(m["sim"] for m in line.verdicts)


@pytest.mark.parametrize("fault", ["sleep 0.4", "gil 0.4", "spin 0.4"])
def test_a_stalled_inspection_is_answered_late_and_the_next_frames_are_judged(
    start: Start, fault: str
) -> None:
    line = start()
    line.verdict(lambda m: m["verdict"] == 1)
    line.fault(fault)
    late = line.verdict(lambda m: m["reason"] == "late")
    assert late["t_mono_ns"] - late["t_acq_ns"] >= 60_000_000
    line.verdict(lambda m: m["verdict"] == 1)
    check_books(line)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_dead_or_stopped_inspection_is_told_replaced_and_costs_only_ng(
    start: Start, number: int
) -> None:
    line = start()
    line.verdict(lambda m: m["verdict"] == 1)
    victim = line.child()
    os.kill(victim, number)
    line.state("error")
    line.state("operational.continuous")
    line.verdict(lambda m: m["verdict"] == 1)
    assert line.child() != victim
    check_books(line)


def test_sigterm_answers_what_is_under_way_and_ends_with_0(start: Start) -> None:
    line = start(
        trigger='mode = "free", budget_ms = 2000', camera=SYNTHETIC.format(rate=25, count=90)
    )
    line.verdict(lambda m: m["verdict"] == 1)
    line.fault("sleep 1")
    time.sleep(0.2)
    assert line.stop() == 0
    check_books(line)
    assert line.verdicts[-1]["reason"] == "shutdown"


def test_the_gateway_loads_neither_numpy_nor_openvino() -> None:
    code = (
        "import sys, kenpin.runtime.service.gateway, kenpin.runtime.service.cli; "
        "print(sorted({'numpy', 'cv2', 'openvino', 'harvesters'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
