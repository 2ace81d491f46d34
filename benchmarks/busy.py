"""The tests that look at the clock, again and again, while two others want both cores.

    python benchmarks/busy.py --rounds 10

Ends at the first round that is not green. The two are endless loops at normal priority.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_LOOP = "while True: pass"
_TESTS = ("-m", "clock and not alone and not real", "-n", "2", "--dist", "loadfile")


def main(argv: Sequence[str] | None = None) -> int:
    """0 if every round was green; else pytest's exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--loops", type=int, default=2, help="endless loops beside them (2)")
    parser.add_argument("more", nargs="*", help="for pytest, behind --: files, -k, …")
    options = parser.parse_args(argv)
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
def loops(count: int) -> Iterator[None]:
    """So many endless loops, until the end."""
    running = [subprocess.Popen([sys.executable, "-c", _LOOP]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in running:
            loop.kill()
            loop.wait()


if __name__ == "__main__":
    sys.exit(main())
