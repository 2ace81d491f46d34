"""Signs of life between two processes: never half of one."""

from __future__ import annotations

import multiprocessing
import time

import pytest

from kenpin.processes.progress import Progress

pytestmark = pytest.mark.clock

# Every byte differs, so a number read half old and half new is neither.
BEFORE, AFTER = 0x00FF_FFFF_FFFF_FFFF, 0x0100_0000_0000_0000


def _tick(progress: Progress, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(1000):
            progress.tick(BEFORE)
            progress.tick(AFTER)


def test_a_time_is_never_read_half_written() -> None:
    progress = Progress()
    writer = multiprocessing.get_context("spawn").Process(target=_tick, args=(progress, 1.0))
    writer.start()
    seen: set[int] = set()
    while not progress.last_ns:
        assert writer.is_alive()
    while writer.is_alive():
        seen.update(progress.last_ns for _ in range(1000))
    writer.join()
    assert seen == {BEFORE, AFTER}
    progress.close()


def test_ages_count_from_the_last_tick() -> None:
    progress = Progress()
    assert (progress.count, progress.age_ns(5)) == (0, None)
    progress.tick(10)
    assert (progress.count, progress.age_ns(25), progress.age_ns(3)) == (1, 15, 0)
    progress.close()
    progress.close()
