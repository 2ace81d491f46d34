"""The service as a process: what its clients see while it is well, and while it is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgpack
import pytest

from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.wire.map_encoding import Encoding, decode
from running_line import RunningLine, line_toml

pytestmark = pytest.mark.clock

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
    # A busy machine may keep the inspection waiting for longer than the usual 200 ms.
    patient = "hung_ms = 5000, kill_ms = 10000"
    line = start(camera=SYNTHETIC.format(rate=50, count=40), watchdog=patient)
    line.state("operational.continuous")
    begun = [message for _, topic, message in line.topics if topic.startswith("v1/state/")]
    usual = {"preoperational", "operational.initialized", "operational.continuous"}
    assert {message["state"] for message in begun} <= usual, (begun, line.log)
    while len(line.verdicts) < 40:
        line.verdict()
    assert line.stop() == 0
    check_books(line)
    assert sorted(m["frame"] for m in line.verdicts) == list(range(40))
    assert {m["verdict"] for m in line.verdicts} == {1, 2}
    assert all(m["sim"] for m in line.verdicts)


SOFTWARE = 'mode = "software", budget_ms = {}'
STILL = 'kind = "synthetic", height_px = 128, width_px = 320, seed = 3'


@pytest.mark.thorough
def test_a_line_says_that_its_processor_cannot_search_and_judges_without(start: Start) -> None:
    line = start(
        environ={"ONEDNN_MAX_CPU_ISA": "SSE41"},
        camera=f"{STILL}, rate_hz = 4",
        trigger='mode = "free", budget_ms = 9000',
        watchdog="hung_ms = 5000, kill_ms = 10000",
    )
    line.logs("every bank row is measured")
    line.verdict(lambda message: message["reason"] in (None, "defect"))


@pytest.fixture
def triggered(start: Start) -> RunningLine:
    """A line that waits for triggers."""
    line = start(trigger=SOFTWARE.format(2000), camera=STILL)
    line.state("operational.ready")
    return line


def test_a_trigger_is_acknowledged_acquired_and_judged_in_this_order(
    triggered: RunningLine,
) -> None:
    plc = triggered.client()
    plc.say("hello")
    assert plc.of_kind("state")["state"] == "operational.ready"
    verdict = plc.ask("part-1")
    plc.say("ack", seq=verdict["seq"])
    assert [m["type"] for _, m in plc.heard] == ["state", "trigger_ack", "acquired", "verdict"]
    assert (verdict["seq"], verdict["frame"], verdict["trig"]) == (1, 0, "part-1")
    assert verdict["bundle"].startswith("small@")
    assert triggered.verdict()["trig"] == "part-1"


def test_the_same_id_again_brings_the_same_verdict_and_no_second_part(
    triggered: RunningLine,
) -> None:
    plc = triggered.client()
    first = plc.ask("part-1")
    plc.say("ack", seq=first["seq"])
    assert plc.ask("part-1") == first
    assert plc.ask("part-2")["seq"] == 2
    plc.say("trigger", trig="part-2", recipe="other")
    assert "choose a new id" in plc.of_kind("error")["detail"]
    other = triggered.client("other")
    assert other.ask("part-1")["seq"] == 3, "ids of different clients are different"


def test_a_verdict_is_sent_again_until_it_is_acknowledged(triggered: RunningLine) -> None:
    plc = triggered.client(session="5")
    first = plc.ask("part-1")
    assert plc.of_kind("verdict") == first
    plc.say("ack", seq=1)
    plc.settled()
    assert [m for m in plc.hear(0.1) if m["type"] == "verdict"] == []
    # A client that vanished and came back is told what it has not acknowledged.
    plc.ask("part-2")
    plc.close()
    again = triggered.client(session="5")
    again.say("hello")
    assert again.of_kind("state")["session"] == "5"
    assert {m["trig"] for m in again.settled() if m["type"] == "verdict"} == {"part-2"}


def test_a_wrong_recipe_and_nonsense_are_answered_and_harm_nobody(triggered: RunningLine) -> None:
    plc = triggered.client()
    assert plc.ask("1", recipe="other")["reason"] == "recipe_mismatch"
    assert plc.ask("2", recipe="small")["reason"] != "recipe_mismatch"
    for parts in [(b"\xc1",), (b"",), (b"a", b"b"), (b"\x91" * 5000,)]:
        plc.say_raw(*parts)
        assert plc.of_kind("error")["detail"]
    plc.say("trigger", trig="x" * 200)
    assert "at most 128" in plc.of_kind("error")["detail"]
    assert plc.ask("3")["seq"] == 3


def test_golden_frames_are_judged_on_demand_and_on_schedule(start: Start) -> None:
    line = start(trigger=SOFTWARE.format(2000), camera=STILL, selftest="every_s = 1")
    line.state("operational.ready")
    plc = line.client()
    plc.say("selftest")
    assert plc.of_kind("selftest_done")["passed"]
    for want in (True, False, True, False):
        line.until(lambda m, w=want: m["type"] == "state" and m["selftest"] == w)


def test_a_self_test_whose_inspection_is_replaced_is_answered(start: Start) -> None:
    line = start(trigger=SOFTWARE.format(2000), camera=STILL)
    line.state("operational.ready")
    plc = line.client()
    os.kill(line.child(), signal.SIGSTOP)
    plc.say("selftest")
    assert not plc.of_kind("selftest_done")["passed"]
    line.until(lambda m: m["type"] == "state" and not m["selftest"])


@pytest.mark.parametrize(
    "name", [pytest.param("golden/good-0.png", marks=pytest.mark.thorough), "manifest.json"]
)
def test_a_bundle_that_changes_on_the_disk_ends_ready_until_it_is_whole_and_reset(
    own_bundle: Path, tmp_path: Path, name: str
) -> None:
    toml = line_toml(tmp_path, own_bundle, trigger=SOFTWARE.format(2000), camera=STILL)
    file = own_bundle / name
    whole = file.read_bytes()
    with RunningLine(toml) as line:
        line.state("operational.ready")
        plc = line.client()
        file.write_bytes(whole[:-1] + b"x")
        plc.say("selftest")
        done = plc.of_kind("selftest_done")
        assert not done["passed"]
        assert f"{name} no longer has the recorded SHA-256" in done["detail"]
        line.state("error")
        assert plc.ask("1")["reason"] == "selftest_failed"
        plc.say("reset")  # still broken
        line.until(lambda m: m["type"] == "alarm" and m["source"] == "bundle")
        assert plc.ask("2")["reason"] == "not_ready"
        file.write_bytes(whole)
        plc.say("reset")
        line.state("operational.ready")
        assert plc.ask("3")["reason"] in (None, "defect")


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("sleep 0.4", marks=pytest.mark.thorough),
        "gil 0.4",
        pytest.param("spin 0.4", marks=pytest.mark.thorough),
    ],
)
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


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGKILL, marks=pytest.mark.thorough), signal.SIGSTOP]
)
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
        trigger='mode = "free", budget_ms = 2000', camera=SYNTHETIC.format(rate=25, count=9000)
    )
    line.verdict(lambda m: m["verdict"] == 1)
    line.fault("sleep 1")
    line.begins_fault()
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


def test_triggers_under_way_at_a_stop_are_answered_shutdown_whatever_else_ends_with_it(
    start: Start,
) -> None:
    slow = 'kind = "synthetic", height_px = 128, width_px = 320, seed = 3, rate_hz = 0.02'
    line = start(trigger='mode = "software", budget_ms = 20000, max_in_flight = 4', camera=slow)
    line.state("operational.ready")
    client = line.client()
    client.ask("first")
    for trig in ("second", "third"):
        client.say("trigger", trig=trig)
        client.until(lambda m, trig=trig: m["type"] == "trigger_ack" and m["trig"] == trig)
    # The gateway learns of the stop and of the camera's end in one moment.
    line.process.send_signal(signal.SIGSTOP)
    acquisition = line.child("kenpin-acquire")
    os.kill(acquisition, signal.SIGKILL)
    stat = Path(f"/proc/{acquisition}/stat")
    while ") Z " not in stat.read_text():
        line.listen(0.01)
    line.process.send_signal(signal.SIGTERM)
    line.process.send_signal(signal.SIGCONT)
    for trig in ("second", "third"):
        verdict = client.until(lambda m, trig=trig: m["type"] == "verdict" and m["trig"] == trig)
        assert (verdict["verdict"], verdict["reason"]) == (2, "shutdown"), verdict["detail"]
    assert line.stop() == 0
