"""edge-plc: it finds every broken promise, and no other; it drives a real line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kenpin.config.exits import Exit
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.store import point
from kenpin.runtime.plc.book import SENTENCES, Promise
from kenpin.runtime.plc.cli import main as edge_plc
from kenpin.runtime.plc.clocks import Clocks
from kenpin.runtime.plc.drive import Drive, Plan
from kenpin.runtime.plc.faults import BETWEEN, Fault, Faults
from kenpin.runtime.plc.histogram import Histogram
from kenpin.runtime.plc.limits import PlcLimits
from kenpin.runtime.plc.watch import Watch
from kenpin.runtime.wire.client import LineClient, WireOptions
from lying_line import LyingLine
from running_line import RunningLine, line_toml

pytestmark = pytest.mark.clock

_MS = 1_000_000
# Wide: the machine may be busy, and a lie is grosser than that.
LIMITS = PlcLimits(
    slack_ns=200 * _MS, stale_ns=250 * _MS, grace_ns=500 * _MS, resend_slack_ns=150 * _MS
)

LIES: list[tuple[str, Promise, tuple[Fault, ...]]] = [
    ("no verdict", Promise.ANSWER, ()),
    ("not a word", Promise.ANSWER, ()),
    ("ignores whoever errs", Promise.ANSWER, (Fault.RUBBISH,)),
    ("late", Promise.IN_TIME, ()),
    ("all the time in the world", Promise.IN_TIME, ()),
    ("judged twice", Promise.ONCE, ()),
    ("published twice", Promise.ONCE, ()),
    ("frame judged twice", Promise.ONCE, ()),
    ("shoots twice", Promise.ONCE, (Fault.DOUBLE,)),
    ("no ack", Promise.ORDER, ()),
    ("acquired late", Promise.ORDER, ()),
    ("never acquired", Promise.ORDER, ()),
    ("another part", Promise.OURS, ()),
    ("another session", Promise.OURS, ()),
    ("another frame", Promise.OURS, ()),
    ("another box", Promise.OURS, ()),
    ("two minds", Promise.SAME, ()),
    ("another mind", Promise.SAME, (Fault.NO_ACK,)),
    ("OK above the threshold", Promise.PROVEN, ()),
    ("zero", Promise.PROVEN, ()),
    ("slow, and OK", Promise.PROVEN, ()),
    ("never again", Promise.RESENT, (Fault.NO_ACK,)),
    ("deaf to acks", Promise.RESENT, ()),
    ("overrun for nothing", Promise.OVERRUN, ()),
    ("overrun untold", Promise.OVERRUN, (Fault.NO_ACK,)),
    ("lost", Promise.SEQUENCE, ()),
    ("lost heartbeat", Promise.SEQUENCE, ()),
    ("newest lost", Promise.SEQUENCE, ()),
    ("stale", Promise.FRESH, ()),
    ("silent bundle", Promise.BUNDLE, ()),
    ("a bundle from nowhere", Promise.BUNDLE, ()),
    ("silent", Promise.HEARTBEAT, ()),
    ("heartbeat of another state", Promise.HEARTBEAT, ()),
]
# What else a lie breaks of necessity.
ALSO = {
    "no verdict": {Promise.SEQUENCE},
    "no ack": {Promise.IN_TIME},
    "judged twice": {Promise.SEQUENCE},
    "another part": {Promise.ANSWER, Promise.SAME},
    "deaf to acks": {Promise.OVERRUN},
    "frame judged twice": {Promise.OURS},
    "another frame": {Promise.ONCE},
    "OK above the threshold": {Promise.ANSWER, Promise.SEQUENCE},
    "zero": {Promise.ANSWER, Promise.SEQUENCE},
    "stale": {Promise.SEQUENCE, Promise.ONCE},
    "newest lost": {Promise.ONCE},
    "another mind": {Promise.SAME},
}


class Once(Faults):
    """Each kind of fault with the second part, as long as it can be: a dozen for `no-ack`."""

    def __init__(self, kinds: tuple[Fault, ...]) -> None:
        super().__init__(kinds, 1.0, 0)
        self._number = 0

    def next(self) -> Fault | None:
        self._number += 1
        return self._kinds[0] if self._kinds and self._number == 2 else None

    def up_to(self, most: int) -> int:
        return most


def inspect(
    line: LyingLine, *kinds: Fault, parts: int = 20, rate_hz: float | None = 40, free: int = 0
) -> Watch:
    """A PLC looks at a line."""

    def connect() -> LineClient:
        return LineClient(line.ctl, line.pub, name="plc-x", session="77")

    client = connect()
    client.say("hello")
    watch = Watch(LIMITS, "plc-x-", time.monotonic_ns(), session=client.session)
    plan = Plan(rate_hz=None if free else rate_hz, count=free or parts, seconds=10, prefix="plc-x-")
    drive = Drive(
        connect,
        lambda: LineClient(None, line.pub, options=WireOptions(backlog=1)).close,
        watch,
        plan,
        Once(kinds),
    )
    drive.run(client)
    return watch


def told(watch: Watch) -> list[tuple[str, str]]:
    return [(b.promise.value, b.detail) for b in watch.book.breaches]


@pytest.mark.parametrize("fault", [None, *sorted(set(Fault) - BETWEEN)])
def test_an_honest_line_keeps_every_promise_whatever_the_plc_does(
    tmp_path: Path, fault: Fault | None
) -> None:
    with LyingLine(tmp_path) as line:
        watch = inspect(line, *([fault] if fault else []))
    assert told(watch) == []
    checked = {p for p in Promise if watch.book.checks[p]}
    assert checked >= set(Promise) - {Promise.RESENT, Promise.HEARTBEAT}
    refused = watch.parts.refusals
    assert watch.parts.sent == watch.reasons["ok"] + refused == 20
    assert bool(refused) == (fault is Fault.RUBBISH)
    assert watch.parts.latency.count >= 19 - refused


@pytest.mark.parametrize(("lie", "promise", "faults"), LIES, ids=[lie for lie, _, _ in LIES])
def test_every_broken_promise_is_found(
    tmp_path: Path, lie: str, promise: Promise, faults: tuple[Fault, ...]
) -> None:
    with LyingLine(tmp_path, lie) as line:
        # What is stale comes late: there must be somebody who hears it.
        watch = inspect(line, *faults, parts=70 if lie == "stale" else 20)
    assert watch.book.broken[promise] > 0, told(watch)
    others = {p for p in watch.book.broken if p is not promise} - ALSO.get(lie, set())
    assert others == set(), told(watch)


def test_every_promise_has_a_lie_and_a_sentence() -> None:
    assert {promise for _, promise, _ in LIES} == set(Promise) == set(SENTENCES)


@pytest.mark.parametrize(
    ("lie", "promise"),
    [
        ("", None),
        ("late, and free", Promise.IN_TIME),
        ("lost", Promise.SEQUENCE),
        ("published twice", Promise.ONCE),
        ("silent", Promise.HEARTBEAT),
        ("silent bundle", Promise.BUNDLE),
    ],
)
def test_a_line_that_runs_freely_is_watched_too(
    tmp_path: Path, lie: str, promise: Promise | None
) -> None:
    with LyingLine(tmp_path, lie, free=True) as line:
        watch = inspect(line, free=50)
    assert set(watch.book.broken) == ({promise} if promise else set()), told(watch)
    assert watch.latency.count > 40


def test_our_own_naps_are_not_held_against_the_line() -> None:
    clocks = Clocks()
    clocks.held_up(100, 200)
    clocks.held_up(300, 400)
    assert clocks.could_look(0, 100)
    assert clocks.could_look(201, 299)
    assert not clocks.could_look(150, 160)
    assert not clocks.could_look(250, 350)
    assert clocks.could_look(401, 500)


def test_of_a_delay_only_our_own_naps_are_forgiven() -> None:
    clocks = Clocks()
    assert clocks.napped_ns(0, 90) == 0
    clocks.held_up(100, 200)
    clocks.held_up(300, 400)
    assert clocks.napped_ns(0, 90) == clocks.napped_ns(200, 300) == clocks.napped_ns(400, 500) == 0
    assert clocks.napped_ns(0, 1000) == 200
    assert clocks.napped_ns(150, 350) == 50 + 50
    assert clocks.napped_ns(310, 320) == 10


def test_percentiles_are_exact_to_a_tenth() -> None:
    found = Histogram()
    for ms in range(1, 1001):
        found.add(float(ms))
    for percent in (50, 90, 99, 99.9):
        assert found.percentile(percent) == pytest.approx(10 * percent, rel=0.1)
    assert found.percentile(100) == found.most_ms == 1000
    assert sum(count for _, _, count in found.bars(10)) == 1000
    assert len(found.bars(10)) <= 10


# -- against the real service ------------------------------------------------------------------

STILL = 'kind = "synthetic", height_px = 128, width_px = 320, seed = 3'
Start = Callable[..., RunningLine]


@pytest.fixture
def start(patchcore: Bundle, tmp_path: Path) -> Iterator[Start]:
    running: list[RunningLine] = []

    def begin(**settings: str) -> RunningLine:
        running.append(RunningLine(line_toml(tmp_path, patchcore.folder, **settings)))
        return running[-1]

    yield begin
    for line in running:
        line.close()


def run_plc(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """The command, and what it wrote for scripts."""
    out = folder / "plc.json"
    code = edge_plc(
        ["--line-toml", str(folder / "line.toml"), "--json", str(out), "--slack-ms", "300",
         "--stale-ms", "1000", *arguments]
    )  # fmt: skip
    return code, json.loads(out.read_text())


def test_a_real_line_keeps_its_promises_while_the_plc_does_wrong(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start(trigger='mode = "software", budget_ms = 500', camera=STILL)
    code, found = run_plc(
        tmp_path, "--count", "60", "--rate-hz", "15", "--fault", "all", "--fault-share", "0.2"
    )
    assert found["breaches"] == []
    assert (code, found["triggers"], found["open"]) == (Exit.DONE, 60, 0)
    assert set(found["faults"]) == {fault.value for fault in set(Fault) - BETWEEN}
    assert sum(found["reasons"].values()) + found["refused"] == 60
    assert found["refused"] > 0
    assert found["promises"]["bundle"]["checks"] > 20
    out = capsys.readouterr().out
    assert "every promise was kept" in out
    assert "TRIGGER to verdict, ms" in out


@pytest.mark.thorough
def test_a_bundle_is_changed_while_parts_come(
    patchcore: Bundle, padim: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "bundles"
    for bundle in (patchcore, padim):
        shutil.copytree(bundle.folder, store / bundle.folder.name)
    point(store / "current", store / patchcore.folder.name)
    trigger = 'mode = "software", budget_ms = 1000'
    toml = line_toml(tmp_path, store, trigger=trigger, camera=STILL)
    with RunningLine(toml):
        code, found = run_plc(tmp_path, "--count", "20", "--change", padim.label)
        assert (code, found["breaches"]) == (Exit.DONE, [])
        assert (found["change"]["step"], found["bundle"]) == ("active", padim.label)
        assert found["triggers"] > 20
        assert found["promises"]["bundle"]["checks"] > 20
        code, found = run_plc(tmp_path, "--count", "20", "--change", "gone@0123456789ab")
        assert (code, found["breaches"]) == (Exit.BUNDLE, [])
        assert "no gone-0123456789ab in" in capsys.readouterr().err


@pytest.mark.thorough
def test_a_killed_service_is_a_broken_promise(start: Start, tmp_path: Path) -> None:
    line = start(trigger='mode = "software", budget_ms = 500', camera=STILL)
    command = [sys.executable, "-m", "kenpin.runtime.plc.cli", "--line-toml"]
    arguments = [str(tmp_path / "line.toml"), "--rate-hz", "20", "--seconds", "4"]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True) as plc:
        while len(line.verdicts) < 20:
            line.verdict()
        line.process.kill()
        out, _ = plc.communicate(timeout=60)
    assert plc.returncode == Exit.PROMISE
    assert "BROKEN" in out
    assert "nobody answers" in out


def test_a_free_line_is_only_listened_to(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start(camera=f"{STILL}, rate_hz = 25", trigger='mode = "free", budget_ms = 500')
    code, found = run_plc(tmp_path, "--count", "30")
    assert (code, found["breaches"], found["triggers"]) == (Exit.DONE, [], 0)
    assert found["verdicts"] >= 30
    assert "listening only" in capsys.readouterr().err


def test_a_line_that_is_not_there_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = ["--ctl", f"ipc://{tmp_path}/ctl", "--pub", f"ipc://{tmp_path}/pub"]
    assert edge_plc([*nowhere, "--wait-s", "0.3"]) == Exit.SILENT
    assert "is edge-run running there?" in capsys.readouterr().err
    assert edge_plc(["--ctl", "nonsense"]) == Exit.CONFIG
    assert "expected tcp://ADDRESS:PORT" in capsys.readouterr().err
    for word, value in (("--ctl", nowhere[1]), ("--pub", nowhere[3]), ("--encoding", "json")):
        assert edge_plc(["--line-toml", "line.toml", word, value]) == Exit.CONFIG
        assert f"{word}: line.toml says it, too; leave out" in capsys.readouterr().err
    for wrong in (["--rate-hz", "0"], ["--fault", "x"], ["--fault-share", "2"], ["--count", "0"]):
        with pytest.raises(SystemExit) as error:
            edge_plc(wrong)
        assert error.value.code == Exit.USAGE
