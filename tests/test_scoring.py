"""Each patch is judged by its own statistics, whoever shares them."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from kenpin.config.methods import Granularity
from kenpin.runtime.judging.padim import PadimScorer
from kenpin.runtime.judging.patchcore import PatchCoreScorer
from kenpin.runtime.judging.sharing import group_count

seeds = st.integers(0, 2**32 - 1)
granularities = st.sampled_from(get_args(Granularity))
# Which of the models judges each of the tiles; every model judges one.
sharings = st.sampled_from([(0,), (0, 0, 0), (0, 1, 2), (0, 1, 0, 1), (1, 0, 1)])
CELLS, DIMS = 4, 3


def padim(seed, sharing, granularity):
    """A scorer with random Gaussians around 20, and features of a frame."""
    rng = np.random.default_rng(seed)
    shape = max(sharing) + 1, group_count(CELLS, granularity), DIMS
    mean = (20 + rng.normal(size=shape)).astype(np.float32)
    white = np.tril(rng.normal(size=(*shape, DIMS)) + np.eye(DIMS)).astype(np.float32)
    features = 20 + rng.normal(size=(len(sharing), CELLS, CELLS, DIMS))
    return PadimScorer(mean, white, np.array(sharing), granularity), features.astype(np.float32)


def patchcore(seed, sharing, neighbours=0, rows=6):
    """A scorer with random banks around 20, and features of a frame."""
    rng = np.random.default_rng(seed)
    centre = np.full(DIMS, 20, np.float32)
    bank = (3 * rng.normal(size=(max(sharing) + 1, rows, DIMS))).astype(np.float32)
    squares = np.einsum("kmd,kmd->km", bank, bank)
    features = 20 + 3 * rng.normal(size=(len(sharing), CELLS, CELLS, DIMS))
    scorer = PatchCoreScorer(centre, bank, squares, np.array(sharing), neighbours)
    return scorer, features.astype(np.float32)


@given(seeds, sharings, granularities)
def test_padim_agrees_with_a_loop_over_all_positions(seed, sharing, granularity):
    scorer, features = padim(seed, sharing, granularity)
    found = scorer.distances(features)
    assert found.score is None
    assert found.values.dtype == np.float32
    for (tile, row, column), distance in np.ndenumerate(found.values):
        k, g = sharing[tile], reference.group_of(row, column, CELLS, granularity)
        white = scorer.whitening[k, g].astype(float)
        expected = reference.mahalanobis(
            features[tile, row, column], scorer.mean[k, g], white.T @ white
        )
        assert distance == pytest.approx(expected, rel=1e-4, abs=1e-5)


@given(seeds, sharings)
def test_patchcore_agrees_with_a_loop_over_all_positions(seed, sharing):
    scorer, features = patchcore(seed, sharing)
    found = scorer.distances(features)
    assert found.score is None
    assert found.values.dtype == np.float32
    for (tile, row, column), distance in np.ndenumerate(found.values):
        expected, _ = reference.nearest(
            features[tile, row, column] - scorer.centre, scorer.bank[sharing[tile]]
        )
        assert distance == pytest.approx(expected, rel=1e-4, abs=1e-4)


@given(seeds, sharings, st.integers(2, 8))
def test_the_reweighted_score_is_that_of_the_patch_with_the_largest_distance(
    seed, sharing, neighbours
):
    scorer, features = patchcore(seed, sharing, neighbours)
    found = scorer.distances(features)
    tile, row, column = np.unravel_index(found.values.argmax(), found.values.shape)
    bank = scorer.bank[sharing[tile]]
    query = features[tile, row, column] - scorer.centre
    largest, anchor = reference.nearest(query, bank)
    expected = reference.reweighting(query, bank, anchor, neighbours) * largest
    assert found.score == pytest.approx(expected, rel=1e-3)


@given(seeds, st.permutations(range(4)))
def test_reordered_tiles_have_reordered_distances(seed, order):
    sharing = np.array([0, 1, 0, 2])
    for scorer, features in (padim(seed, sharing, "1/4"), patchcore(seed, sharing)):
        values = scorer.distances(features).values
        # The same models, asked about the same tiles in another order.
        parts = {
            name: getattr(scorer, name)
            for name in scorer.__dataclass_fields__
            if name != "model_of_tile"
        }
        other = type(scorer)(**parts, model_of_tile=sharing[order])
        np.testing.assert_allclose(
            other.distances(features[order]).values, values[order], rtol=1e-5, atol=1e-5
        )


@given(sharings, st.data())
def test_a_nan_feature_leaves_neither_its_distance_nor_the_score_finite(sharing, data):
    tile = data.draw(st.integers(0, len(sharing) - 1), label="tile")
    place = data.draw(st.tuples(*[st.integers(0, CELLS - 1)] * 2), label="place")
    for scorer, features in (padim(0, sharing, "single"), patchcore(0, sharing, neighbours=3)):
        features[(tile, *place, 0)] = np.nan
        found = scorer.distances(features)
        assert np.argwhere(~np.isfinite(found.values)).tolist() == [[tile, *place]]
        assert found.score is None or np.isnan(found.score)
