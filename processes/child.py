"""What a line's processes have in common."""

from __future__ import annotations

import ctypes
import os
import signal

__all__ = ["settle"]

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


def settle(name: str, parent: int) -> bool:
    """Make the calling process a child that its parent alone ends; False if that has ended.

    Parameters
    ----------
    name
        For ps and top; at most 15 characters count.
    parent
        The parent's process id.
    """
    # The terminal's Ctrl-C and the manager's SIGTERM reach every process; the
    # parent decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NAME, name.encode())
    # A hung child would not see its channel end, and keep its cores for ever.
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return os.getppid() == parent
