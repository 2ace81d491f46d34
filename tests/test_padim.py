"""PaDiM's streamed statistics are those of all patches at once."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from fake_reader import FakeReader, features
from kenpin.compile.methods import padim
from kenpin.compile.methods.padim import fit_padim
from kenpin.config.errors import ConfigError
from kenpin.config.methods import Granularity, PadimSpec, Share
from kenpin.runtime.judging.gaussian_sums import GaussianSums
from kenpin.runtime.judging.padim import PadimScorer
from kenpin.runtime.judging.sharing import model_of_tile
from kenpin.runtime.judging.tiling import TileGrid

# 2 rows x 3 columns of tiles.
GRID = TileGrid(height=32, width=48, size=16, halo=0, stride=16)

granularities = pytest.mark.parametrize("granularity", get_args(Granularity))
shares = pytest.mark.parametrize("share", get_args(Share))


@st.composite
def streams(draw):
    """(G, N, D) patches near an offset, and where the stream is cut into batches."""
    g, n, d = draw(st.integers(1, 3)), draw(st.integers(2, 20)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    offset = draw(st.sampled_from([0.0, 20.0, 1e4]))
    patches = (offset + rng.normal(size=(g, n, d))).astype(np.float32)
    return patches, sorted(draw(st.sets(st.integers(1, n - 1))))


def summed(patches, cuts=()):
    sums = GaussianSums(len(patches), patches.shape[2])
    for batch in np.split(patches, list(cuts), axis=1):
        sums.add(batch)
    return sums


def fit(folder, images, granularity="dense", share="frame", **settings):
    """The scorer that the fitted files make, what `fit_padim` said, and its reader."""
    folder.mkdir(exist_ok=True)
    reader = FakeReader(images)
    spec = PadimSpec(name="padim", granularity=granularity, share=share, **settings)
    support = fit_padim(reader, reader.files, GRID, spec, folder, lambda done, total: None)
    arrays = [np.load(folder / f"{name}.npy") for name in ("mean", "whitening")]
    mean, whitening = arrays
    scorer = PadimScorer(mean, whitening, model_of_tile(GRID, share), granularity)
    return scorer, support, reader


@given(streams())
def test_streamed_statistics_are_numpys_however_the_stream_is_cut(stream):
    patches, cuts = stream
    sums = summed(patches, cuts)
    assert sums.count == patches.shape[1]
    rows = patches.astype(float)
    np.testing.assert_allclose(sums.mean(), rows.mean(axis=1), rtol=1e-12, atol=1e-12)
    for group, found in zip(rows, sums.covariance(0, len(rows)), strict=True):
        np.testing.assert_allclose(found, np.cov(group.T).reshape(found.shape), atol=1e-9)


@given(streams())
def test_streamed_statistics_agree_with_their_definition(stream):
    patches, cuts = stream
    sums = summed(patches, cuts)
    covariances = sums.covariance(0, len(patches))
    for group, mean, covariance in zip(patches, sums.mean(), covariances, strict=True):
        expected_mean, expected_covariance = reference.mean_and_covariance(group)
        np.testing.assert_allclose(mean, expected_mean, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(covariance, expected_covariance, atol=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(1, 29))
def test_a_large_common_offset_costs_no_digit(seed, cut):
    # Whole numbers, which float32 holds exactly with the offset and without it.
    small = np.random.default_rng(seed).integers(-8, 9, (1, 30, 3)).astype(np.float32)
    lifted = summed(small + np.float32(2**20), [cut])
    np.testing.assert_allclose(
        lifted.covariance(0, 1), summed(small).covariance(0, 1), rtol=1e-13, atol=1e-13
    )


@given(streams(), st.sampled_from([1e-3, 0.01, 1.0]))
def test_whitening_is_lower_triangular_and_squares_to_the_inverse_covariance(stream, shrinkage):
    patches, cuts = stream
    sums = summed(patches, cuts)
    groups, dims = len(patches), patches.shape[2]
    white = sums.whitening(0, groups, shrinkage)
    np.testing.assert_array_equal(white, np.tril(white))
    covariance = sums.covariance(0, groups) + shrinkage * np.eye(dims)
    np.testing.assert_allclose(
        white.transpose(0, 2, 1) @ white, np.linalg.inv(covariance), rtol=1e-6, atol=1e-6
    )


def test_fewer_patches_than_dimensions_can_still_be_whitened():
    patches = features(dims=40).reshape(1, -1, 40)[:, :5]
    white = summed(patches).whitening(0, 1, 0.01)
    covariance = summed(patches).covariance(0, 1) + 0.01 * np.eye(40)
    np.testing.assert_allclose(white[0] @ covariance[0] @ white[0].T, np.eye(40), atol=1e-8)


def test_adding_leaves_the_patches_alone():
    patches = features().reshape(1, -1, 3)
    before = patches.copy()
    summed(patches)
    np.testing.assert_array_equal(patches, before)


def test_statistics_of_nothing_are_refused():
    sums = GaussianSums(1, 2)
    with pytest.raises(ValueError, match="no patches"):
        sums.mean()
    sums.add(np.zeros((1, 1, 2), np.float32))
    with pytest.raises(ValueError, match="1 patch for each Gaussian"):
        sums.covariance(0, 1)


@shares
@granularities
def test_every_position_gets_the_statistics_of_all_who_share_with_it(tmp_path, share, granularity):
    images = features(offset=20)
    scorer, support, _ = fit(tmp_path, images, granularity, share, shrinkage=0.02)
    members: dict[Any, list[Any]] = {}
    for image, tile, row, column in np.ndindex(images.shape[:4]):
        key = (
            reference.model_of(tile, GRID.cols, share),
            reference.group_of(row, column, 4, granularity),
        )
        members.setdefault(key, []).append(images[image, tile, row, column])
    assert scorer.mean.dtype == scorer.whitening.dtype == np.float32
    assert scorer.mean.shape[:2] == tuple(np.add(max(members), 1))
    assert support == min(len(patches) for patches in members.values())
    for (k, g), patches in members.items():
        mean, covariance = reference.mean_and_covariance(patches)
        np.testing.assert_allclose(scorer.mean[k, g], mean, rtol=1e-6)
        white = scorer.whitening[k, g].astype(float)
        precision = np.linalg.inv(covariance + 0.02 * np.eye(3))
        np.testing.assert_allclose(white.T @ white, precision, rtol=1e-4, atol=1e-4)


@shares
def test_an_unseen_frame_is_scored_as_its_neighbours_statistics_say(tmp_path, share):
    images = features(images=8, offset=20)
    scorer, _, _ = fit(tmp_path, images[:7], "1/4", share)
    values = scorer.distances(images[7]).values
    for tile, row, column in [(0, 0, 0), (2, 1, 3), (5, 3, 2)]:
        patches = [
            images[image, t, r, c]
            for image, t, r, c in np.ndindex(7, 6, 4, 4)
            if reference.model_of(t, 3, share) == reference.model_of(tile, 3, share)
            and (r // 2, c // 2) == (row // 2, column // 2)
        ]
        mean, covariance = reference.mean_and_covariance(patches)
        # The recipe's default shrinkage is the paper's epsilon.
        precision = np.linalg.inv(covariance + 0.01 * np.eye(3))
        expected = reference.mahalanobis(images[7, tile, row, column], mean, precision)
        assert values[tile, row, column] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("at_once", [1, 4])
def test_several_passes_give_the_very_same_arrays(tmp_path, monkeypatch, at_once):
    images = features()
    one, _, reader = fit(tmp_path / "one", images, "dense", "tile")
    assert reader.images_read == len(images)
    monkeypatch.setattr(padim, "SUMS_BYTES", at_once * 8 * 16 * 3 * 3)
    several, _, reader = fit(tmp_path / "several", images, "dense", "tile")
    assert reader.images_read == -(-6 // at_once) * len(images)
    assert several.mean.tobytes() == one.mean.tobytes()
    assert several.whitening.tobytes() == one.whitening.tobytes()


@granularities
def test_neither_batches_nor_blocks_change_the_statistics(tmp_path, monkeypatch, granularity):
    images = features(images=7, offset=20)
    one, _, _ = fit(tmp_path / "one", images, granularity, "column")
    monkeypatch.setattr(padim, "BATCH_BYTES", 2 * images[0].nbytes)
    monkeypatch.setattr(padim, "WHITENING_BLOCK", 3)
    other, _, _ = fit(tmp_path / "other", images, granularity, "column")
    np.testing.assert_allclose(other.mean, one.mean, rtol=1e-6)
    np.testing.assert_allclose(other.whitening, one.whitening, rtol=1e-5, atol=1e-6)


def test_progress_counts_every_image_of_every_pass(tmp_path, monkeypatch):
    monkeypatch.setattr(padim, "SUMS_BYTES", 1)
    reader = FakeReader(features(images=2))
    told = []
    spec = PadimSpec(name="padim", share="column")
    fit_padim(reader, reader.files, GRID, spec, tmp_path, lambda *step: told.append(step))
    assert told == [(done, 6) for done in range(1, 7)]


def test_a_granularity_that_does_not_fit_the_tile_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r'method\.granularity: granularity "1/4" needs squares'):
        fit(tmp_path, features(cells=3), "1/4")


def test_a_gaussian_of_one_patch_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"rest on 1 patch; .*: add good images"):
        fit(tmp_path, features(images=1), "dense", "tile")
