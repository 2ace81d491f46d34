"""Thresholds that keep what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kenpin.compile.metrics.scores import f1_at
from kenpin.compile.operating_point.calibrate import calibrate
from kenpin.config.errors import ConfigError
from kenpin.config.recipe import ThresholdSpec
from kenpin.runtime.bundles.manifest import GoodScore
from kenpin.runtime.bundles.pack import by_hand

levels = st.floats(0, 100)
many_levels = st.lists(levels, min_size=1, max_size=60)


def images(scores, odd=()):
    return [
        GoodScore(name=f"{n}.png", part=str(n), score=score, odd=n in odd)
        for n, score in enumerate(scores)
    ]


def rejecting(good, rate, **settings):
    return calibrate(ThresholdSpec(false_rejects=rate, **settings), images(good), [])


@given(st.lists(levels, min_size=99, max_size=150), st.sampled_from([0.01, 0.02, 0.05, 0.2]))
def test_the_threshold_is_a_score_that_was_seen_and_rejects_no_more_than_it_says(good, rate):
    record = rejecting(good, rate)
    assert record.rule == "conformal"
    assert record.ok in good
    assert sum(score > record.ok for score in good) <= rate * len(good)
    assert record.at_most > rate


def test_odd_images_set_no_threshold_and_the_record_says_what_they_would_do():
    good = [float(score) for score in range(1, 101)]
    plain = calibrate(ThresholdSpec(), images(good), [])
    odd = calibrate(ThresholdSpec(), images([*good, 900.0], odd={100}), [])
    assert odd.ok == plain.ok == 100
    assert (plain.with_odd, odd.with_odd) == (None, 900)
    two = calibrate(ThresholdSpec(), images([*good, 900.0, 950.0], odd={100, 101}), [])
    assert (two.ok, two.with_odd) == (100, 950)


def test_the_source_says_in_words_what_is_promised():
    assert rejecting([1.0] * 100, "1%").source == (
        "of 100 good images 1 is rejected, with 95 % confidence at most 3 of 100: the score that "
        "so many of 100 good images stay below"
    )
    few = rejecting([1.0, 2.0, 3.0], 0.001)
    assert few.rule == "gumbel"
    assert few.source.startswith("of 1000 good images 1 is rejected, with 95 % confidence")
    assert "extrapolated by a Gumbel distribution from 3 good images" in few.source
    strips = calibrate(ThresholdSpec(), images([1.0] * 100), [], strips=True)
    assert "of 100 good strips" in strips.source


@pytest.mark.parametrize(
    ("spec", "good", "ng"),
    [
        (ThresholdSpec(), [4.0] * 99, []),
        (ThresholdSpec(method="f1"), [2.0, 3.0], [5.0]),
        (ThresholdSpec(method="cost", escape_cost=9), [2.0, 3.0], [5.0]),
    ],
)
def test_the_unsure_band_begins_at_ok_and_widens_it(spec, good, ng):
    plain = calibrate(spec, images(good), ng)
    assert plain.ok == plain.ng == 4.0
    banded = calibrate(spec.model_copy(update={"unsure_band": 0.25}), images(good), ng)
    assert (banded.ok, banded.ng) == (4.0, 5.0)


@given(many_levels, st.lists(levels, min_size=1, max_size=20))
def test_f1_takes_the_best_threshold_and_no_negative_one(good, ng):
    found = calibrate(ThresholdSpec(method="f1"), images(good), ng)
    scores, positive = good + ng, [False] * len(good) + [True] * len(ng)
    assert found.ok >= 0
    if found.ok > 0:
        best = max(f1_at(scores, positive, at) for at in [*scores, -1.0])
        assert f1_at(scores, positive, found.ok) == pytest.approx(best)
    assert f"over {len(good)} good and {len(ng)} NG images" in found.source


@given(many_levels, many_levels, st.floats(0.1, 1000), st.floats(0.001, 0.5))
def test_no_threshold_costs_less_than_the_cheapest(good, ng, escape_cost, ng_share):
    spec = ThresholdSpec(method="cost", escape_cost=escape_cost, ng_share=ng_share)

    def cost(at):
        rejected = np.mean([score > at for score in good])
        escaped = np.mean([score <= at for score in ng])
        return (1 - ng_share) * rejected + ng_share * escape_cost * escaped

    found = cost(calibrate(spec, images(good), ng).ok)
    assert found <= min(cost(at) for at in [*good, *ng]) * (1 + 1e-9) + 1e-12


def test_the_dearer_an_escape_the_fewer_there_are():
    rng = np.random.default_rng(0)
    good, ng = list(rng.normal(50, 5, 400)), list(rng.normal(65, 5, 400))
    at = [
        calibrate(ThresholdSpec(method="cost", escape_cost=cost), images(good), ng).ok
        for cost in (1, 100, 10_000)
    ]
    assert at[0] > at[1] > at[2]


@pytest.mark.parametrize(("ng", "expected"), [(None, 2.5), (4.0, 4.0)])
def test_fixed_thresholds_are_taken_as_given(ng, expected):
    spec = ThresholdSpec(method="fixed", ok=2.5, ng=ng, unsure_band=0.5)
    record = calibrate(spec, images([1.0]), [])
    assert (record.ok, record.ng) == (2.5, expected)
    assert record.settings == spec


@pytest.mark.parametrize("score", [math.nan, math.inf])
@pytest.mark.parametrize("method", ["false_rejects", "f1", "fixed"])
def test_scores_that_are_not_finite_are_refused(method, score):
    spec = ThresholdSpec(method=method, ok=1.0 if method == "fixed" else None)
    for good, ng in [([1.0, score], [2.0]), ([1.0], [score])]:
        made = [
            GoodScore.model_construct(name=str(n), part=str(n), score=s, odd=False)
            for n, s in enumerate(good)
        ]
        with pytest.raises(ConfigError, match="no finite score"):
            calibrate(spec, made, ng)


@pytest.mark.parametrize(
    ("method", "good", "ng"), [("false_rejects", [], []), ("f1", [1.0], []), ("f1", [], [1.0])]
)
def test_a_method_without_its_scores_is_refused(method, good, ng):
    message = f"{len(good)} good and {len(ng)} NG scores"
    with pytest.raises(ConfigError, match=message):
        calibrate(ThresholdSpec(method=method), images(good), ng)


def test_a_person_may_set_the_thresholds_and_the_old_ones_are_remembered():
    old = rejecting([4.0] * 120, 0.4)
    assert by_hand(old, 3.0, None).ng == 3.0
    record = by_hand(old, 3.0, 3.5)
    assert (record.ok, record.ng) == (3.0, 3.5)
    assert record.source.startswith("set by hand; before: 4 and 4, ")
    assert record.settings == ThresholdSpec(method="fixed", ok=3.0, ng=3.5)


@pytest.mark.parametrize(("ok", "ng"), [(3.0, 2.0), (-1.0, None), (math.nan, None), (1, math.inf)])
def test_thresholds_that_mean_nothing_cannot_be_set_by_hand(ok, ng):
    with pytest.raises(ValidationError):
        by_hand(rejecting([1.0], 0.1), ok, ng)


def test_the_usual_score_is_the_median_of_the_good_and_stays_when_a_person_sets_the_threshold():
    record = calibrate(ThresholdSpec(), images([1.0, 2.0, 6.0, 90.0], odd={3}), [])
    assert record.usual == by_hand(record, 3.0, None).usual == 2.0
