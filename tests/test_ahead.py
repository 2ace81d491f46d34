"""One thing is computed while the one before it is looked at, and nothing is mixed up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kenpin.compile.ahead import one_ahead
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.engine import Engine

PATIENCE_S = 60.0


def test_the_next_one_is_at_work_while_this_one_is_looked_at() -> None:
    begun = [threading.Event() for _ in range(3)]

    def work(number: int) -> int:
        begun[number].set()
        return 10 * number

    seen = []
    for number, found in one_ahead(range(3), work):
        seen.append((number, found))
        if number < 2:
            assert begun[number + 1].wait(PATIENCE_S)
    assert seen == [(0, 0), (1, 10), (2, 20)]
    assert list(one_ahead([], work)) == []


def test_what_fails_fails_at_its_own_place() -> None:
    found = one_ahead([2, 1, 0, 4], lambda number: 4 // number)
    assert [next(found), next(found)] == [(2, 2), (1, 4)]
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_two_threads_that_share_an_engine_get_what_each_asked_for(patchcore: Bundle) -> None:
    engine = Engine(patchcore.network)
    _, *shape = engine.input_shape
    one, other = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
    here, there = threading.Event(), threading.Event()

    def features(tile: NDArray[np.uint8], filled: Callable[[], object]) -> NDArray[Any]:
        def fill(_first: int, batch: NDArray[np.uint8]) -> int:
            batch[0] = tile
            filled()
            return 1

        return engine.features(fill, 1)[0]

    def overtaken() -> None:
        here.set()
        # As long as the other is kept out, in vain.
        there.wait(0.5)

    alone = [features(tile, lambda: None) for tile in (one, other)]
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(features, one, overtaken)
        assert here.wait(PATIENCE_S)
        second = features(other, there.set)
        assert np.array_equal(first.result(), alone[0])
        assert np.array_equal(second, alone[1])
