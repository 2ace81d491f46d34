"""The handshake as a client sees it, in each encoding, and what a newcomer is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.wire.map_encoding import Encoding, decode_any
from kenpin.runtime.wire.struct_encoding import pack, unpack
from running_line import Client, RunningLine, line_toml

pytestmark = pytest.mark.clock

STILL = 'kind = "synthetic", height_px = 128, width_px = 320, seed = 3'
TRIGGER = 'mode = "software", budget_ms = 2000'
CODECS: dict[str, tuple[Any, Any]] = {
    "msgpack": (msgpack.packb, msgpack.unpackb),
    "json": (lambda fields: json.dumps(fields).encode(), json.loads),
    "struct": (pack, unpack),
}
# A budget of more than a minute.
BROKEN = {
    name: write({"v": 1, "type": "trigger", "trig": "12", "recipe": None, "budget_us": 60_000_001})
    for name, (write, _) in CODECS.items()
}


def started(folder: Path, bundle: Path, encoding: str, pub: str = "msgpack") -> RunningLine:
    wire = (
        f'ctl = "ipc://{folder}/ctl", pub = "ipc://{folder}/pub", '
        f'encoding = "{encoding}", pub_encoding = "{pub}"'
    )
    return RunningLine(line_toml(folder, bundle, trigger=TRIGGER, camera=STILL, wire=wire))


@pytest.fixture(scope="module", params=list(CODECS))
def spoken(
    request, patchcore: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningLine, str]]:
    """A line that speaks one of the encodings on ctl, and msgpack on pub."""
    with started(tmp_path_factory.mktemp("line"), patchcore.folder, request.param) as line:
        line.state("operational.ready")
        yield line, request.param


@pytest.fixture
def plc(spoken: tuple[RunningLine, str], request) -> Client:
    """A client of it that nobody has heard of."""
    line, encoding = spoken
    return line.client(request.function.__name__[:32], encoding=encoding)


def test_the_whole_handshake(plc: Client) -> None:
    plc.say("hello")
    state = plc.of_kind("state")
    assert state["state"] == "operational.ready"
    seq = state["last_seq"] + 1
    plc.say("trigger", trig="4711", recipe="small", budget_us=1_900_000)
    ack = plc.of_kind("trigger_ack")
    assert (ack["trig"], ack["fresh"], ack["overrun"]) == ("4711", True, False)
    assert 0 < ack["deadline_ns"] - ack["t_mono_ns"] <= 1_900_000_000
    acquired = plc.of_kind("acquired")
    verdict = plc.of_kind("verdict")
    assert acquired["frame"] == verdict["frame"]
    assert (verdict["trig"], verdict["seq"]) == ("4711", seq)
    assert verdict["t_mono_ns"] <= ack["deadline_ns"]
    assert verdict["sim"] is True
    # It comes again until it is acknowledged, the very same; and then no more.
    assert plc.of_kind("verdict") == verdict
    plc.say("ack", seq=seq)
    plc.settled()
    assert plc.hear(0.1) == []
    # The same id: the same verdict, and no other part.
    plc.say("trigger", trig="4711", recipe="small", budget_us=1_900_000)
    assert plc.of_kind("trigger_ack")["fresh"] is False
    assert plc.of_kind("verdict") == verdict
    plc.say("trigger", trig="4711", recipe="other")
    error = plc.of_kind("error")
    assert (error["about"], error["trig"]) == ("trigger", "4711")
    plc.say_raw(b"\x00nonsense")
    error = plc.of_kind("error")
    assert (error["about"], error["trig"]) == (None, None)
    # Nor what breaks its schema; it names what it can be told of, its field first.
    plc.say_raw(BROKEN[plc.encoding])
    error = plc.of_kind("error")
    assert (error["about"], error["trig"]) == ("trigger", "12")
    assert error["detail"].startswith("budget_us: Input should be less than or equal")
    plc.say("status")
    assert plc.of_kind("state")["counts"]["frames"] == seq
    plc.say("selftest")
    assert plc.of_kind("selftest_done")["passed"] is True
    plc.say("activate")
    assert plc.of_kind("error")["about"] == "activate"
    plc.say("roll_start", name="")
    assert "rolls" in plc.of_kind("error")["detail"]


def test_eight_verdicts_wait_for_their_ack_and_a_ninth_is_an_overrun(plc: Client) -> None:
    seqs = [plc.ask(str(part))["seq"] for part in range(1, 10)]
    plc.say("trigger", trig="10")
    assert plc.until(lambda m: m["type"] == "trigger_ack" and m["trig"] == "10")["overrun"] is True
    seqs.append(plc.until(lambda m: m["type"] == "verdict" and m["trig"] == "10")["seq"])
    plc.say("hello")
    plc.of_kind("state")
    # Some of them are sent again meanwhile.
    unacked = sorted({m["seq"] for m in plc.settled() if m["type"] == "verdict"})
    assert unacked == seqs[2:]
    for seq in unacked:
        plc.say("ack", seq=seq)
    plc.say("trigger", trig="11")
    assert plc.until(lambda m: m["type"] == "trigger_ack" and m["trig"] == "11")["overrun"] is False


@pytest.mark.parametrize(
    "pub", [Encoding.MSGPACK, pytest.param(Encoding.JSON, marks=pytest.mark.thorough)]
)
def test_everything_published_obeys_its_schema_and_a_newcomer_hears_state_and_alarms(
    own_bundle: Path, tmp_path: Path, pub: Encoding
) -> None:
    with (
        started(tmp_path, own_bundle, "struct", pub) as line,
        zmq.Context() as context,
        context.socket(zmq.SUB) as early,
        context.socket(zmq.SUB) as newcomer,
    ):
        early.setsockopt(zmq.LINGER, 0)
        early.connect(f"ipc://{tmp_path}/pub")
        early.subscribe(b"v1/")
        heard = listen(early, pub, until="hb")
        plc = line.client("plc", encoding="struct")
        while "ready" not in plc_state(plc):
            pass
        plc.say_raw(BROKEN["struct"])
        assert "60000000" not in plc.of_kind("error")["detail"], "it has room for the beginning"
        line.logs("Input should be less than or equal to 60000000 (found 60000001)")
        line.fault("sleep 0.6")
        assert plc.ask("1", budget_us=400_000)["reason"] == "late"
        heard += listen(early, pub, until="late")
        while "ready" not in plc_state(plc):
            pass
        # A golden frame is broken: somebody must come, and whoever joins must know.
        golden = own_bundle / "golden" / "good-0.png"
        golden.write_bytes(golden.read_bytes()[:-1] + b"x")
        plc.say("selftest")
        assert plc.of_kind("selftest_done")["passed"] is False
        heard += listen(early, pub, until="selftest")
        plc.say("hello")
        # A slow machine has complaints of its own.
        assert plc.until(lambda m: m["type"] == "alarm" and m["source"] == "selftest")["active"]
        newcomer.setsockopt(zmq.LINGER, 0)
        newcomer.connect(f"ipc://{tmp_path}/pub")
        newcomer.subscribe(b"v1/")
        told = listen(newcomer, pub, until="selftest")
        assert told[0][1].type == "state"
        assert told[-1][1].active is True
        for topic, message in heard + told:
            assert topic == f"v1/{message.type}/web-1"


def plc_state(plc: Client) -> str:
    """Where the line says that it stands."""
    plc.say("status")
    return str(plc.of_kind("state")["state"])


def listen(socket: zmq.Socket[bytes], encoding: Encoding, until: str) -> list[tuple[str, Any]]:
    """Topics and messages up to the first of a type or source; each has passed its schema."""
    found: list[tuple[str, Any]] = []
    while not found or until not in (found[-1][1].type, getattr(found[-1][1], "source", "")):
        assert socket.poll(30_000), f"no {until} came"
        topic, payload = socket.recv_multipart()
        found.append((topic.decode(), decode_any(payload, encoding)))
    return found
