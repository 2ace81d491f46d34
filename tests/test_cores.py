"""Two who ask for a core each get one each."""

from __future__ import annotations

import os
import subprocess
import sys
from subprocess import PIPE

import pytest

from kenpin.runtime.bundles.bundle import Bundle

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
