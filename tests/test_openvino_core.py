"""Whoever uses OpenVINO can still be told to end: its stacks for signals are not left behind."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import numpy as np
import openvino as ov
from openvino import opset13 as op

from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.openvino_core import kept_signal_stack, new_core

# Ends by Ctrl-C as any program does, or by SIGSEGV.
INTERRUPTED = """
import gc, os, signal, sys, threading, time
import kenpin
# Whoever is started in the background of a script ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)
first, second = (kenpin.load(sys.argv[1]) for _ in range(2))
del first
gc.collect()
del second
gc.collect()
box = [kenpin.load(sys.argv[1])]
other = threading.Thread(target=lambda: (box.clear(), gc.collect()))
other.start()
other.join()
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(30)
except KeyboardInterrupt:
    print("interrupted")
"""


def stack_for_signals() -> tuple[int | None, int]:
    """Where signals of this thread are handled, by sigaltstack(2): pointer and size."""
    told = (ctypes.c_void_p * 3)()
    assert ctypes.CDLL(None).sigaltstack(None, told) == 0
    return told[0], told[2] or 0


def small_network() -> ov.Model:
    tiles = op.parameter([1, 1, 16, 16], ov.Type.u8, name="tiles")
    kernel = np.random.default_rng(0).normal(size=(4, 1, 3, 3)).astype(np.float32)
    grey = op.convert(tiles, ov.Type.f32)
    found = op.convolution(grey, kernel, [1, 1], [1, 1], [1, 1], [1, 1])
    return ov.Model([op.relu(found)], [tiles], "small")


def test_a_program_that_let_two_bundles_go_is_ended_by_ctrl_c(patchcore: Bundle) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(patchcore.folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "interrupted"), done.stderr


def test_a_core_leaves_the_stack_for_signals_as_it_was() -> None:
    before = stack_for_signals()
    core = new_core()
    compiled = core.compile_model(small_network(), "CPU")
    assert stack_for_signals() == before
    del compiled, core
    assert stack_for_signals() == before


def test_the_stack_is_put_back_whatever_a_core_of_others_does() -> None:
    before = stack_for_signals()
    with kept_signal_stack():
        core = ov.Core()
        core.get_property("CPU", "FULL_DEVICE_NAME")
        assert stack_for_signals() != before, "OpenVINO has no such stack: nothing is left to do"
    assert stack_for_signals() == before
