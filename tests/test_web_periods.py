"""Defects at equal spacing: every series under its own period, no chance, bounded cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kenpin.runtime.web.periods import MOST_STEPS, Search, find_repeats

NEAR = 3.0


def search(along: Any, across: Any) -> Search:
    return find_repeats(list(along), list(across), near_along=NEAR, near_across=4.5, finest=0.6)


def series(rng: np.random.Generator, period: float, count: int, x: float) -> tuple[Any, Any]:
    along = 17 + period * np.arange(count) + rng.normal(0, 0.2, count)
    return along, x + rng.normal(0, 0.5, count)


@given(
    st.integers(0, 500),
    st.floats(60, 900),
    st.integers(6, 25),
    st.integers(0, 25),
    st.floats(0, 1),
)
def test_a_series_among_noise_is_found_with_its_period(
    seed: int, period: float, count: int, noise: int, jitter: float
) -> None:
    rng = np.random.default_rng(seed)
    length = period * count
    spots = 17 + period * np.arange(count) + rng.normal(0, jitter / 3, count)
    along = [*spots, *rng.uniform(0, length, noise)]
    across = [*(400 + rng.normal(0, 1, count)), *rng.uniform(0, 2000, noise)]
    found = search(along, across).repeats
    assert found
    assert found[0].period == pytest.approx(period, rel=0.01)
    assert len(set(range(count)) - set(found[0].members)) <= 1


@pytest.mark.parametrize("period", [6.0, 11.0, 20.0, 23.9, 24.1, 40.0])
def test_a_short_period_is_told_and_not_its_multiple(period: float) -> None:
    rng = np.random.default_rng(1)
    (repeat,) = search(*series(rng, period, 60, 100)).repeats
    assert repeat.period == pytest.approx(period, rel=0.005)
    assert repeat.places == pytest.approx(60, abs=1)
    assert len(repeat.members) >= 56


def test_parts_of_a_period_are_tried_though_only_a_multiple_was_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Time for one candidate, which may be any distance between two of six neighbours.
    monkeypatch.setattr("kenpin.runtime.web.periods.MOST_STEPS", 1)
    monkeypatch.setattr("kenpin.runtime.web.periods.LEAST_STEPS", 0)
    for seed in range(6):
        along, across = series(np.random.default_rng(seed), 60, 40 + seed, 100)
        (first,) = search(along, across).repeats[:1]
        assert first.period == pytest.approx(60, rel=0.005)


def test_a_clean_series_at_any_place_across_is_found_among_many() -> None:
    rng = np.random.default_rng(3)
    for x in (4, 750, 1496):
        along, across = series(rng, 300, 60, x)
        along, across = (
            [*along, *rng.uniform(0, 18_000, 3000)],
            [*across, *rng.uniform(0, 1500, 3000)],
        )
        (repeat,) = search(along, across).repeats
        assert repeat.period == pytest.approx(300, rel=0.005)
        assert len(set(range(60)) & set(repeat.members)) >= 58


def test_two_marks_on_one_roller_and_one_in_two_pieces_are_one_cause() -> None:
    rng = np.random.default_rng(4)
    one, two = series(rng, 165, 12, 100), series(rng, 165, 12, 400)
    apart = [*one[0], *(two[0] + 70)], [*one[1], *two[1]]
    pieces = [*one[0], *(one[0] + 2.5)], [*one[1], *(one[1] + 3)]
    for along, across in (apart, pieces):
        (repeat,) = search(along, across).repeats
        assert repeat.period == pytest.approx(165, rel=0.005)
        assert (len(repeat.members), repeat.places, repeat.marks) == (24, 24, 2)
        ordered = [along[m] for m in repeat.members]
        assert ordered == sorted(ordered)


def test_a_fine_period_does_not_take_in_every_coarse_one() -> None:
    # Of the roll of AITEX fabric 03: joints every 288 mm, a row of spots every 2.6 mm.
    rng = np.random.default_rng(7)
    fine = 1400 + 2.6 * np.arange(90), 40 + rng.normal(0, 0.5, 90)
    for period in (288.1, 288.7, 289.3, 290.0):
        coarse = series(rng, period, 12, 900)
        found = search([*coarse[0], *fine[0]], [*coarse[1], *fine[1]]).repeats
        periods = sorted(repeat.period for repeat in found)
        assert periods == pytest.approx([2.6, period], rel=0.01)
        assert {repeat.marks for repeat in found} == {1}


def test_chance_is_not_taken_for_a_roller() -> None:
    alarms = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        alarms += bool(search(rng.uniform(0, 20_000, 150), rng.uniform(0, 100, 150)).repeats)
    # Without asking how likely chance is, more than half of these would be alarms.
    assert alarms <= 1


def test_what_there_was_no_time_for_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    along, across = rng.uniform(0, 4000, 800), rng.uniform(0, 20, 800)
    assert MOST_STEPS > 100_000
    assert search(along, across).left == 0
    monkeypatch.setattr("kenpin.runtime.web.periods.MOST_STEPS", 1000)
    few = search(along, across)
    assert few.left > 100
    # A long series offers so many candidates that some of those that are left find it.
    more = series(rng, 40, 100, 10)
    found = search([*along, *more[0]], [*across, *more[1]])
    assert found.left > 100
    assert found.repeats[0].period == pytest.approx(40, rel=0.005)


def test_three_defects_are_no_series() -> None:
    assert search([0, 100, 200], [5, 5, 5]) == Search(())
