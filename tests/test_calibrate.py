"""Thresholds reject no more good material than they were told to."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kenpin.compile.calibrate import by_hand, calibrate
from kenpin.compile.metrics import f1_at
from kenpin.config.errors import ConfigError
from kenpin.config.recipe import ThresholdSpec

levels = st.floats(0, 100)
good_scores = st.lists(levels, min_size=1, max_size=60)
rates = st.floats(0.001, 0.5)


def held_out(good, rate, **settings):
    return calibrate(ThresholdSpec(false_reject_rate=rate, **settings), good, [])


@given(good_scores, rates)
def test_at_most_the_stated_rate_of_held_out_images_is_rejected_before_the_margin(good, rate):
    at = held_out(good, rate, margin=0.0).ok
    assert sum(score > at for score in good) <= rate * len(good)


@given(good_scores, rates)
def test_the_quantile_is_the_lowest_score_seen_that_keeps_the_rate(good, rate):
    at = held_out(good, rate, margin=0.0).ok
    assert at in good
    lower = [score for score in good if score < at]
    assert all(sum(score > other for score in good) > rate * len(good) for other in lower)


@pytest.mark.parametrize(
    ("rate", "rejected"), [(0.001, 0), (0.09, 0), (0.1, 1), (0.29, 2), (0.3, 3)]
)
def test_of_ten_images_so_many_are_rejected(rate, rejected):
    good = [float(score) for score in range(1, 11)]
    assert held_out(good, rate, margin=0.0).ok == 10 - rejected


@given(good_scores, rates, st.floats(0, 2))
def test_the_margin_is_a_share_of_the_quantile(good, rate, margin):
    at = held_out(good, rate, margin=0.0).ok
    assert held_out(good, rate, margin=margin).ok == at * (1 + margin)


def test_the_order_of_the_scores_does_not_matter():
    assert held_out([3.0, 1.0, 2.0], 0.4) == held_out([1.0, 2.0, 3.0], 0.4)


def test_the_source_says_what_the_threshold_rests_on():
    source = held_out([1.0] * 20, 0.001).source
    assert "99.9000% quantile of 20 held-out good images plus 10%" in source
    assert "so few say little about one in 1000" in source
    assert "so few" not in held_out([1.0] * 20, 0.05).source


@pytest.mark.parametrize(
    ("spec", "good", "ng"),
    [
        (ThresholdSpec(margin=0.0), [2.0, 4.0], []),
        (ThresholdSpec(method="f1", margin=0.0), [2.0, 3.0], [5.0]),
    ],
)
def test_the_unsure_band_begins_at_ok_and_widens_it(spec, good, ng):
    plain = calibrate(spec, good, ng)
    assert plain.ok == plain.ng == 4.0
    banded = calibrate(spec.model_copy(update={"unsure_band": 0.25}), good, ng)
    assert (banded.ok, banded.ng) == (4.0, 5.0)


@given(good_scores, st.lists(levels, min_size=1, max_size=20))
def test_f1_takes_the_best_threshold_and_no_negative_one(good, ng):
    found = calibrate(ThresholdSpec(method="f1"), good, ng)
    scores, positive = good + ng, [False] * len(good) + [True] * len(ng)
    assert found.ok >= 0
    if found.ok > 0:
        best = max(f1_at(scores, positive, at) for at in [*scores, -1.0])
        assert f1_at(scores, positive, found.ok) == pytest.approx(best)
    assert f"over {len(good)} good and {len(ng)} NG images" in found.source


@pytest.mark.parametrize(("ng", "expected"), [(None, 2.5), (4.0, 4.0)])
def test_fixed_thresholds_are_taken_as_given(ng, expected):
    spec = ThresholdSpec(method="fixed", ok=2.5, ng=ng, unsure_band=0.5, margin=0.5)
    record = calibrate(spec, [1.0], [])
    assert (record.ok, record.ng) == (2.5, expected)
    assert record.settings == spec


@pytest.mark.parametrize("score", [math.nan, math.inf])
@pytest.mark.parametrize("method", ["held_out", "f1", "fixed"])
def test_scores_that_are_not_finite_are_refused(method, score):
    spec = ThresholdSpec(method=method, ok=1.0 if method == "fixed" else None)
    for good, ng in [([1.0, score], [2.0]), ([1.0], [score])]:
        with pytest.raises(ConfigError, match="no finite score"):
            calibrate(spec, good, ng)


@pytest.mark.parametrize(
    ("method", "good", "ng"), [("held_out", [], []), ("f1", [1.0], []), ("f1", [], [1.0])]
)
def test_a_method_without_its_scores_is_refused(method, good, ng):
    message = f"{len(good)} good and {len(ng)} NG scores"
    with pytest.raises(ConfigError, match=message):
        calibrate(ThresholdSpec(method=method), good, ng)


def test_a_person_may_set_the_thresholds_and_the_old_ones_are_remembered():
    old = held_out([2.0, 4.0], 0.4, margin=0.0)
    assert by_hand(old, 3.0, None).ng == 3.0
    record = by_hand(old, 3.0, 3.5)
    assert (record.ok, record.ng) == (3.0, 3.5)
    assert record.source.startswith("set by hand; before: 4 and 4, ")
    assert record.settings == ThresholdSpec(method="fixed", ok=3.0, ng=3.5)


@pytest.mark.parametrize(("ok", "ng"), [(3.0, 2.0), (-1.0, None), (math.nan, None), (1, math.inf)])
def test_thresholds_that_mean_nothing_cannot_be_set_by_hand(ok, ng):
    with pytest.raises(ValidationError):
        by_hand(held_out([1.0], 0.1), ok, ng)
