"""A score that other tools and people read: the threshold at a half."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kenpin.runtime.judging.verdict import Thresholds

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
