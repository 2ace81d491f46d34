"""The archive beside a running line: what it keeps, and what its misfortunes cost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kenpin.camera.files.archive_source import ArchiveSource, Then
from kenpin.camera.files.images import read_pixels
from kenpin.camera.synthetic import SyntheticWeb
from kenpin.runtime.bundles.bundle import Bundle
from running_line import SERVE_LINE, UNHURRIED, RunningLine, check_undisturbed, line_toml

pytestmark = pytest.mark.clock

FAST = 'kind = "synthetic", height_px = 128, width_px = 320, seed = 3, rate_hz = 25'

Start = Callable[..., RunningLine]


@pytest.fixture
def start(patchcore: Bundle, tmp_path: Path) -> Iterator[Start]:
    running: list[RunningLine] = []

    def begin(
        folder: Path, *, ok_every: int = 3, command: Sequence[str] = SERVE_LINE, **tables: str
    ) -> RunningLine:
        archive = f'folder = "{folder}", ok_every = {ok_every}, min_free_bytes = 0'
        settings = {**UNHURRIED, "archive": archive, **tables}
        toml = line_toml(tmp_path, patchcore.folder, **settings)
        running.append(RunningLine(toml, command=command))
        return running[-1]

    yield begin
    for line in running:
        line.close()


def entries(folder: Path, kind: str) -> list[Path]:
    return sorted((folder / kind).glob("*/*.json"))


def alarm(line: RunningLine, active: bool) -> dict[str, Any]:
    """Wait until the archive complains, or no longer does."""
    return line.until(
        lambda m: m["type"] == "alarm" and m["source"] == "archive" and m["active"] == active,
        f"an alarm of the archive, active {active}",
    )


def test_ng_frames_and_a_sample_of_ok_frames_are_kept_with_map_and_verdict(
    start: Start, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    line = start(folder, camera=FAST)
    while {m["reason"] for m in line.verdicts} < {None, "defect"} or len(line.verdicts) < 50:
        line.verdict()
    assert line.stop() == 0
    told = {m["seq"]: m for m in line.verdicts}
    kept = {kind: [json.loads(p.read_text()) for p in entries(folder, kind)] for kind in OKS}
    assert kept["ng"]
    assert kept["ok"]
    # The same seed and index give the same frame.
    web, archived = SyntheticWeb(128, 320, 3), ArchiveSource(str(folder))
    for kind, outcome in OKS.items():
        for path, entry in zip(entries(folder, kind), kept[kind], strict=True):
            verdict = entry["verdict"]
            message = told[verdict["seq"]]
            # Whoever replays it is told of the same verdict.
            said = Then(message["verdict"], message["reason"] or "", message["bundle"])
            assert archived.then(str(path.relative_to(folder).with_suffix(".png"))) == said
            assert message["verdict"] == outcome
            same = ("frame", "reason", "code", "score", "thr", "peak", "bundle", "trig")
            assert {k: verdict[k] for k in same} == {k: message[k] for k in same}
            assert verdict["defects"] == message.get("defects", [])
            assert verdict["n_defects"] == message.get("n_defects", 0)
            assert bool(verdict["defects"]) == (verdict["reason"] in ("defect", "unsure"))
            assert (entry["box"], entry["boot"], entry["sim"]) == ("box-1", message["boot"], True)
            pixels = read_pixels(path.with_suffix(".png"))
            np.testing.assert_array_equal(pixels, web.frame(verdict["frame"]).pixels)
            if verdict["score"] is None:  # a busy machine was too late
                continue
            values = np.load(path.with_suffix(".npy"), allow_pickle=False)
            assert list(values.shape) == [entry["map"]["rows"], entry["map"]["columns"]]
            assert values.dtype == np.float32
            assert float(values.max()) == pytest.approx(verdict["score"], rel=1e-6)
    # All of them, but for what it counted: it was not ready yet, or had no time.
    ng = {s for s, m in told.items() if m["verdict"] == 2 and m["frame"] is not None}
    kept_seqs = {e["verdict"]["seq"] for e in kept["ng"]}
    assert kept_seqs <= ng
    assert len(ng - kept_seqs) <= lacking(line)


OKS = {"ng": 2, "ok": 1}


def lacking(line: RunningLine) -> int:
    """How many entries it said at its end that its archive lacks."""
    said = [json.loads(text) for text in line.log if '"archive_lacks_entries"' in text]
    reasons = ("behind", "not_ready", "disk", "no_room", "died")
    return sum(int(said[-1].get(why, 0)) for why in reasons) if said else 0


@pytest.mark.thorough
def test_an_archive_that_stands_still_or_dies_costs_entries_and_no_verdict(
    start: Start, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    line = start(folder, ok_every=1)
    line.verdict()
    while not entries(folder, "ok"):
        line.verdict()
    os.kill(line.child("kenpin-archive"), signal.SIGSTOP)
    alarm(line, True)
    before = len(entries(folder, "ok")) + len(entries(folder, "ng"))
    line.listen(2.5)
    assert len(entries(folder, "ok")) + len(entries(folder, "ng")) == before
    os.kill(line.child("kenpin-archive"), signal.SIGCONT)
    while len(entries(folder, "ok")) + len(entries(folder, "ng")) < before + 8:
        line.verdict()
    stopped = line.child("kenpin-archive")
    os.kill(stopped, signal.SIGKILL)
    before = len(entries(folder, "ok"))
    while len(entries(folder, "ok")) < before + 5:
        line.verdict()
    assert line.child("kenpin-archive") != stopped
    assert line.stop() == 0
    check_undisturbed(line)


@pytest.mark.thorough
def test_a_folder_that_is_missing_is_complained_of_until_it_is_there(
    start: Start, tmp_path: Path
) -> None:
    folder = tmp_path / "not-mounted"
    line = start(folder, ok_every=5)
    said = alarm(line, True)
    assert str(folder) in said["detail"]
    line.verdict()
    folder.mkdir()
    alarm(line, False)
    while not entries(folder, "ok"):
        line.verdict()
    assert line.stop() == 0
    check_undisturbed(line)


def in_own_namespace(mount: str) -> list[str]:
    """A command that runs the line where `mount` was done, unseen by everybody else."""
    tried = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        pytest.skip(f"mounting is not permitted here: {tried.stderr.strip()}")
    return ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh", *SERVE_LINE]


def seen_by(line: RunningLine, folder: Path) -> Path:
    """The folder as the line's processes see it."""
    return Path(f"/proc/{line.process.pid}/root") / folder.relative_to("/")


@pytest.mark.thorough
def test_a_full_disk_costs_ok_entries_and_no_verdict(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = in_own_namespace(f"mount -t tmpfs -o size=200k none {folder}")
    line = start(folder, ok_every=1, command=command, camera=FAST)
    line.verdict()
    inside = seen_by(line, folder)
    while not entries(inside, "ng") or entries(inside, "ok"):
        line.verdict()
    # Now only NG entries are left, each new one in the place of the oldest.
    oldest = entries(inside, "ng")[0]
    while oldest.exists():
        line.verdict()
    assert line.stop() == 0
    check_undisturbed(line)


@pytest.mark.thorough
def test_a_read_only_disk_is_complained_of_and_costs_no_verdict(
    start: Start, tmp_path: Path
) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = in_own_namespace(f"mount -t tmpfs -o size=1m,ro none {folder}")
    line = start(folder, ok_every=1, command=command)
    said = alarm(line, True)
    assert "Read-only" in said["detail"]
    count, end = len(line.verdicts), time.monotonic() + 1.0
    while time.monotonic() < end:
        line.verdict()
    assert len(line.verdicts) > count
    assert line.stop() == 0
    check_undisturbed(line)
