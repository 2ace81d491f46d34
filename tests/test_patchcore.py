"""PatchCore's coreset is a k-centre choice among a bounded, uniform sample."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from fake_reader import FakeReader, features
from kenpin.compile.methods.patch_sample import Reservoir
from kenpin.compile.methods.patchcore import fit_patchcore, k_centre_greedy
from kenpin.compile.methods.streamed_coreset import random_projection
from kenpin.config.errors import ConfigError
from kenpin.config.methods import PatchCoreSpec, Share
from kenpin.runtime.judging.coreset import covering_radius
from kenpin.runtime.judging.patchcore import PatchCoreScorer
from kenpin.runtime.judging.sharing import model_of_tile, patch_positions
from kenpin.runtime.judging.tiling import TileGrid

# 2 rows x 3 columns of tiles.
GRID = TileGrid(height=32, width=48, size=16, halo=0, stride=16)
shares = pytest.mark.parametrize("share", get_args(Share))
seeds = st.integers(0, 2**32 - 1)


def numbered(count):
    """(count, 1) rows that say which they are."""
    return np.arange(count, dtype=np.float32)[:, None]


def sampled(size, count, cuts=(), seed=0):
    """The numbers that a reservoir keeps of a stream, cut into batches."""
    pool = Reservoir(size, 1, np.random.default_rng(seed))
    for batch in np.split(numbered(count), sorted(cuts)):
        pool.add(batch)
    assert pool.seen == count
    return pool.rows[:, 0]


def ignored(name):
    return lambda done, total: None


def fit(folder, images, share="frame", **settings):
    """The scorer that the fitted files make, and what `fit_patchcore` said."""
    folder.mkdir(exist_ok=True)
    reader = FakeReader(images)
    settings = {"projection_dimensions": 0, **settings}
    spec = PatchCoreSpec(name="patchcore", share=share, **settings)
    said = fit_patchcore(reader, reader.files, GRID, spec, folder, folder, [], ignored)
    arrays = [np.load(folder / f"{name}.npy") for name in ("centre", "bank", "bank_sq")]
    centre, bank, bank_sq = arrays
    return PatchCoreScorer(centre, bank, bank_sq, model_of_tile(GRID, share)), said


def patches_of(images, model, share):
    """The patches of all tiles that share a model, in the order they are read."""
    mine = [t for t in range(len(GRID)) if reference.model_of(t, GRID.cols, share) == model]
    return images[:, mine].reshape(-1, images.shape[-1])


# The sample


@given(st.integers(1, 30), st.integers(0, 30), st.data())
def test_a_stream_that_fits_is_kept_whole_and_in_order(size, count, data):
    count = min(count, size)
    cuts = data.draw(st.sets(st.integers(0, count)), label="cuts")
    np.testing.assert_array_equal(sampled(size, count, cuts), np.arange(count))


@given(st.integers(1, 10), st.integers(0, 60), st.data(), seeds)
def test_a_sample_is_bounded_and_takes_no_row_twice_however_it_comes(size, count, data, seed):
    cuts = data.draw(st.sets(st.integers(0, count), max_size=5), label="cuts")
    rows = sampled(size, count, cuts, seed)
    assert len(rows) == len(set(rows.tolist())) == min(size, count)
    np.testing.assert_array_equal(rows, sampled(size, count, (), seed))


def test_every_row_of_a_stream_has_the_same_chance():
    size, count, trials = 6, 24, 3000
    kept = np.zeros(count)
    for seed in range(trials):
        kept[sampled(size, count, (4, 9, 17), seed).astype(int)] += 1
    expected = trials * size / count
    variance = expected * (1 - size / count)
    # Chi-square with 23 degrees of freedom: above 49.7 once in a thousand times.
    assert ((kept - expected) ** 2 / variance).sum() < 49.7


# The projection


def test_a_projection_keeps_distances_within_a_few_per_cent():
    rows = np.random.default_rng(1).normal(size=(40, 400)).astype(np.float32)
    flat = random_projection(rows, 128, np.random.default_rng(2))
    assert flat.shape == (40, 128)
    assert flat.dtype == np.float32
    pairs = np.triu_indices(40, 1)
    ratio = np.linalg.norm(flat[pairs[0]] - flat[pairs[1]], axis=1) / np.linalg.norm(
        rows[pairs[0]] - rows[pairs[1]], axis=1
    )
    assert ratio.mean() == pytest.approx(1, abs=0.03)
    assert 0.75 < ratio.min() <= ratio.max() < 1.25


@pytest.mark.parametrize("dimensions", [0, 5, 6])
def test_a_projection_that_would_save_nothing_is_left_out(dimensions):
    rows = np.ones((3, 5), np.float32)
    assert random_projection(rows, dimensions, np.random.default_rng(0)) is rows


# The choice


@given(seeds, st.sampled_from([4, 8, 16]), st.integers(1, 6), st.integers(1, 20))
def test_the_greedy_choice_is_the_definitions_at_ties_too(seed, count, dims, rows):
    # Small whole numbers and a count that divides: every product is exact, ties are ties.
    rng = np.random.default_rng(seed)
    points = rng.integers(-8, 9, (count, dims)).astype(np.float32)
    first = int(rng.integers(count))
    chosen = k_centre_greedy(points, rows, first)
    assert chosen.tolist() == reference.k_centre_greedy(points, rows, first)


@given(seeds, st.integers(1, 60), st.integers(1, 16), st.sampled_from([0.0, 20.0, 2000.0]))
def test_each_choice_is_the_farthest_point_up_to_rounding(seed, count, dims, offset):
    rng = np.random.default_rng(seed)
    points = (offset + rng.normal(size=(count, dims))).astype(np.float32)
    chosen = k_centre_greedy(points, 12, int(rng.integers(count))).tolist()
    assert len(set(chosen)) == len(chosen) == min(12, count)
    exact = points.astype(float)
    rounding = 32 * np.finfo(np.float32).eps * ((exact - exact.mean(axis=0)) ** 2).sum(axis=1).max()
    gap_sq = np.full(count, np.inf)
    for before, number in pairwise(chosen):
        gap_sq = np.minimum(gap_sq, ((exact - exact[before]) ** 2).sum(axis=1))
        assert gap_sq[number] >= gap_sq.max() - rounding


def test_repeated_points_are_chosen_once():
    points = np.repeat(np.float32([[20.3, 1.7], [20.1, 1.7], [19.9, 2.2]]), 5, axis=0)
    chosen = k_centre_greedy(points, 10, 4)
    assert sorted(number // 5 for number in chosen) == [0, 1, 2]


def test_progress_reports_each_choice():
    told = []
    k_centre_greedy(numbered(9), 4, 0, lambda *step: told.append(step))
    assert told == [(2, 4), (3, 4), (4, 4)]


# The fit


@shares
@pytest.mark.parametrize("offset", [0.0, 20.0])
def test_each_bank_is_the_k_centre_choice_among_the_patches_of_its_tiles(tmp_path, share, offset):
    images = features(images=2, offset=offset)
    scorer, (seen, rows) = fit(tmp_path, images, share, coreset_rows=10)
    assert (seen, rows) == (images.size // 3, 10)
    assert scorer.bank.shape == (max(scorer.model_of_tile) + 1, 10, 3)
    np.testing.assert_allclose(scorer.centre, images.mean(axis=(0, 1, 2, 3)), rtol=1e-5, atol=1e-5)
    for model, bank in enumerate(scorer.bank):
        patches = patches_of(images, model, share)
        places = {row.tobytes(): n for n, row in enumerate(patches - scorer.centre)}
        chosen = [places[row.tobytes()] for row in bank]
        assert chosen == reference.k_centre_greedy(patches, 10, chosen[0])


@shares
def test_norms_are_those_of_the_bank(tmp_path, share):
    scorer, _ = fit(tmp_path, features(offset=20), share, coreset_rows=10)
    assert {array.dtype for array in (scorer.centre, scorer.bank, scorer.bank_sq)} == {
        np.dtype(np.float32)
    }
    np.testing.assert_allclose(scorer.bank_sq, (scorer.bank**2).sum(axis=2), rtol=1e-6)


@shares
def test_a_patch_that_was_learned_is_at_distance_zero(tmp_path, share):
    images = features(images=2, offset=20)
    # The smallest model, a tile's, has 2 x 16 patches.
    scorer, _ = fit(tmp_path, images, share, coreset_ratio=1.0)
    assert (scorer.distances(images[1]).values == 0).all()


@pytest.mark.parametrize(
    ("settings", "rows"),
    [
        ({"coreset_rows": 7}, 7),
        ({"coreset_rows": 10_000}, 480),
        ({"coreset_ratio": 0.1}, 48),
        ({"coreset_ratio": 0.0999}, 47),
        ({"coreset_ratio": 1e-6}, 1),
        ({}, 480),
    ],
)
def test_the_coreset_has_the_size_or_the_ratio_asked_for(tmp_path, settings, rows):
    assert fit(tmp_path, features(), **settings)[1] == (480, rows)


def test_a_ratio_counts_the_patches_of_each_model(tmp_path):
    assert fit(tmp_path, features(), "column", coreset_ratio=0.1)[1] == (480, 16)


@pytest.mark.parametrize("settings", [{"coreset_rows": 101}, {"coreset_ratio": 0.25}])
def test_a_coreset_larger_than_the_candidates_is_refused(tmp_path, settings):
    with pytest.raises(ConfigError, match=r"more than the 100 candidate patches.*raise method"):
        fit(tmp_path, features(), candidates=100, **settings)


def test_memory_is_bounded_by_the_candidates(tmp_path):
    images = features(images=20)
    scorer, (seen, rows) = fit(tmp_path, images, "column", candidates=120, coreset_rows=40)
    assert (seen, rows) == (20 * 6 * 16, 40)
    for model, bank in enumerate(scorer.bank):
        patches = patches_of(images, model, "column") - scorer.centre
        assert {row.tobytes() for row in bank} <= {row.tobytes() for row in patches}


def test_the_models_share_the_candidates(tmp_path):
    with pytest.raises(ConfigError, match="41 rows is more than the 40 candidate patches of each"):
        fit(tmp_path, features(images=20), "column", candidates=120, coreset_rows=41)


def test_a_tile_that_repeats_shortens_no_other_tiles_bank(tmp_path):
    """Saturated in every image, it has one patch to learn; the others were cut to one row."""
    images = features(images=2)
    plain, _ = fit(tmp_path / "plain", images, "tile", coreset_rows=8)
    images[:, 3] = images[0, 3, 0, 0]
    scorer, (_, rows) = fit(tmp_path / "white", images, "tile", coreset_rows=8)
    assert rows == 8
    assert scorer.bank.shape == (6, 8, 3)
    assert (scorer.bank[3] == scorer.bank[3, 0]).all()
    others = [0, 1, 2, 4, 5]
    np.testing.assert_allclose(
        scorer.distances(features(9, images=1)[0]).values[others],
        plain.distances(features(9, images=1)[0]).values[others],
        rtol=1e-4,
    )
    # What repeats does not lie near anything: a bank's own covering is told by the rest of it.
    assert covering_radius(scorer.bank[3]) == 0
    some = scorer.bank[0]
    repeated = np.concatenate([some, np.repeat(some[:1], 5, axis=0)])
    assert covering_radius(repeated) == covering_radius(some) > 0


@pytest.mark.parametrize("projection", [0, 2])
def test_the_seed_decides_the_bank(tmp_path, projection):
    def bank(name, seed):
        settings = {"coreset_rows": 9, "candidates": 300, "projection_dimensions": projection}
        return fit(tmp_path / name, features(), seed=seed, **settings)[0].bank.tobytes()

    assert bank("a", 1) == bank("b", 1) != bank("c", 2)


@shares
def test_place_counts_as_two_more_columns_of_the_stated_weight(tmp_path, share):
    images = features(seed=4)
    scorer, _ = fit(tmp_path, images, share, coreset_rows=10, position_weight=2.0)
    spread = np.sqrt(images.astype(np.float64).reshape(-1, images.shape[-1]).var(axis=0).sum())
    place = np.load(tmp_path / "place.npy")
    expected = 2 * spread * patch_positions(GRID, images.shape[2])
    np.testing.assert_allclose(place, expected, rtol=1e-4)
    # Each bank row is a learned patch together with the place it was learned at.
    learned = np.concatenate([images, np.broadcast_to(place, (*images.shape[:4], 2))], axis=-1)
    for model, bank in enumerate(scorer.bank):
        patches = learned[:, scorer.model_of_tile == model].reshape(-1, learned.shape[-1])
        gaps = np.abs((bank + scorer.centre)[:, None] - patches[None]).max(axis=2).min(axis=1)
        assert gaps.max() < 1e-4


def test_a_patch_out_of_its_place_is_far(tmp_path):
    images = features(seed=4)
    scorer, _ = fit(tmp_path, images, coreset_ratio=1.0, position_weight=5.0)
    scorer = replace(scorer, place=np.load(tmp_path / "place.npy"))
    assert scorer.distances(images[0]).values.max() < 1e-2
    moved = images[0].copy()
    moved[0, 0, 0] = images[0, -1, -1, -1]
    found = scorer.distances(moved).values
    assert found.argmax() == 0
    assert found.max() > 0.1
