"""Distances agree with their definitions, for close pairs and far from the origin too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from kenpin.runtime.judging.distance import QUERY_BLOCK, mahalanobis, nearest, reweighting

seeds = st.integers(0, 2**32 - 1)
offsets = st.sampled_from([0.0, 20.0])
EPS = float(np.finfo(np.float32).eps)


@st.composite
def gaussians(draw):
    """(G, N, D) features, (G, D) means and (G, D, D) covariances, far from the origin or not."""
    g, n, d = draw(st.integers(1, 3)), draw(st.integers(1, 6)), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(seeds))
    mean = draw(offsets) + rng.normal(size=(g, d))
    root = rng.normal(size=(g, d, d))
    covariance = root @ root.transpose(0, 2, 1) + 0.05 * np.eye(d)
    features = mean[:, None, :] + rng.normal(size=(g, n, d)) * draw(st.sampled_from([0.01, 1, 9]))
    return features.astype(np.float32), mean.astype(np.float32), covariance


@st.composite
def banks(draw):
    """Queries and a bank, centred alike; some queries equal or nearly equal a bank row."""
    n, m, d = draw(st.integers(1, 8)), draw(st.integers(1, 12)), draw(st.integers(1, 16))
    rng = np.random.default_rng(draw(seeds))
    offset = draw(offsets)
    bank = (offset + rng.normal(size=(m, d))).astype(np.float32)
    queries = (offset + rng.normal(size=(n, d))).astype(np.float32)
    near = draw(st.sampled_from([0.0, 1e-6, 1e-3]))
    queries[::2] = bank[rng.integers(m, size=len(queries[::2]))]
    queries[::2] += near * rng.normal(size=queries[::2].shape).astype(np.float32)
    centre = bank.mean(axis=0)
    return queries - centre, bank - centre


def norms(bank):
    return np.einsum("md,md->m", bank, bank)


def whitenings(covariance):
    """W with W.T @ W = inverse covariance, float32, and that product in float64."""
    white = np.linalg.inv(np.linalg.cholesky(covariance)).astype(np.float32)
    return white, np.einsum("ged,gef->gdf", white.astype(float), white.astype(float))


@given(gaussians())
def test_mahalanobis_agrees_with_its_definition(gaussian):
    features, mean, covariance = gaussian
    white, precision = whitenings(covariance)
    found = mahalanobis(features, mean, white)
    assert found.dtype == np.float32
    for (g, n), distance in np.ndenumerate(found):
        expected = reference.mahalanobis(features[g, n], mean[g], precision[g])
        assert distance == pytest.approx(expected, rel=1e-4, abs=1e-6)


@given(gaussians())
def test_mahalanobis_agrees_with_the_inverse_covariance(gaussian):
    features, mean, covariance = gaussian
    white, _ = whitenings(covariance)
    delta = features.astype(float) - mean[:, None, :]
    # As Anomalib computes it: ((e - mean) @ inverse) * (e - mean), summed, then the root.
    squares = ((delta @ np.linalg.inv(covariance)) * delta).sum(axis=-1)
    expected = np.sqrt(squares.clip(0))
    np.testing.assert_allclose(mahalanobis(features, mean, white), expected, rtol=1e-3, atol=1e-5)


@given(gaussians(), seeds)
def test_reordered_patches_have_reordered_distances(gaussian, seed):
    features, mean, covariance = gaussian
    white, _ = whitenings(covariance)
    order = np.random.default_rng(seed).permutation(features.shape[1])
    np.testing.assert_allclose(
        mahalanobis(features[:, order], mean, white),
        mahalanobis(features, mean, white)[:, order],
        rtol=1e-5,
    )


@given(gaussians())
def test_the_mean_itself_is_at_distance_zero_and_nothing_is_below(gaussian):
    features, mean, covariance = gaussian
    white, _ = whitenings(covariance)
    assert (mahalanobis(mean[:, None, :], mean, white) == 0).all()
    assert (mahalanobis(features, mean, white) >= 0).all()


@pytest.mark.parametrize(
    ("mean", "white"), [((3, 4), (2, 4, 4)), ((2, 4), (2, 4, 5)), ((2, 5), (2, 5, 5))]
)
def test_statistics_of_another_shape_are_refused(mean, white):
    with pytest.raises(ValueError, match=r"features \(2, 3, 4\) do not fit mean"):
        mahalanobis(
            np.zeros((2, 3, 4), np.float32), np.zeros(mean, np.float32), np.zeros(white, np.float32)
        )


@given(banks())
def test_nearest_agrees_with_its_definition(pair):
    queries, bank = pair
    found, rows = nearest(queries, bank, norms(bank))
    assert found.dtype == np.float32
    # What rounding of the products may hide when it chooses between two rows.
    largest = max(float(norms(bank).max()), float(norms(queries).max()))
    hidden = 16 * EPS * largest * queries.shape[1]
    for query, distance, row in zip(queries, found, rows, strict=True):
        assert distance == pytest.approx(reference.euclidean(query, bank[row]), rel=1e-5)
        expected, _ = reference.nearest(query, bank)
        assert expected * (1 - 1e-5) <= distance
        assert distance**2 <= expected**2 * (1 + 1e-5) + hidden


@given(banks())
def test_a_query_that_is_a_bank_row_is_at_distance_zero(pair):
    _, bank = pair
    found, rows = nearest(bank, bank, norms(bank))
    assert (found == 0).all()
    np.testing.assert_array_equal(bank[rows], bank)


def test_close_pairs_lose_no_digits():
    rng = np.random.default_rng(2)
    bank = (20 + rng.normal(size=(50, 100))).astype(np.float32)
    queries = bank + (1e-4 * rng.normal(size=bank.shape)).astype(np.float32)
    centre = bank.mean(axis=0)
    queries, bank = queries - centre, bank - centre
    found, rows = nearest(queries, bank, norms(bank))
    np.testing.assert_array_equal(rows, np.arange(50))
    expected = [reference.euclidean(q, b) for q, b in zip(queries, bank, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@given(seeds)
def test_queries_in_several_blocks_are_each_answered(seed):
    rng = np.random.default_rng(seed)
    queries = rng.normal(size=(2 * QUERY_BLOCK + 5, 3)).astype(np.float32)
    bank = rng.normal(size=(7, 3)).astype(np.float32)
    found, rows = nearest(queries, bank, norms(bank))
    gaps = np.linalg.norm(queries[:, None].astype(float) - bank, axis=2)
    np.testing.assert_allclose(found, gaps.min(axis=1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(gaps[np.arange(len(queries)), rows], found, rtol=1e-5)


@pytest.mark.parametrize(
    ("bank", "squares"), [((0, 4), (0,)), ((3, 5), (3,)), ((3, 4), (2,)), ((3, 4), (3, 1))]
)
def test_a_bank_of_another_shape_or_none_is_refused(bank, squares):
    with pytest.raises(ValueError, match=r"queries \(2, 4\) do not fit bank"):
        nearest(
            np.zeros((2, 4), np.float32), np.zeros(bank, np.float32), np.zeros(squares, np.float32)
        )


@given(gaussians(), st.integers(0, 7))
def test_a_nan_never_gives_a_finite_distance(gaussian, channel):
    features, mean, covariance = gaussian
    white, _ = whitenings(covariance)
    features[0, 0, channel % features.shape[2]] = np.nan
    assert np.isnan(mahalanobis(features, mean, white)[0, 0])
    assert np.isnan(nearest(features[0], mean, norms(mean))[0][0])


@given(seeds, st.integers(1, 20), st.integers(2, 9), offsets)
def test_reweighting_agrees_with_its_definition(seed, rows, neighbours, offset):
    rng = np.random.default_rng(seed)
    bank = (rng.normal(size=(rows, 6)) * 3).astype(np.float32)
    query = (rng.normal(size=6) * 3 + offset).astype(np.float32)
    row = reference.nearest(query, bank)[1]
    found = reweighting(query, bank, norms(bank), row, neighbours)
    expected = reference.reweighting(query, bank, row, neighbours)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)


@given(seeds)
def test_reweighting_is_one_less_a_softmax_weight(seed):
    rng = np.random.default_rng(seed)
    bank = rng.normal(size=(9, 4)).astype(np.float32)
    query = rng.normal(size=4).astype(np.float32)
    distances = np.linalg.norm(bank.astype(float) - query, axis=1)
    softmax = np.exp(distances) / np.exp(distances).sum()
    found = reweighting(query, bank, norms(bank), int(distances.argmin()), 9)
    assert found == pytest.approx(1 - softmax.min(), rel=1e-5)


def test_reweighting_survives_distances_whose_exponential_overflows():
    bank = np.array([[0.0], [1.0], [2.0]], np.float32)
    far = np.array([1e6], np.float32)
    weight = reweighting(far, bank, norms(bank), 2, 3)
    assert weight == pytest.approx(1 - 1 / (1 + np.e + np.e**2), rel=1e-5)


def test_a_row_counts_among_its_neighbours_even_where_rounding_hides_it():
    # Norms of 64 million, whose last digit is 4: all rows look alike.
    bank = np.array([[8000.3, 1.0]] * 8 + [[8000.3, 0.0]], np.float32)
    weight = reweighting(np.array([8000.3, -3.0], np.float32), bank, norms(bank), 8, 2)
    assert weight == pytest.approx(1 - 1 / (1 + np.e), rel=1e-5)


def test_a_bank_may_repeat_a_row():
    bank = np.array([[1.0, 0.0]] * 3 + [[5.0, 5.0]], np.float32)
    weight = reweighting(np.array([2.0, 0.0], np.float32), bank, norms(bank), 1, 3)
    assert weight == pytest.approx(2 / 3)
