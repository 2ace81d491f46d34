"""A few threads that share out one frame's numpy work."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from threading import get_native_id

__all__ = ["Crew", "one_blas_thread"]

# How the wheels of numpy and the distributions' own call the same two functions.
_BLAS_PREFIXES = ("scipy_openblas", "openblas")
_BLAS_SUFFIXES = ("64_", "")


class Crew:
    """Runs parts of a task side by side; each part must stay off the others' memory.

    numpy lets go of the interpreter in its inner loops, so that threads do run
    together. OpenBLAS would split every product over all cores itself, which for
    products as small as ours costs more than it gains: dense PaDiM of 100
    dimensions took 20 ms a frame on two such threads, 10 ms on two with a BLAS of
    one thread each.
    """

    def __init__(self, hands: int | None = None) -> None:
        """`hands`: threads at work, this one among them; None: one for each core allowed."""
        self._cores = os.sched_getaffinity(0)
        self.hands = hands or len(self._cores)
        helpers = self.hands - 1
        # The pool's threads know this list alone: were it the crew, they would keep it, and it
        # them, for as long as the process lives.
        self._helpers = known = list[int]()
        self._pool = (
            ThreadPoolExecutor(helpers, "crew", lambda: known.append(get_native_id()))
            if helpers
            else None
        )

    def share(self, work: Callable[[int, int], None], count: int) -> None:
        """Call work(first, last) for adjoining parts of range(count), and wait for all.

        Raises
        ------
        Exception
            Whatever `work` raised first; by then no part is running any more.
        """
        hands = min(self.hands, count)
        with one_blas_thread():
            if hands < 2 or self._pool is None:
                work(0, count)
                return
            self._keep_apart()
            ends = [count * part // hands for part in range(hands + 1)]
            helped, own = [], [ends[:2]]
            for part in range(1, hands):
                try:
                    helped.append(self._pool.submit(work, *ends[part : part + 2]))
                except RuntimeError:
                    # The program's main thread has ended, after which Python's pools take nothing;
                    # its other threads may still judge.
                    own.append(ends[part : part + 2])
            try:
                for span in own:
                    work(*span)
            finally:
                failures = [part.exception() for part in helped]
        for failure in failures:
            if failure is not None:
                raise failure

    def share_blocks(self, work: Callable[[int, int], None], count: int, size: int) -> None:
        """Call work(first, last) for adjoining blocks of range(count), `size` or the rest; wait.

        Raises
        ------
        Exception
            As `share`.
        """

        def blocks(first: int, last: int) -> None:
            for start in range(first * size, min(count, last * size), size):
                work(start, min(count, start + size))

        self.share(blocks, -(-count // size))

    def _keep_apart(self) -> None:
        """Keep helpers off this thread's core.

        Where both had slept, Linux woke the helper on the core of whoever woke it, to wait there
        for milliseconds while another core idled: 13 ms instead of 7 for PaDiM's distances.
        """
        others = self._cores - {_this_core()}
        for helper in self._helpers if others else ():
            # Where it is forbidden, the work is only slower.
            with suppress(OSError):
                os.sched_setaffinity(helper, others)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Products on the calling thread alone; without effect where numpy has no OpenBLAS."""
    blas = _openblas()
    if blas is None:
        yield
        return
    get, set_to = blas
    before = get()
    set_to(1)
    try:
        yield
    finally:
        set_to(before)


def _this_core() -> int:
    number: int = _libc().sched_getcpu()
    return number


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


@cache
def _openblas() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    # A symbol is looked up in the libraries that numpy's own one was linked to, too.
    library = ctypes.CDLL(import_module("numpy._core._multiarray_umath").__file__)
    for prefix in _BLAS_PREFIXES:
        for suffix in _BLAS_SUFFIXES:
            try:
                get = library[f"{prefix}_get_num_threads{suffix}"]
                set_to = library[f"{prefix}_set_num_threads{suffix}"]
            except AttributeError:
                continue
            set_to.argtypes, set_to.restype = [ctypes.c_int], None
            return get, set_to
    return None
