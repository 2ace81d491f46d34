"""What the gateway asks of the kernel, so that a busy box does not make its deadlines late.

Its own thread and libzmq's, which sends, run before all ordinary work (SCHED_FIFO, at a
low priority: the kernel's own threads come first). They sleep nearly always, and the
kernel leaves others 5 % of a second whatever happens (sched_rt_runtime_us). Children do
not inherit it. Pages that were touched stay in memory.
"""

from __future__ import annotations

import ctypes
import os
import resource
import time
from pathlib import Path

__all__ = ["claim_priority", "lock_memory"]

# sched(7): whoever is spawned begins as everybody else.
_RESET_ON_FORK = 0x40000000
# mlockall(2): of what is mapped now and later, the pages that are touched.
_CURRENT, _FUTURE, _ONFAULT = 1, 2, 4
_SENDERS = "ZMQbg/IO"
_PATIENCE_S = 1.0


def claim_priority(priority: int) -> str:
    """Run this thread, and libzmq's, before ordinary work; why not, or empty.

    Call it when the sockets are there, and before any child is.

    Parameters
    ----------
    priority
        Of SCHED_FIFO, from 1; 0 asks for nothing.
    """
    if priority == 0:
        return ""
    wanted = os.sched_param(priority)
    try:
        for thread in (0, *_senders()):
            os.sched_setscheduler(thread, os.SCHED_FIFO | _RESET_ON_FORK, wanted)
    except PermissionError:
        allowed = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
        return (
            f"deadlines have no priority over other work of this box: RLIMIT_RTPRIO is {allowed}, "
            f"expected {priority}; set LimitRTPRIO={priority} and RestrictRealtime=no in the unit"
        )
    return ""


def _senders() -> list[int]:
    """libzmq's threads that send. Each gives itself its name when it first runs: wait for that."""
    end = time.monotonic() + _PATIENCE_S
    while True:
        threads = Path("/proc/self/task").iterdir()
        found = [int(t.name) for t in threads if (t / "comm").read_text().startswith(_SENDERS)]
        if found or time.monotonic() > end:
            return found
        time.sleep(0.001)


def lock_memory() -> str:
    """Keep this process's pages in memory once they were touched; why not, or empty."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_CURRENT | _FUTURE | _ONFAULT) == 0:
        return ""
    why = os.strerror(ctypes.get_errno())
    return f"the gateway's memory may be paged out ({why}); set LimitMEMLOCK=infinity in the unit"
