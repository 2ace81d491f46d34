"""Stretches that are united: the slow twin is a row of cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kenpin.runtime.web import spans
from kenpin.runtime.web.spans import Spans

STRETCHES = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), max_size=30)


@given(STRETCHES, st.tuples(st.integers(0, 200), st.integers(0, 200)))
def test_a_union_is_as_long_as_the_cells_it_covers(
    stretches: list[tuple[int, int]], asked: tuple[int, int]
) -> None:
    union, cells = Spans(1e-6), np.zeros(200, bool)
    for first, end in stretches:
        union.add(first, end)
        cells[min(first, end) : max(first, end)] = True
    assert union.total == pytest.approx(cells.sum())
    inside = cells[min(asked) : max(asked)]
    if len(inside):
        assert union.holds(*asked) == inside.all()


def test_what_lies_far_back_is_summed_up_and_memory_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spans, "MOST_SPANS", 100)
    union = Spans()
    for k in range(1000):
        union.add(10 * k, 10 * k + 3)
    assert union.total == 3000
    union.add(0, 50)
    assert union.total == 3000
    union.add(9_990, 10_000)
    assert union.total == 3007
