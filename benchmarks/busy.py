"""The tests that look at the clock, again and again, while two others want both cores.

    python benchmarks/busy.py --rounds 10

Ends at the first round that is not green. The two are endless loops at normal priority.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_LOOP = "while True: pass"
_TESTS = ("-m", "clock and not (alone or real or thorough)", "-n", "2", "--dist", "loadfile")


def main(argv: Sequence[str] | None = None) -> int:
    """0 if every round was green; else pytest's exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--loops", type=int, default=2, help="endless loops beside them (2)")
    parser.add_argument("more", nargs="*", help="for pytest, behind --: files, -k, …")
    options = parser.parse_args(argv)
    # Whoever is told to end leaves neither tests nor loops behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with loops(options.loops):
        for number in range(1, options.rounds + 1):
            began = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *_TESTS, *options.more], check=False
            )
            spent = time.monotonic() - began
            sys.stdout.write(f"round {number} of {options.rounds}: {spent:.0f} s\n")
            sys.stdout.flush()
            if done.returncode:
                return done.returncode
    return 0


@contextmanager
def loops(count: int, nice: int = 0) -> Iterator[None]:
    """So many endless loops of that niceness, until the end."""
    running = [_loop(nice) for _ in range(count)]
    try:
        yield
    finally:
        for loop in running:
            loop.kill()
            loop.wait()


def _loop(nice: int) -> subprocess.Popen[bytes]:
    # Linux's autogroups weigh sessions against one another, whatever niceness is within one: a
    # loop that is meant to be nice needs a session, and a group that is nice.
    loop = subprocess.Popen([sys.executable, "-c", _LOOP], start_new_session=nice != 0)
    if nice:
        os.setpriority(os.PRIO_PROCESS, loop.pid, nice)
        group = Path("/proc") / str(loop.pid) / "autogroup"
        if group.exists():
            group.write_text(str(nice))
    return loop


if __name__ == "__main__":
    sys.exit(main())
