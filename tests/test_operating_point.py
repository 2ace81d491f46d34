"""What a threshold promises about good parts, it keeps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kenpin.runtime.bundles.operating_point import (
    _stands_alone,
    below_95,
    design_effect,
    odd_ones,
    operating_point,
    proportion_95,
    rejection_bounds,
    scores_needed,
)

rates = st.floats(0.001, 0.5)


def alone(count):
    return [str(number) for number in range(count)]


@given(st.integers(1, 400), rates)
def test_the_rule_is_conformal_exactly_where_the_count_allows_it(count, rate):
    scores = list(np.random.default_rng(count).normal(10, 1, count))
    point = operating_point(scores, alone(count), rate)
    rank = math.ceil(round((count + 1) * (1 - rate), 9))
    assert point.rule == ("conformal" if rank <= count else "gumbel")
    if rank <= count:
        assert point.threshold == sorted(scores)[rank - 1]


def test_ninety_nine_images_are_enough_for_one_in_a_hundred_and_one_fewer_is_not():
    assert scores_needed(0.01) == 99
    for count, rule in ((99, "conformal"), (98, "gumbel")):
        assert operating_point([1.0] * count, alone(count), 0.01).rule == rule


@pytest.mark.parametrize("count", [20, 60, 150, 400])
@pytest.mark.parametrize("shape", ["normal", "gumbel", "lognormal"])
def test_what_is_rejected_is_near_the_promise_on_average_and_mostly_below_the_bound(shape, count):
    rng = np.random.default_rng(count)
    draw = {
        "normal": lambda n: rng.normal(10, 1, n),
        "gumbel": lambda n: rng.gumbel(10, 1, n),
        "lognormal": lambda n: rng.lognormal(0, 0.3, n),
    }[shape]
    unseen = draw(20_000)
    got, kept = [], 0
    for _ in range(60):
        point = operating_point(list(draw(count)), alone(count), 0.01)
        share = float(np.mean(unseen > point.threshold))
        got.append(share)
        kept += share <= point.at_most
    # Fewer images than the rate needs may not even promise this: they are marked.
    assert np.mean(got) < (0.02 if count >= 99 else 0.035)
    assert kept >= 0.85 * 60


@given(st.sampled_from([0.001, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.3]))
def test_so_many_scores_as_are_needed_are_just_enough(rate):
    needed = scores_needed(rate)
    assert operating_point([1.0] * needed, alone(needed), rate).rule == "conformal"
    if needed > 1:
        assert operating_point([1.0] * (needed - 1), alone(needed - 1), rate).rule == "gumbel"


@given(st.integers(2, 150), st.integers(0, 1000))
def test_fewer_false_rejects_never_ask_for_a_lower_threshold(count, seed):
    scores = list(np.random.default_rng(seed).gumbel(10, 1, count))
    at = [
        operating_point(scores, alone(count), rate).threshold
        for rate in (0.001, 0.005, 0.01, 0.02, 0.05, 0.3)
    ]
    assert at == sorted(at, reverse=True)


def test_what_the_tail_says_of_a_moved_threshold_is_what_the_build_said():
    scores = list(np.random.default_rng(0).gumbel(10, 1, 40))
    told = rejection_bounds(scores, alone(40), 0.015)["extrapolated"]
    point = operating_point(scores, alone(40), 0.015)
    assert (point.threshold, point.at_most) in told
    # The higher a threshold, the less it rejects; and counting alone says less of all of them.
    assert sorted(told, key=lambda one: -one[0]) == sorted(told, key=lambda one: one[1])
    assert all(share < below_95(0, 40) for _, share in told)
    assert rejection_bounds(list(np.arange(1000.0)), alone(1000), 0.01)["extrapolated"] == []


def test_images_of_one_part_say_less_than_as_many_parts():
    rng = np.random.default_rng(0)
    parts = np.repeat(np.arange(100), 6)
    alike = rng.normal(10, 1, 100)[parts] + rng.normal(0, 0.1, 600)
    assert design_effect(alike, [str(p) for p in parts]) == pytest.approx(6, rel=0.1)
    other = rng.normal(10, 1, 600)
    assert design_effect(other, [str(p) for p in parts]) < 1.6
    bounds = [
        operating_point(list(scores), [str(p) for p in parts], 0.01).at_most
        for scores in (alike, other)
    ]
    assert bounds[0] > bounds[1]


@given(st.lists(st.floats(1, 2), min_size=1, max_size=50))
def test_the_design_effect_is_never_below_one(scores):
    parts = [str(n // 2) for n in range(len(scores))]
    assert design_effect(scores, parts) >= 1


@pytest.mark.parametrize("count", [12, 40, 300])
def test_an_image_far_above_the_others_is_odd_whatever_the_others_number(count):
    rng = np.random.default_rng(1)
    scores = list(rng.normal(10, 0.5, count))
    assert odd_ones(scores, alone(count)) == []
    assert odd_ones([*scores, 20.0, 25.0], alone(count + 2)) == [count + 1, count]


def test_one_strip_far_above_thirteen_is_odd_though_the_others_spread_is_wide():
    # Strips of a cloth whose edge is in view.
    others = [1.07, 1.07, 1.09, 1.12, 1.13, 1.15, 1.16, 1.30, 1.38, 1.40, 1.58, 1.65, 1.75]
    assert odd_ones([*others, 3.03], alone(14)) == [13]
    assert odd_ones([*others, 2.2], alone(14)) == []
    assert odd_ones([1.0, 1.0, 1.0, 1.1], alone(4)) == []


@pytest.mark.parametrize("count", [9, 14, 30, 60, 100])
def test_the_highest_of_few_good_images_is_seldom_called_odd(count):
    rng = np.random.default_rng(count)
    called = sum(_stands_alone(rng.gumbel(10, 1, count)) for _ in range(500))
    assert called <= 22


def test_few_odd_ones_do_not_hide_each_other():
    scores = list(np.random.default_rng(2).normal(10, 0.5, 40))
    assert sorted(odd_ones([*scores, *[19.0] * 5], alone(45))) == [40, 41, 42, 43, 44]


def test_good_images_are_seldom_called_odd():
    rng = np.random.default_rng(3)
    called = sum(bool(odd_ones(list(rng.gumbel(10, 1, 100)), alone(100))) for _ in range(200))
    assert called < 12


@pytest.mark.parametrize("spread", [0.5, 1, 2, 3, 5])
@pytest.mark.parametrize(("count", "most"), [(150, 0.035), (762, 0.022)])
def test_scores_with_a_long_tail_keep_the_promise(spread, count, most):
    rng = np.random.default_rng(5)
    rejected = []
    for _ in range(20):
        scores = rng.lognormal(0, spread, count)
        # Three photographs of a part score nearly alike.
        scores = scores[np.arange(count) // 3] * rng.lognormal(0, 0.1, count)
        parts = [str(n // 3) for n in range(count)]
        odd = set(odd_ones(list(scores), parts))
        kept = [n for n in range(count) if n not in odd]
        point = operating_point([scores[n] for n in kept], [parts[n] for n in kept], 0.01)
        fresh = rng.lognormal(0, spread, 5000) * rng.lognormal(0, 0.1, 5000)
        rejected.append(np.mean(fresh > point.threshold))
    # One part of 50 may be called odd, and others like it are rejected.
    assert np.mean(rejected) <= most


def test_six_photographs_of_one_odd_part_do_not_vouch_for_each_other():
    rng = np.random.default_rng(6)
    # As magnetic tiles score: photographs of one part are alike, parts less so.
    tiles = np.repeat(rng.gumbel(1.3, 0.35, 120), 6) + rng.normal(0, 0.15, 720)
    parts = [f"t{n // 6:03}" for n in range(726)]
    scores = [*tiles, 4.7, 4.7, 4.5, 4.5, 4.4, 4.2]
    assert sorted(odd_ones(scores, parts)) == list(range(720, 726))
    assert odd_ones([*tiles], parts[:720]) == []
    # Were each its own part, none would stand alone.
    assert odd_ones(scores, alone(726)) == []
    # What every twelfth image shows is no exception.
    blocks = [str(n // 61) for n in range(726)]
    assert odd_ones([*tiles[:665], *[4.5] * 61], blocks) == []


def test_an_odd_one_changes_no_threshold_that_is_set_without_it():
    scores = list(np.random.default_rng(4).normal(10, 0.5, 120))
    odd = set(odd_ones([*scores, 30.0], alone(121)))
    kept = [s for n, s in enumerate([*scores, 30.0]) if n not in odd]
    parts = alone(120)
    assert operating_point(kept, parts, 0.01) == operating_point(scores, parts, 0.01)


@pytest.mark.parametrize(
    ("found", "count", "low", "high"),
    # R: binom.test(x, n)$conf.int
    [(0, 10, 0.0, 0.3084971), (3, 50, 0.0125486, 0.1654819), (10, 10, 0.6915029, 1.0)],
)
def test_shares_have_the_intervals_of_clopper_and_pearson(found, count, low, high):
    assert proportion_95(found, count) == pytest.approx((low, high), abs=1e-6)


def test_none_of_ninety_nine_is_below_three_of_a_hundred():
    # 1 - 0.05 ** (1 / 99): the "rule of three".
    assert below_95(0, 99) == pytest.approx(1 - 0.05 ** (1 / 99), abs=1e-9)
