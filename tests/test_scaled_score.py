"""A score that other tools and people read: the threshold at a half."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from kenpin.runtime.judging.verdict import Thresholds
from wire_samples import NG_VERDICT, OK_VERDICT, verdict_message

scores = st.floats(0, 1e6)


@given(scores, scores, scores, scores)
def test_it_rises_with_the_score_within_0_and_1_and_tells_ok_from_ng(usual, ok, one, other):
    limits = Thresholds(ok, ok, usual)
    low, high = sorted((one, other))
    assert 0 <= limits.scaled(low) <= limits.scaled(high) <= 1
    assert limits.scaled(ok) <= 0.5
    if low > ok * 1.001 + 1e-3:
        assert limits.scaled(low) > 0.5


def test_good_ones_lie_near_0_and_the_threshold_at_a_half():
    limits = Thresholds(4.0, 4.0, usual=2.0)
    assert [limits.scaled(score) for score in (1.0, 2.0, 3.0, 4.0, 6.0)] == [0, 0, 0.25, 0.5, 0.75]


def test_a_verdict_carries_it_beside_the_score_where_good_scores_are_known():
    limits = Thresholds(0.5, 0.5, usual=0.1)
    told = verdict_message(verdict=replace(OK_VERDICT, thresholds=limits))
    assert (told.score, told.scaled) == (0.25, limits.scaled(0.25))
    assert verdict_message(verdict=replace(NG_VERDICT, thresholds=limits)).scaled > 0.5
    # A bundle whose thresholds were set where no good image was scored says nothing.
    assert "scaled" not in verdict_message().model_dump()
    lost = replace(NG_VERDICT, thresholds=limits, score=None)
    assert "scaled" not in verdict_message(verdict=lost).model_dump()
