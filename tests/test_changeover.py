"""Changing the bundle of a running line: no frame lost, none judged by the wrong one."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.durable import point
from kenpin.runtime.bundles.layout import MANIFEST
from kenpin.runtime.bundles.manifest import canonical, content_hash
from kenpin.runtime.service.audit import AuditLog
from running_line import PATIENCE_S, RunningLine, line_toml

pytestmark = pytest.mark.clock

# Other work runs on the machine: what counts here is that no frame is lost or
# judged by the wrong bundle. `benchmarks/changeover.py` measures the latency.
PATIENT = {
    "trigger": 'mode = "free", budget_ms = 5000, max_in_flight = 8',
    "camera": 'kind = "synthetic", height_px = 128, width_px = 320, seed = 3, rate_hz = 8',
    "ring": "slots = 16",
    "watchdog": "hung_ms = 2000, kill_ms = 4000",
}


@pytest.fixture
def store(patchcore: Bundle, padim: Bundle, tmp_path: Path) -> Path:
    """A store of two bundles, the first one current."""
    folder = tmp_path / "bundles"
    for bundle in (patchcore, padim):
        shutil.copytree(bundle.folder, folder / bundle.folder.name)
    point(folder / "current", folder / patchcore.folder.name)
    return folder


@pytest.fixture
def start(store: Path, tmp_path: Path) -> Iterator[Callable[..., RunningLine]]:
    running: list[RunningLine] = []

    def begin(**settings: str) -> RunningLine:
        running.append(RunningLine(line_toml(tmp_path, store, **settings)))
        running[-1].state("operational.continuous")
        running[-1].verdict(lambda m: m["verdict"] == 1)
        return running[-1]

    yield begin
    for line in running:
        line.close()


def test_a_new_bundle_takes_over_between_two_frames(
    start: Callable[..., RunningLine], store: Path, patchcore: Bundle, padim: Bundle
) -> None:
    line = start(**PATIENT)
    # A machine that is busy while it starts costs it the first frames.
    line.verdict(lambda m: m["verdict"] == 1)
    settled = len(line.verdicts)
    engineer = line.client("engineer")
    engineer.say("activate")
    assert "PREPARE one" in engineer.of_kind("error")["detail"]
    engineer.say("prepare", bundle=padim.label)
    assert engineer.of_kind("preparing")["bundle"] == padim.label
    assert engineer.of_kind("prepared")["bundle"] == padim.label
    engineer.say("activate", bundle=patchcore.label)
    assert f"{padim.label} is; PREPARE it again" in engineer.of_kind("error")["detail"]
    engineer.say("activate")
    assert engineer.of_kind("active")["bundle"] == padim.label
    line.verdict(lambda m: m["bundle"] == padim.label and m["verdict"] == 1)
    os.kill(line.child(), signal.SIGKILL)
    line.state("error")
    line.verdict(lambda m: m["verdict"] == 1)
    assert line.stop() == 0
    verdicts = line.verdicts
    assert [m["seq"] for m in verdicts] == list(range(1, len(verdicts) + 1))
    # While the inspection is replaced, a frame that finds nobody is answered before older ones.
    verdicts = sorted(verdicts, key=lambda m: m["frame"])
    assert [m["frame"] for m in verdicts] == list(range(len(verdicts))), "a frame was lost"
    # Which bundle judges is settled when a frame comes; the old one may answer its last ones later.
    labels = [m["bundle"] for m in verdicts]
    first = labels.index(padim.label)
    assert set(labels[:first]) == {patchcore.label}
    assert set(labels[first:]) == {padim.label}, "a restart brought the old bundle back"
    reasons = {m["reason"] for m in verdicts[settled : first + 1]}
    assert reasons <= {None, "defect"}, "the change cost verdicts"
    assert (store / "current").resolve().name == padim.folder.name
    assert (store / "previous").resolve().name == patchcore.folder.name
    log = AuditLog(store / "audit.jsonl")
    assert log.verify().count >= 3
    begun, changed = [entry for entry in log.entries() if entry.what == "bundle"]
    assert begun.after["bundle"] == changed.before["bundle"] == patchcore.label
    assert (changed.after["bundle"], changed.who.via) == (padim.label, "ctl")
    assert "engineer" in changed.who.key


def _altered(bundle: Path) -> str:
    (bundle / "bank.npy").write_bytes((bundle / "bank.npy").read_bytes()[:-1] + b"\1")
    return "SHA-256"


def _other_golden_score(bundle: Path) -> str:
    from kenpin.runtime.bundles.manifest import parse_manifest

    manifest = parse_manifest(bundle, (bundle / MANIFEST).read_bytes())
    golden = [g.model_copy(update={"score": 1.5 * g.score}) for g in manifest.golden]
    raw = canonical(manifest.model_copy(update={"golden": golden}))
    (bundle / MANIFEST).write_bytes(raw)
    bundle.rename(bundle.with_name(f"{manifest.name}-{content_hash(raw)[:12]}"))
    return "golden frame golden/good-0.png scores"


def sources(line: RunningLine) -> set[str]:
    """What raised alarms so far; a slow machine has some of its own."""
    return {m["source"] for _, _, m in line.topics if m["type"] == "alarm"}


@pytest.mark.parametrize(
    "spoil", [pytest.param(_altered, marks=pytest.mark.thorough), _other_golden_score]
)
def test_a_bundle_that_fails_is_dropped_and_the_line_goes_on(
    start: Callable[..., RunningLine],
    store: Path,
    patchcore: Bundle,
    tmp_path: Path,
    spoil: Callable[[Path], str],
) -> None:
    copies = tmp_path / "copies"
    shutil.copytree(patchcore.folder, copies / patchcore.folder.name)
    why = spoil(copies / patchcore.folder.name)
    (copy,) = copies.iterdir()
    name = copy.name
    if name == patchcore.folder.name:  # an altered file leaves the name: hide the good one
        name = f"small-{'0' * 12}"
        why = "the content hashes to"
    shutil.move(copy, store / name)
    line = start()
    engineer = line.client("engineer")
    engineer.say("prepare", bundle=name)
    failed = engineer.of_kind("failed")
    assert why in failed["detail"]
    engineer.say("activate")
    assert "no bundle is prepared" in engineer.of_kind("error")["detail"]
    line.listen_until(lambda: "changeover" in sources(line), "its alarm")
    assert line.verdict(lambda m: m["verdict"] == 1)["bundle"] == patchcore.label
    assert (store / "current").resolve().name == patchcore.folder.name


def test_a_candidate_that_is_killed_or_replaced_costs_the_line_nothing(
    start: Callable[..., RunningLine], patchcore: Bundle, padim: Bundle
) -> None:
    line = start(**PATIENT)
    judge = line.child()
    engineer = line.client("engineer")
    for bundle in ("nonsense", "../../etc", "gone@0123456789ab"):
        engineer.say("prepare", bundle=bundle)
        assert engineer.of_kind("error")["detail"]
    engineer.say("prepare", bundle=padim.label)
    engineer.of_kind("preparing")
    end = time.monotonic() + PATIENCE_S
    while (candidate := line.child()) == judge:
        assert time.monotonic() < end
    os.kill(candidate, signal.SIGKILL)
    assert "exit code -9" in engineer.of_kind("failed")["detail"]
    line.verdict(lambda m: m["verdict"] == 1)
    line.stop()
    assert {m["reason"] for m in line.verdicts} <= {None, "defect", "shutdown"}
    assert {m["bundle"] for m in line.verdicts} == {patchcore.label}


def _longer(bundle: Path) -> None:
    with (bundle / "bank.npy").open("ab") as stream:
        stream.write(b"x")


def _cut_short(bundle: Path) -> None:
    (bundle / MANIFEST).write_bytes((bundle / MANIFEST).read_bytes()[:100])


@pytest.mark.parametrize(
    "spoil",
    [
        _longer,
        pytest.param(_cut_short, marks=pytest.mark.thorough),
        pytest.param(shutil.rmtree, marks=pytest.mark.thorough),
    ],
)
def test_a_box_whose_current_bundle_fails_runs_the_one_before_and_says_so(
    store: Path, patchcore: Bundle, padim: Bundle, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    point(store / "previous", store / padim.folder.name)
    spoil(store / patchcore.folder.name)
    with RunningLine(line_toml(tmp_path, store)) as line:
        verdict = line.verdict(lambda m: m["verdict"] == 1)
        assert verdict["bundle"] == padim.label
        assert line.until(lambda m: m["type"] == "hb")
        states = [m for _, _, m in line.topics if m["type"] == "state"]
        assert states[-1]["degraded"]


def test_a_box_without_any_good_bundle_does_not_start(
    store: Path, patchcore: Bundle, tmp_path: Path
) -> None:
    with (store / patchcore.folder.name / "bank.npy").open("ab") as stream:
        stream.write(b"x")
    line = RunningLine(line_toml(tmp_path, store))
    assert line.process.wait(PATIENCE_S) == 5
    line.close()
    line.logs("SHA-256")
