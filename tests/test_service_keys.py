"""edge-run with keys: who is served, who is not, and what is said about it."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from kenpin.config.exits import Exit
from kenpin.config.line import load_line
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.plc.cli import main as edge_plc
from kenpin.runtime.service.check import _wire
from kenpin.runtime.wire.client import LineClient, LineSilentError, WireOptions
from kenpin.runtime.wire.keys import ClientKeys, new_client, new_line, read_client, revoke
from running_line import PATIENCE_S, SERVE_LINE, RunningLine, line_toml

pytestmark = pytest.mark.clock

STILL = 'kind = "synthetic", height_px = 128, width_px = 320, seed = 3'


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    new_line(folder)
    for name in ("plc", "watch"):
        new_client(folder, name, tmp_path / name)
    return folder


@pytest.fixture
def wire(keys: Path) -> dict[str, str]:
    return {name: f"tcp://127.0.0.1:{free_port()}" for name in ("ctl", "pub")}


@pytest.fixture
def line(
    patchcore: Bundle, tmp_path: Path, keys: Path, wire: dict[str, str]
) -> Iterator[RunningLine]:
    toml = line_toml(
        tmp_path,
        patchcore.folder,
        trigger='mode = "software", budget_ms = 1000',
        camera=STILL,
        wire=f'ctl = "{wire["ctl"]}", pub = "{wire["pub"]}", keys = "keys"',
    )
    watch = read_client(tmp_path / "watch")
    with RunningLine(toml, pub=wire["pub"], keys=watch) as running:
        running.state("operational.ready")
        yield running


def test_a_line_with_keys_serves_the_admitted_alone_and_raises_an_alarm(
    line: RunningLine, tmp_path: Path, keys: Path, wire: dict[str, str]
) -> None:
    admitted = read_client(tmp_path / "plc")
    plc = line.client(ctl=wire["ctl"], keys=admitted)
    assert plc.ask("1")["seq"] == 1
    report = tmp_path / "report.json"
    where = ["--ctl", wire["ctl"], "--pub", wire["pub"], "--keys", str(tmp_path / "plc")]
    edge_plc([*where, "--count", "3", "--json", str(report)])
    assert json.loads(report.read_text())["verdicts"] == 3
    assert edge_plc([*where[:4], "--count", "3", "--wait-s", "0.5"]) == Exit.SILENT
    unknown = read_client(tmp_path / "plc")
    stranger = ClientKeys(*_pair(), unknown.line)
    for name, found in (("plain", None), ("stranger", stranger)):
        intruder = LineClient(wire["ctl"], name=name, options=WireOptions(keys=found))
        with pytest.raises(LineSilentError):
            intruder.say("trigger", trig=name, within_s=0.5)
        alarm = line.until(lambda m: m["type"] == "alarm" and m["source"] == "access", "an alarm")
        assert alarm["active"]
        intruder.close()
    line.logs("turned_away")
    revoke(keys, "plc")
    # Whatever it says from the next second on, nobody obeys; later it has no connection.
    answered = True
    for _ in range(100):
        try:
            plc._line.say("status", within_s=0.2)
            answered = bool(plc.hear(0.2))
        except LineSilentError:
            answered = False
        if not answered:
            break
    assert not answered
    assert line.process.poll() is None


def _pair() -> tuple[bytes, bytes]:
    public, secret = zmq.curve_keypair()
    return public, secret


@pytest.mark.parametrize(
    ("wire", "told"),
    [
        ('pub = "tcp://0.0.0.0:5556", ctl = "tcp://127.0.0.1:5555"', "needs keys"),
        ('pub = "tcp://127.0.0.1:5556", ctl = "tcp://*:5555"', "needs keys"),
        ('pub = "tcp://*:5556", keys = "nowhere"', "edge-run keys new"),
        ('pub = "tcp://*:5556", keys = "wide"', "others could read"),
        ('pub = "tcp://*:5556", keys = "empty"', "no client is admitted"),
    ],
)
def test_a_line_that_strangers_could_reach_does_not_start(
    patchcore: Bundle, tmp_path: Path, wire: str, told: str
) -> None:
    for name in ("wide", "empty"):
        new_line(tmp_path / name)
    (tmp_path / "wide" / "line.key_secret").chmod(0o644)
    toml = line_toml(tmp_path, patchcore.folder, camera=STILL, wire=wire)
    problems = list(_wire(load_line(toml)))
    assert any(told in problem for problem in problems), problems
    command = [*SERVE_LINE[:1], "-m", "kenpin.runtime.service.cli", str(toml)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode == Exit.CONFIG
    assert told in ended.stderr
