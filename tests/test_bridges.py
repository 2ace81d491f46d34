"""Bridges as processes: they keep every promise, cost none, and keep strangers out."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bridge_process import BridgeProcess, free_port, lying_facts
from bridge_promises import check_every_promise, check_real_line, with_bridge
from kenpin.config.bridges import BRIDGES, BridgeSettings, ModbusSettings
from kenpin.config.errors import ConfigError
from kenpin.config.exits import Exit
from kenpin.config.line import load_line
from kenpin.runtime.bridges.modbus.registers import END, STATUS_AT
from kenpin.runtime.bridges.modbus.requests import ModbusError, Requests, stall
from kenpin.runtime.bridges.process import STARTING, BridgeReport
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.plc import via
from kenpin.runtime.plc.book import Book, Promise
from kenpin.runtime.plc.cli import main as edge_plc
from kenpin.runtime.plc.drive import Drive, Plan
from kenpin.runtime.plc.faults import Fault, Faults
from kenpin.runtime.plc.limits import PlcLimits
from kenpin.runtime.plc.published import Numbers
from kenpin.runtime.plc.via import Bridge, bridge_of
from kenpin.runtime.plc.watch import Watch
from kenpin.runtime.service.all_sides import AllSides
from kenpin.runtime.service.check import problems_of
from kenpin.runtime.service.sides.bridge import BridgeSide
from kenpin.runtime.service.sides.side import Surroundings
from kenpin.runtime.wire.client import LineClient, LineSilentError, WireOptions
from kenpin.runtime.wire.keys import ClientKeys
from lying_line import LyingLine
from running_line import PATIENCE_S, UNHURRIED, RunningLine, check_undisturbed, line_toml
from test_plc import LIMITS, told

pytestmark = pytest.mark.clock

FAULTS = ("bridge-killed", "bridge-stopped", "double")


def until(happened: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < end, what
        time.sleep(0.01)


# -- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"address": '"0.0.0.0"'}, "list the PLC's address in `allow`"),
        ({"address": '"plc.local"'}, "expected an address in numbers"),
        ({"allow": '["192.168.0.1/24"]'}, "expected addresses or networks"),
        ({"port": 0}, "greater than or equal to 1"),
        ({"colour": 3}, "unknown key"),
        ({"name": '"status"'}, "another name"),
        ({"name": '"camera"'}, "another name"),
    ],
)
def test_settings_that_cannot_be_are_named(
    tmp_path: Path, settings: dict[str, object], complaint: str
) -> None:
    toml = with_bridge(line_toml(tmp_path, tmp_path), kind='"modbus"', **settings)
    with pytest.raises(ConfigError, match="bridges") as error:
        load_line(toml)
    assert complaint in str(error.value)


@pytest.mark.parametrize(
    ("wire", "complaint"),
    [
        ('encoding = "struct"', "says too little"),
        ('pub_encoding = "struct"', "says too little"),
        ('ctl = "tcp://127.0.0.1:*"', "give each a port"),
        ('keys = "keys"', "edge-run keys client"),
    ],
)
def test_a_line_that_no_bridge_can_talk_with_is_refused(
    tmp_path: Path, wire: str, complaint: str
) -> None:
    toml = with_bridge(line_toml(tmp_path, tmp_path, wire=wire), kind='"modbus"')
    with pytest.raises(ConfigError, match="bridges") as error:
        load_line(toml)
    assert complaint in str(error.value)


def test_an_unknown_kind_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    toml = with_bridge(line_toml(tmp_path, tmp_path), kind='"profibus"')
    with pytest.raises(ConfigError, match="'profibus' is not known; expected one of: modbus, mqtt"):
        load_line(toml)


def test_a_missing_library_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = dataclasses.replace(BRIDGES.find("modbus"), needs=("not_there_at_all", "modbus"))
    with pytest.raises(ConfigError, match=r"pip install 'kenpin\[modbus\]'"):
        gone.check_installed()
    monkeypatch.setattr("kenpin.config.bridges.MODBUS", gone)
    line = load_line(with_bridge(line_toml(tmp_path, tmp_path), kind='"modbus"'))
    assert any("pip install 'kenpin[modbus]'" in problem for problem in problems_of(line))


def test_two_bridges_on_one_port_are_a_problem(tmp_path: Path) -> None:
    toml = with_bridge(line_toml(tmp_path, tmp_path), kind='"modbus"')
    toml = with_bridge(toml, kind='"modbus"', name='"second"')
    assert any("bridges.second.port" in problem for problem in problems_of(load_line(toml)))


def test_names_that_are_one_in_ps_are_two_to_the_line_and_none_to_blows(tmp_path: Path) -> None:
    toml = line_toml(tmp_path, tmp_path)
    for name in ("palletizer-a", "palletizer-b"):
        toml = with_bridge(toml, kind='"modbus"', name=f'"{name}"', port=free_port())
    line = load_line(toml)
    coordinator = SimpleNamespace(sides=[], slots=SimpleNamespace(give_back=None))
    announcer = SimpleNamespace(boot="", roll=None)
    parts: Any = SimpleNamespace(
        line=line,
        announcer=announcer,
        coordinator=coordinator,
        ring=None,
        clock_ns=time.monotonic_ns,
    )
    sides = AllSides(parts)
    sides.start()
    pids = sides.pids
    sides.stop(0.0)
    assert sorted(pids) == ["palletizer-a", "palletizer-b"]
    assert len(set(pids.values())) == 2
    bridge = bridge_of(line, toml, "palletizer-b", 0.1)
    with pytest.raises(ConfigError, match="palletizer-b, palletizer-a are all kenpin-palletiz on"):
        bridge.kill()
    bridge.close()


# -- a bridge's process, before a line that is played ----------------------------------------------


@pytest.fixture
def line(tmp_path: Path) -> Iterator[LyingLine]:
    with LyingLine(tmp_path) as line:
        yield line


@contextlib.contextmanager
def modbus(line: LyingLine, **settings: object) -> Iterator[tuple[ModbusSettings, BridgeProcess]]:
    """A Modbus bridge that is reached."""
    found = ModbusSettings.model_validate({"kind": "modbus", "port": free_port()} | settings)
    with BridgeProcess(found, lying_facts(line)) as process:
        until(lambda: _reached(found), f"the bridge: {process.process.ended} {process.fault}")
        yield found, process


def _reached(settings: ModbusSettings) -> bool:
    try:
        Requests(settings.address, settings.port).close()
    except OSError:
        return False
    return True


def _connected(bridge: Bridge) -> Any:
    """A PLC's session, as soon as the bridge answers within a PLC's patience: 0.3 s."""
    found: list[Any] = []

    def answers() -> bool:
        with contextlib.suppress(LineSilentError):
            found.append(bridge.connect("77"))
        return bool(found)

    try:
        until(answers, "the bridge does not answer")
    except BaseException:
        bridge.close()
        raise
    return found[0]


class Each(Faults):
    """Every kind of fault once, with a part in six."""

    def __init__(self, *without: Fault) -> None:
        super().__init__(sorted(set(Fault) - set(without)), 1.0, 0)
        self._number = 0

    def next(self) -> Fault | None:
        self._number += 1
        return self._due.pop() if self._due and self._number % 6 == 0 else None

    def up_to(self, most: int) -> int:
        return most


def inspect(
    line: LyingLine,
    settings: BridgeSettings,
    process: BridgeProcess,
    faults: Faults,
    *,
    poll_s: float = 0.01,
    rate_hz: float = 20,
    parts: int = 10,
) -> Watch:
    """A PLC looks at a line through a bridge."""
    listener = LineClient(None, line.pub)
    bridge = Bridge(settings, lying_facts(line), listener, lambda: process.pid, poll_s)
    client = _connected(bridge)
    numbered = getattr(client, "numbered", "seq")
    watch = Watch(
        bridge.limits(LIMITS), "400", time.monotonic_ns(), session="77", numbered=numbered
    )
    client.say("hello")
    online: list[str] = []

    def listens() -> bool:
        heard = client.receive(0.1)
        if heard is not None:
            watch.heard(heard)
            online.append(heard.kind)
        return "state" in online

    until(listens, "never online")
    drive = Drive(
        lambda: bridge.connect("77"),
        bridge.stall,
        watch,
        Plan(rate_hz=rate_hz, count=parts, seconds=PATIENCE_S, prefix="400"),
        faults,
        bridge=bridge,
    )
    drive.run(client)
    return watch


def test_every_promise_holds_through_modbus_whatever_goes_wrong(line: LyingLine) -> None:
    with modbus(line) as (settings, process):
        watch = inspect(line, settings, process, Each(Fault.BROKER_AWAY), parts=50)
        assert process.process.restarts == 1
    check_every_promise(watch, 50)


@pytest.mark.parametrize(
    ("poll_ms", "rate_hz"), [(32, 12), pytest.param(100, 4, marks=pytest.mark.thorough)]
)
def test_every_promise_holds_for_a_plc_that_looks_seldom(
    line: LyingLine, poll_ms: int, rate_hz: float
) -> None:
    with modbus(line) as (settings, process):
        watch = inspect(
            line, settings, process, Faults([], 0, 0), poll_s=poll_ms / 1000, rate_hz=rate_hz
        )
    assert told(watch) == [], told(watch)
    assert watch.reasons["ok"] == watch.parts.sent


@pytest.mark.parametrize(
    ("lie", "promise"),
    [
        ("no verdict", Promise.ANSWER),
        ("another frame", Promise.OURS),
        ("two minds", Promise.SAME),
    ],
)
def test_a_promise_that_the_line_breaks_is_seen_through_the_bridge(
    tmp_path: Path, lie: str, promise: Promise
) -> None:
    with LyingLine(tmp_path, lie) as line, modbus(line) as (settings, process):
        watch = inspect(line, settings, process, Faults([], 0, 0))
    assert watch.book.broken[promise] > 0, told(watch)


def test_a_bridge_that_alters_a_verdict_breaks_a_promise() -> None:
    watch = Watch(PlcLimits(), "400", 0, session="77", numbered="result")
    watch._boot = "00000001"
    verdict = {"seq": 5, "boot": "00000001", "score": 0.25}
    watch.directly(verdict, 1)
    watch._same(verdict | {"result": 1}, 2)
    assert watch.book.clean
    watch._same(verdict | {"result": 1, "score": 0.5}, 3)
    assert watch.book.broken[Promise.SAME] == 1


def test_a_look_that_came_late_by_our_own_fault_loses_no_heartbeat() -> None:
    """Of a counter whoever sleeps sees only the last number."""
    beat, ms = {"hb_seq": 5, "state": ""}, 10**6
    for napped_ms, broken in ((0, 1), (400, 0)):
        watch = Watch(PlcLimits(beats_a_look=3), "400", 0, session="77")
        watch.pulse.beat(beat, 1000 * ms)
        if napped_ms:
            watch.clocks.held_up(1010 * ms, (1010 + napped_ms) * ms)
        watch.pulse.beat(beat | {"hb_seq": 11}, 1600 * ms)
        assert watch.book.broken[Promise.SEQUENCE] == broken


def _numbers(history_ns: int) -> tuple[Book, Numbers]:
    book = Book()
    numbers = Numbers(book, history_ns=history_ns)
    numbers.verdict({"seq": 5, "score": None}, 0)
    return book, numbers


def test_a_verdict_that_comes_as_history_was_not_lost() -> None:
    book, numbers = _numbers(history_ns=5_000)
    numbers.last(7, 1_000, "a heartbeat")
    numbers.history({"seq": 6}, 2_000)
    numbers.verdict({"seq": 9, "score": None}, 3_000)
    numbers.history({"seq": 8}, 4_000)
    numbers.history({"seq": 7}, 5_000)
    numbers.history({"seq": 10}, 6_000)
    numbers.verdict({"seq": 11, "score": None}, 7_000)
    numbers.history({"seq": 2}, 8_000)  # of before we looked
    numbers.finish(9_000)
    assert book.clean, book.breaches


@pytest.mark.parametrize("history_ns", [0, 5_000])
def test_a_verdict_that_never_comes_was_lost(history_ns: int) -> None:
    book, numbers = _numbers(history_ns)
    numbers.verdict({"seq": 8, "score": None}, 1_000)
    numbers.history({"seq": 7}, 2_000)
    numbers.tick(3_000)
    assert book.broken[Promise.SEQUENCE] == (history_ns == 0)
    numbers.tick(6_001)
    assert book.broken[Promise.SEQUENCE] == 1


def test_strangers_are_not_let_in(line: LyingLine) -> None:
    with modbus(line, address="0.0.0.0", allow=("127.0.0.1", "::1")) as (settings, _):
        with socket.create_connection(
            ("127.0.0.1", settings.port), 5, source_address=("127.0.0.2", 0)
        ) as stranger:
            stranger.settimeout(5)
            with contextlib.suppress(ConnectionError):
                assert stranger.recv(1) == b""
        plc = Requests("127.0.0.1", settings.port, 5)
        assert len(plc.read(STATUS_AT, 50)) == 50
        plc.close()


def test_only_the_control_block_can_be_written(line: LyingLine) -> None:
    with modbus(line) as (settings, _):
        plc = Requests(settings.address, settings.port, 5)
        with pytest.raises(ModbusError, match="refused with code 2"):
            plc.write(STATUS_AT, [1])
        with pytest.raises(ModbusError, match="refused with code 2"):
            plc.write(15, [1, 1])
        with pytest.raises(ModbusError, match="refused with code 2"):
            plc.read(END - 1, 2)
        assert len(plc.read(STATUS_AT, 100)) == 100
        plc.close()


def test_one_connection_too_many_costs_the_one_that_was_silent_longest(line: LyingLine) -> None:
    with modbus(line, max_connections=2) as (settings, _):
        first, second, third = (_asking(settings) for _ in range(3))
        with pytest.raises(OSError, match=r"hung up|reset"):
            first.read(STATUS_AT, 1)
        for one in (second, third):
            one.read(STATUS_AT, 1)
        for one in (first, second, third):
            one.close()


def _asking(settings: ModbusSettings) -> Requests:
    found = Requests(settings.address, settings.port, 5)
    found.read(STATUS_AT, 1)
    return found


def test_noise_and_those_who_never_read_harm_nobody_else(line: LyingLine) -> None:
    """Seeded noise: whole and cut frames, absurd lengths, foreign protocols."""
    rng = random.Random(7)
    with modbus(line, max_connections=64) as (settings, process):
        plc, pid = _asking(settings), process.pid
        ends = [stall(settings) for _ in range(4)]
        for _ in range(200):
            length = rng.choice([0, 1, 2, 6, 255, 65535])
            noise = struct.pack(">HHHB", rng.randrange(65536), rng.choice([0, 1]), length, 1)
            noise += rng.randbytes(rng.choice([0, 1, 5, 300, 3000]))
            with (
                contextlib.suppress(OSError),
                socket.create_connection((settings.address, settings.port), 5) as one,
            ):
                one.sendall(noise)
            plc.read(STATUS_AT, 50)
        for end in ends:
            end()
        plc.close()
        assert process.pid == pid
        assert process.process.restarts == 0


def test_a_port_that_is_taken_is_an_alarm_until_it_is_free(line: LyingLine) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        settings = ModbusSettings(kind="modbus", port=holder.getsockname()[1])
        with BridgeProcess(settings, lying_facts(line)) as process:
            until(lambda: "cannot be had" in process.fault, "never complained")
            holder.close()
            until(lambda: process.fault == "", "never mended")
            _asking(settings).close()


# -- the whole service -----------------------------------------------------------------------------


@pytest.mark.thorough
def test_a_real_line_keeps_its_promises_through_modbus(
    patchcore: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_real_line(tmp_path, patchcore.folder, "modbus", FAULTS, 0.2, port=free_port())
    assert "every promise was kept" in capsys.readouterr().out


def test_a_bridge_that_is_flooded_and_killed_costs_no_verdict(
    patchcore: Bundle, tmp_path: Path
) -> None:
    toml = line_toml(tmp_path, patchcore.folder, **UNHURRIED)
    with_bridge(toml, kind='"modbus"', port=free_port())
    settings = load_line(toml).bridges[0]
    assert isinstance(settings, ModbusSettings)
    with RunningLine(toml) as running:
        running.state("operational.continuous")
        until(lambda: _reached(settings), "the bridge does not listen")
        for _ in range(40):
            stall(settings)()
            running.listen(0.05)
        os.kill(running.child("kenpin-modbus"), signal.SIGKILL)
        running.listen(0.5)
        check_undisturbed(running)


def test_edge_plc_names_the_bridges_that_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml = str(with_bridge(line_toml(tmp_path, tmp_path), kind='"modbus"', name='"west"'))
    assert edge_plc(["--line-toml", toml, "--via", "opcua"]) == Exit.CONFIG
    assert "expected one of [[bridges]]: west" in capsys.readouterr().err
    assert edge_plc(["--via", "modbus"]) == Exit.CONFIG
    assert "--line-toml" in capsys.readouterr().err
    assert edge_plc(["--line-toml", toml, "--fault", "bridge-killed"]) == Exit.CONFIG
    assert "--via" in capsys.readouterr().err


def test_edge_plc_hears_a_line_that_asks_for_keys_with_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[WireOptions] = []
    monkeypatch.setattr(via, "LineClient", lambda *_, options, **__: made.append(options))
    toml = with_bridge(line_toml(tmp_path, tmp_path), kind='"modbus"')
    keys = ClientKeys(*(b"k" * 32 for _ in range(3)))
    bridge_of(load_line(toml), toml, "modbus", 0.1, keys)
    assert [options.keys for options in made] == [keys]


class Starting:
    """A bridge's process that says so, and then reads its libraries for long."""

    pid, ended, killed = 7, "", False

    def __init__(self) -> None:
        self.told = [BridgeReport("", STARTING)]

    def poll(self) -> list[BridgeReport]:
        told, self.told = self.told, []
        return told

    def kill(self) -> None:
        self.killed = True


def test_a_bridge_may_read_its_libraries_for_a_minute_and_the_next_for_two(tmp_path: Path) -> None:
    toml = with_bridge(line_toml(tmp_path, tmp_path), kind='"modbus"', port=free_port())
    line, now = load_line(toml), [0]
    unused: Any = None
    around = Surroundings(line, "", unused, unused, unused, unused, lambda: now[0])
    handle = BridgeSide(line.bridges[0], around)
    slow: Any = Starting()
    handle.process = slow
    for pid, allowed_s in ((7, 60), (8, 120)):
        slow.pid, slow.killed = pid, False
        handle.poll()
        for seconds, killed in ((allowed_s, False), (11, True)):
            now[0] += seconds * 10**9
            handle.poll()
            assert slow.killed == killed


def test_a_bridge_that_hangs_is_replaced_and_told(tmp_path: Path) -> None:
    toml = with_bridge(line_toml(tmp_path, tmp_path), kind='"modbus"', port=free_port())
    line, now = load_line(toml), [0]
    unused: Any = None
    around = Surroundings(line, "", unused, unused, unused, unused, lambda: now[0])
    handle = BridgeSide(line.bridges[0], around)

    def lives() -> bool:
        handle.poll()
        return bool(handle._address)

    handle.process.start()
    try:
        until(lives, "no sign of life")
        first = handle.process.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        now[0] += 11 * 10**9
        handle.poll()
        assert "hung for 10 s" in handle.alarm

        def replaced() -> bool:
            now[0] += 10**9
            handle.poll()
            return handle.process.pid not in (first, None)

        until(replaced, "not replaced")

        def well() -> bool:
            handle.poll()
            return not handle.alarm

        until(well, "the alarm stays")
    finally:
        handle.process.stop(1.0)
