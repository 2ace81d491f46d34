"""INT8 proposes, float32 numpy measures: what is published is the distance to a bank row."""

from __future__ import annotations

import numpy as np
import pytest

import reference
from kenpin.runtime.distance import nearest, to_rows
from kenpin.runtime.proposals import CHUNK, WHOLE, Proposer
from kenpin.runtime.scoring import PatchCoreScorer

BLOCK, DIMS = 16, 24


def bank_of(rows, seed=0):
    """A bank, centred, the norms of its rows, and what was subtracted."""
    rng = np.random.default_rng(seed)
    bank = rng.normal(size=(rows, DIMS)).astype(np.float32)
    centre = (5 + rng.normal(size=DIMS)).astype(np.float32)
    return bank, np.einsum("md,md->m", bank, bank), centre


def proposer_of(bank, centre):
    return Proposer(bank[None], centre, BLOCK)


def rows_for(proposer, *queries):
    """A row for each patch of each bank's queries."""
    found, search, asked = {}, proposer.search(), []
    for k, patches in enumerate(queries):
        for start in range(0, len(patches), BLOCK):
            if search.full:
                number, rows = search.answer()
                found[number] = rows
            search.ask(len(asked), k, patches[start : start + BLOCK])
            asked.append(k)
    while search:
        number, rows = search.answer()
        found[number] = rows
    assert list(found) == list(range(len(asked)))
    return np.concatenate(list(found.values()))


@pytest.mark.parametrize("rows", [1, CHUNK, WHOLE, WHOLE + 1, WHOLE + CHUNK + 100])
@pytest.mark.parametrize("count", [1, BLOCK, 5 * BLOCK + 3])
def test_a_patch_that_is_a_bank_row_is_given_that_row(rows, count):
    bank, _squares, centre = bank_of(rows)
    chosen = np.random.default_rng(1).integers(rows, size=count)
    proposer = proposer_of(bank, centre)
    np.testing.assert_array_equal(rows_for(proposer, bank[chosen] + centre), chosen)


def test_several_banks_are_searched_at_once_each_for_its_own_patches():
    banks = [bank_of(300, seed=seed) for seed in range(3)]
    centre = banks[0][2]
    chosen = [np.random.default_rng(k).integers(300, size=2 * BLOCK + 3 * k) for k in range(3)]
    proposer = Proposer(np.stack([b[0] for b in banks]), centre, BLOCK)
    queries = [banks[k][0][chosen[k]] + centre for k in range(3)]
    for _ in range(2):
        np.testing.assert_array_equal(rows_for(proposer, *queries), np.concatenate(chosen))


def test_a_proposal_is_hardly_farther_than_the_nearest_row_and_never_nearer():
    bank, squares, centre = bank_of(2500)
    patches = (bank_of(400, seed=3)[0] * 1.2 + centre).astype(np.float32)
    rows = rows_for(proposer_of(bank, centre), patches)
    published = to_rows(patches - centre, bank, rows)
    exhaustive, _ = nearest(patches - centre, bank, squares)
    for patch, row, distance in zip(patches, rows, published, strict=True):
        assert distance == pytest.approx(reference.euclidean(patch - centre, bank[row]), rel=1e-5)
    assert (published >= exhaustive * (1 - 1e-6)).all()
    assert (published <= exhaustive * 1.02).all()
    assert np.mean(published > exhaustive * (1 + 1e-6)) < 0.05


def test_a_loud_channel_does_not_drown_the_others():
    bank, _, centre = bank_of(1000)
    bank[:, 3] *= 30
    squares = np.einsum("md,md->m", bank, bank)
    patches = bank_of(400, seed=3)[0]
    patches[:, 3] *= 30
    rows = rows_for(proposer_of(bank, centre), patches + centre)
    _, expected = nearest(patches, bank, squares)
    # Without copies of the loud channel 0.31 of them are wrong.
    assert np.mean(rows != expected) < 0.1


def test_a_far_patch_that_saturates_int8_is_measured_in_float():
    bank, squares, centre = bank_of(300)
    patches = centre + 100 * bank[:BLOCK]
    rows = rows_for(proposer_of(bank, centre), patches)
    published = to_rows(patches - centre, bank, rows)
    assert (published >= nearest(patches - centre, bank, squares)[0] * (1 - 1e-6)).all()


def test_a_search_that_is_given_up_leaves_the_next_one_whole():
    bank, _squares, centre = bank_of(300)
    proposer = proposer_of(bank, centre)
    patches = bank[: 9 * BLOCK] + centre
    search = proposer.search()
    for number in range(3):
        search.ask(number, 0, patches[number * BLOCK :][:BLOCK])
    assert search.answer()[0] == 0
    search.close()
    assert not search
    np.testing.assert_array_equal(rows_for(proposer, patches), np.arange(len(patches)))


@pytest.mark.parametrize("neighbours", [0, 3])
def test_a_scorer_with_proposals_publishes_what_the_exhaustive_one_does(neighbours):
    cells, sharing = 4, np.array([0, 1, 0])
    banks = [bank_of(300, seed=seed) for seed in (0, 1)]
    centre = banks[0][2]
    bank, squares = np.stack([b[0] for b in banks]), np.stack([b[1] for b in banks])
    # Patches near known rows: both searches must find those.
    rng = np.random.default_rng(2)
    rows = rng.integers(300, size=(3, cells, cells))
    features = bank[sharing[:, None, None], rows] + centre
    features += rng.normal(scale=0.05, size=features.shape)
    features = features.astype(np.float32)
    proposer = Proposer(bank, centre, cells * cells)
    exhaustive = PatchCoreScorer(centre, bank, squares, sharing, neighbours)
    proposing = PatchCoreScorer(centre, bank, squares, sharing, neighbours, None, proposer)
    found, expected = proposing.distances(features), exhaustive.distances(features)
    np.testing.assert_array_equal(found.values, expected.values)
    assert found.score == expected.score


def test_a_frame_that_is_given_up_leaves_the_next_one_whole():
    bank, squares, centre = bank_of(300)
    proposer = proposer_of(bank, centre)
    scorer = PatchCoreScorer(centre, bank[None], squares[None], np.zeros(9, int), proposer=proposer)
    rng = np.random.default_rng(4)
    features = (bank[rng.integers(300, size=(9, 4, 4))] + centre + 0.1).astype(np.float32)
    expected = scorer.distances(features).values
    with scorer.start(features.copy()) as scoring:
        scoring.ready(0, 9)
    # No more under way than somebody works on, and nobody reads the features any more.
    assert len(proposer.free[0]) == proposer.most
    np.testing.assert_array_equal(scorer.distances(features).values, expected)
    with scorer.start(features) as scoring:
        for first, last in ((0, 2), (2, 8), (8, 9)):
            scoring.ready(first, last)
        np.testing.assert_array_equal(scoring.finish().values, expected)


def test_a_nan_is_never_given_a_finite_distance():
    bank, squares, centre = bank_of(300)
    features = (bank[:BLOCK] + centre).reshape(1, 4, 4, DIMS)
    features[0, 2, 1, 5] = np.nan
    proposer = proposer_of(bank, centre)
    scorer = PatchCoreScorer(centre, bank[None], squares[None], np.array([0]), proposer=proposer)
    values = scorer.distances(features).values
    assert np.argwhere(~np.isfinite(values)).tolist() == [[0, 2, 1]]
