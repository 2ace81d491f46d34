"""What the gateway and a bundle that takes over ask of the kernel, granted and refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may grant it")

# In a process of its own: what it claims ends with it. `drop` is a capability's number.
FRAME = """
import ctypes, json, os, resource, sys, threading
DROP = {drop}
# As a unit starts it, however nice the tests are.
if os.geteuid() == 0:
    os.setpriority(os.PRIO_PROCESS, 0, 0)
if DROP is not None:
    # The libraries first: who has no capability any more may still load them.
    os.sched_getscheduler(0)
    class Head(ctypes.Structure):
        _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]
    class Data(ctypes.Structure):
        _fields_ = [(n, ctypes.c_uint32) for n in ("effective", "permitted", "inheritable")]
    head, data = Head(0x20080522, 0), (Data * 2)()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(ctypes.byref(head), data) == 0
    for one in DROP:
        data[one // 32].effective &= ~(1 << one % 32)
        data[one // 32].permitted &= ~(1 << one % 32)
    assert libc.capset(ctypes.byref(head), data) == 0
told = {{}}
{code}
print(json.dumps(told))
"""
SYS_NICE, IPC_LOCK = 23, 14


def ask(code: str, *, drop: list[int] | None = None) -> dict[str, Any]:
    text = FRAME.format(code=code, drop=drop)
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", text]
    ended = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return dict(json.loads(ended.stdout))


CLAIM = """
import subprocess, zmq
from kenpin.runtime.service.realtime import claim_priority
resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
context = zmq.Context(); socket = context.socket(zmq.PUB)
told["why"] = claim_priority({priority})
told["own"] = os.sched_getscheduler(0) & 0xFF
names = {{t: open(f"/proc/self/task/{{t}}/comm").read() for t in os.listdir("/proc/self/task")}}
told["sender"] = [os.sched_getscheduler(int(t)) & 0xFF for t, n in names.items() if "ZMQbg/IO" in n]
child = "import os; print(os.sched_getscheduler(0))"
told["child"] = int(subprocess.check_output([sys.executable, "-c", child]))
context.destroy(linger=0)
"""


@root
def test_the_gateway_and_its_sender_come_before_ordinary_work_and_children_do_not() -> None:
    told = ask(CLAIM.format(priority=10))
    fifo, other = os.SCHED_FIFO, os.SCHED_OTHER
    assert told == {"why": "", "own": fifo, "sender": [fifo], "child": other}


@root
def test_a_priority_that_is_refused_is_told_with_its_remedy() -> None:
    told = ask(CLAIM.format(priority=10), drop=[SYS_NICE])
    assert "set LimitRTPRIO=10 and RestrictRealtime=no in the unit" in told["why"]
    assert told["own"] == os.SCHED_OTHER


def test_nothing_is_asked_where_the_settings_say_so() -> None:
    told = ask(CLAIM.format(priority=0))
    assert (told["why"], told["own"]) == ("", os.SCHED_OTHER)


LOCK = """
from kenpin.runtime.service.realtime import lock_memory
resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
told["why"] = lock_memory()
"""


@root
def test_memory_is_locked_or_it_is_told_why_not() -> None:
    assert ask(LOCK) == {"why": ""}
    assert "set LimitMEMLOCK=infinity" in ask(LOCK, drop=[IPC_LOCK])["why"]


TAKE_OVER = """
from kenpin.runtime.service.inspection.body import _leave_niceness
resource.setrlimit(resource.RLIMIT_NICE, ({limit}, {limit}))
# Threads of the network are nice, too, each by itself.
started, done = threading.Event(), threading.Event()
os.nice(10)
thread = threading.Thread(target=lambda: (started.set(), done.wait()))
thread.start(); started.wait()
told["left"] = _leave_niceness()
told["thread"] = os.getpriority(os.PRIO_PROCESS, thread.native_id)
done.set()
"""


@root
@pytest.mark.parametrize(
    ("drop", "limit", "left"), [(None, 0, 0), ([SYS_NICE], 20, 0), ([SYS_NICE], 0, 10)]
)
def test_a_bundle_that_takes_over_leaves_its_niceness_if_the_unit_grants_it(
    drop: list[int] | None, limit: int, left: int
) -> None:
    """By CAP_SYS_NICE, by LimitNICE=+0 (RLIMIT_NICE 20), and by neither: then it says so."""
    try:
        told = ask(TAKE_OVER.format(limit=limit), drop=drop)
    except AssertionError as error:
        if "not allowed to raise maximum limit" in str(error):
            pytest.skip("this container may not raise RLIMIT_NICE")
        raise
    assert told == {"left": left, "thread": left}
