"""Images that stand out among the good ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_reader import FakeReader, features
from kenpin.compile.suspects import find_suspects, outliers

good_scores = st.lists(st.floats(9, 11), min_size=5, max_size=40)


@given(good_scores)
def test_scores_that_lie_together_have_no_outlier(good):
    assert outliers(np.array(good)) == []


@given(good_scores, st.lists(st.floats(40, 90), min_size=1, max_size=2, unique=True), st.data())
def test_what_stands_out_is_named_the_worst_first(good, bad, data):
    order = data.draw(st.permutations(range(len(good) + len(bad))), label="order")
    scores = np.array(good + bad)[order]
    found = outliers(scores)
    assert [scores[number] for number, _ in found] == sorted(bad, reverse=True)
    for number, times in found:
        assert times == pytest.approx(scores[number] / np.median(scores))


def test_a_score_must_also_be_far_above_the_median():
    # Six robust deviations above the others, but by a tenth only.
    assert outliers(np.array([10.0] * 9 + [11.0])) == []


@pytest.mark.parametrize("bad", [0, 5])
@pytest.mark.parametrize("where", [np.s_[1, 2, 2], np.s_[..., 0]], ids=["patch", "everywhere"])
def test_the_image_that_is_unlike_the_others_is_found_and_does_not_excuse_itself(bad, where):
    images = features(images=12, tiles=2)
    images[bad][where] += 60
    reader = FakeReader(images)
    told = []
    suspects = find_suspects(reader, reader.files, lambda *step: told.append(step))
    assert [file for file, _ in suspects] == [reader.files[bad]]
    assert suspects[0][1] > 1.5
    assert told == [(done, 24) for done in range(1, 25)]
