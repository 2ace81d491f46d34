"""A line computes with the cores that it may use; two who ask for a core each get one each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from subprocess import PIPE

import pytest

from kenpin.config.line import load_line
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.doctor import main as edge_doctor
from kenpin.runtime.judging.cores import line_threads
from kenpin.runtime.service.assembly import inspector_spec
from running_line import line_toml

# Seconds of a core and on the clock that the network takes for so many frames.
AT_WORK = """
import sys, time
import numpy as np
from kenpin.runtime.bundles.bundle import read_bundle
from pathlib import Path
from kenpin.runtime.judging.network import load_engine
engine = load_engine(read_bundle(Path(sys.argv[1])), 1)
def fill(_first, batch):
    batch[:] = 128
    return len(batch)
engine.features(fill, 8)
print("ready", flush=True)
sys.stdin.readline()
begun, at_work = time.perf_counter(), time.process_time()
while time.perf_counter() < begun + 3:
    engine.features(fill, 8)
print((time.process_time() - at_work) / (time.perf_counter() - begun))
"""


@pytest.mark.alone
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")
def test_two_inspections_of_one_thread_do_not_share_a_core(patchcore: Bundle) -> None:
    command = [sys.executable, "-c", AT_WORK, str(patchcore.folder)]
    with (
        subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True) as one,
        subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True) as other,
    ):
        for each in (one, other):
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        for each in (one, other):
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        shares = [float(each.communicate(timeout=60)[0]) for each in (one, other)]
    # Of a core; pinned to the same one, they had 0.53 each, and 0.99 unpinned.
    assert sum(shares) > 1.3, shares


@pytest.mark.parametrize(
    ("ours", "threads", "cpus", "expected"),
    [
        (range(16), None, None, 15),
        # CPUAffinity=2 3 in the unit.
        ({2, 3}, None, None, 1),
        ({2}, None, None, 1),
        (range(4), None, (1, 2, 3), 3),
        (range(4), None, (0, 1, 2, 3), 3),
        # The gateway has a core of its own, which the inspection may not use.
        ({0}, None, (1, 2, 3), 3),
        ({2, 3}, 4, None, 4),
    ],
)
def test_the_network_has_the_cores_that_it_may_use_less_one_that_others_need(
    monkeypatch: pytest.MonkeyPatch,
    ours: Iterable[int],
    threads: int | None,
    cpus: tuple[int, ...] | None,
    expected: int,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(ours))
    assert line_threads(threads, cpus) == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [("", 1), ("cpus = [0, 1, 2]", 3), ("cpus = [1, 2, 3]", 2), ("threads = 4", 4)],
)
def test_a_line_computes_with_the_cores_that_its_unit_and_its_settings_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str, expected: int
) -> None:
    """It had the machine's cores less one: 15 threads on two of 16 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 3})
    line = load_line(line_toml(tmp_path, tmp_path, inspection=settings))
    assert inspector_spec(line).threads == expected


@pytest.mark.parametrize(
    "words",
    [
        ["rate", "--seconds", "0", "--widths", "320"],
        ["tune", "--batches", "1", "--rounds", "1"],
    ],
)
def test_a_box_is_measured_with_the_threads_that_its_line_would_have(
    own_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
) -> None:
    """Tuned with all cores, a line ran as many streams as it had threads and one more."""
    there = {*os.sched_getaffinity(0), 4000}
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: there)
    assert edge_doctor([words[0], str(own_bundle), *words[1:]]) == 0
    assert f", {len(there) - 1} threads" in capsys.readouterr().out
