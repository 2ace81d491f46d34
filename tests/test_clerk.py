"""The link that a restart of the box follows: set one bundle at a time, the newest last."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kenpin.runtime.bundles.durable import lock, point
from kenpin.runtime.bundles.layout import MANIFEST
from kenpin.runtime.bundles.store import Store
from kenpin.runtime.service.inspection.clerk import Clerk
from running_line import PATIENCE_S

pytestmark = pytest.mark.clock

A, B, C, D = (f"web-{letter * 12}" for letter in "abcd")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Four bundles, as far as links can see; A is in force."""
    for name in (A, B, C, D):
        (tmp_path / name).mkdir()
        (tmp_path / name / MANIFEST).touch()
    point(tmp_path / "current", tmp_path / A)
    return tmp_path


@pytest.fixture
def clerk(store: Path) -> Iterator[Clerk]:
    clerk = Clerk(store)
    yield clerk
    clerk.close()


def until(clerk: Clerk, happened: Callable[[], bool]) -> None:
    """Poll as the gateway does, until something has come of it."""
    end = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < end
        clerk.poll()
        time.sleep(0.01)


def at_work() -> int:
    return sum(child.name == "kenpin-clerk" for child in multiprocessing.active_children())


def test_the_newest_bundle_has_the_link_however_slow_the_disk_was_for_the_first(
    clerk: Clerk, store: Path
) -> None:
    disk = os.open(store, os.O_RDONLY)
    assert lock(disk, 0.0)
    for name in (B, C, D):
        clerk.point(store / name)
    assert at_work() == 1
    os.close(disk)
    until(clerk, lambda: Store(store).current == D)
    until(clerk, lambda: not at_work())
    assert (Store(store).current, Store(store).previous) == (D, B)
    assert not clerk.failed


def test_a_link_that_could_not_be_set_is_told_until_one_could(clerk: Clerk, store: Path) -> None:
    in_the_way = store / "previous"
    in_the_way.mkdir()
    clerk.point(store / B)
    until(clerk, lambda: clerk.failed)
    in_the_way.rmdir()
    assert clerk.failed
    clerk.point(store / B)
    until(clerk, lambda: not clerk.failed)
    assert Store(store).current == B


def test_at_the_end_the_newest_link_is_set_too(clerk: Clerk, store: Path) -> None:
    clerk.point(store / B)
    clerk.point(store / C)
    clerk.close()
    assert Store(store).current == C
