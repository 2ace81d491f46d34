"""OpenVINO's beginning, and what it would do to the signals of whoever uses it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from kenpin.runtime.judging.telemetry import silence

silence()
import openvino as ov  # noqa: E402

__all__ = ["kept_signal_stack", "new_core"]


class _Stack(ctypes.Structure):
    """`stack_t` of sigaltstack(2)."""

    _fields_ = (
        ("pointer", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("size", ctypes.c_size_t),
    )


def new_core() -> ov.Core:
    """OpenVINO with the plug-ins of this box."""
    core = ov.Core()
    with kept_signal_stack():
        # Loads the plug-in now, instead of at the first network.
        core.get_property("CPU", "FULL_DEVICE_NAME")
    return core


@contextmanager
def kept_signal_stack() -> Iterator[None]:
    """This thread's signals are handled on the stack they were before, whatever loads plug-ins.

    OpenVINO's plug-in for CPUs gives the thread that loads it a stack for signals, and takes it
    away when the plug-in goes. Where two of them go in the order in which they came, or one in
    another thread, the stack that is left is none: the next signal with a handler, such as
    Ctrl-C, ended the process by a segmentation fault (OpenVINO 2026.4).
    """
    libc, before = ctypes.CDLL(None), _Stack()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)
