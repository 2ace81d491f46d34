"""Work that is shared out is done once, whole, and its failures are heard."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from threading import get_native_id

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bundles import Workshop
from kenpin.compile.build import build
from kenpin.compile.progress import Steps
from kenpin.config.errors import ConfigError
from kenpin.config.methods import Granularity
from kenpin.config.recipe import load_recipe
from kenpin.runtime.judging import crew as crew_module
from kenpin.runtime.judging.crew import Crew, one_blas_thread
from kenpin.runtime.judging.padim import PadimScorer
from kenpin.runtime.judging.sharing import group_count, strips


@given(st.integers(1, 5), st.integers(0, 40))
def test_every_part_is_done_exactly_once(hands, count):
    done = np.zeros(count, int)

    def work(first, last):
        done[first:last] += 1

    Crew(hands).share(work, count)
    assert (done == 1).all()


@pytest.mark.parametrize("bad", [0, 7])
def test_a_failure_anywhere_is_raised_after_all_have_ended(bad):
    done = []

    def work(first, last):
        if first <= bad < last:
            raise ArithmeticError("part")
        done.append((first, last))

    with pytest.raises(ArithmeticError, match="part"):
        Crew(2).share(work, 8)
    assert len(done) == 1


def test_helpers_keep_off_the_core_of_whoever_waits_for_them():
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        pytest.skip("one core alone")
    crew, seen = Crew(2), {}

    def work(_first, _last):
        seen[get_native_id()] = os.sched_getaffinity(0)

    for _ in range(2):
        crew.share(work, 2)
    assert seen.pop(get_native_id()) == allowed
    (helpers,) = seen.values()
    assert helpers < allowed
    assert len(helpers) == len(allowed) - 1


def test_a_crew_that_is_let_go_leaves_no_thread_behind() -> None:
    """They once kept their crew, and it them: each bundle that was opened left some behind."""
    before, end = threading.active_count(), time.monotonic() + 30
    for _ in range(10):
        Crew(3).share(lambda _first, _last: None, 3)
    while threading.active_count() > before:
        assert time.monotonic() < end
        time.sleep(0.001)


def test_the_blas_has_its_threads_back_afterwards():
    blas = crew_module._openblas()
    if blas is None:
        pytest.skip("this numpy has no OpenBLAS")
    get, set_to = blas
    with one_blas_thread():
        set_to(2)
        with one_blas_thread():
            assert get() == 1
        assert get() == 2


def test_a_build_keeps_the_blas_to_one_thread(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blas = crew_module._openblas()
    if blas is None:
        pytest.skip("this numpy has no OpenBLAS")
    get, set_to = blas
    seen = []

    def told(*_: object) -> None:
        seen.append(get())
        raise ConfigError("enough was seen")

    monkeypatch.setattr(sys.modules[build.__module__], "prepare", told)
    before = get()
    set_to(2)
    try:
        with pytest.raises(ConfigError), Steps(Console(quiet=True)) as steps:
            build(load_recipe(workshop.recipe), tmp_path, steps)
        seen.append(get())
    finally:
        set_to(before)
    assert seen == [1, 2]


@given(st.sampled_from([4, 8]), st.sampled_from(["dense", "1/4", "1/16", "single", "columns"]))
def test_strips_cover_every_position_and_every_gaussian(cells, granularity: Granularity):
    seen = np.zeros((cells, cells), int)
    groups = set()
    for strip in strips(cells, granularity):
        seen[strip.rows, strip.columns] += 1
        groups |= set(range(strip.groups.start, strip.groups.stop))
    assert (seen == 1).all()
    assert groups == set(range(group_count(cells, granularity)))


@pytest.mark.parametrize("granularity", ["dense", "1/16", "single", "columns"])
def test_the_number_of_hands_changes_no_bit(granularity):
    rng = np.random.default_rng(0)
    cells, dims, tiles = 8, 20, 6
    groups = group_count(cells, granularity)
    mean = rng.normal(size=(2, groups, dims)).astype(np.float32)
    white = np.tril(rng.normal(size=(2, groups, dims, dims))).astype(np.float32)
    features = rng.normal(size=(tiles, cells, cells, dims)).astype(np.float32)
    sharing = np.arange(tiles) % 2
    found = [
        PadimScorer(mean, white, sharing, granularity, Crew(hands)).distances(features).values
        for hands in (1, 2, 3)
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
