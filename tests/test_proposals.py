"""INT8 proposes, float32 numpy measures: what is published is the distance to a bank row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as op

import reference
from kenpin.runtime.judging.distance import nearest, to_rows
from kenpin.runtime.judging.engine import Engine, EngineError
from kenpin.runtime.judging.patchcore import PatchCoreScorer
from kenpin.runtime.judging.proposals import CHUNK, BankSearch, Proposer

BLOCK, DIMS = 16, 24


def bank_of(rows, seed=0):
    """A bank, centred, the norms of its rows, and what was subtracted."""
    rng = np.random.default_rng(seed)
    bank = rng.normal(size=(rows, DIMS)).astype(np.float32)
    centre = (5 + rng.normal(size=DIMS)).astype(np.float32)
    return bank, np.einsum("md,md->m", bank, bank), centre


def proposer_of(bank, centre):
    return Proposer(bank[None], centre, BLOCK)


def blocks(patches, k=0):
    """What is asked of bank k, block by block."""
    return [(k, patches[start : start + BLOCK]) for start in range(0, len(patches), BLOCK)]


def rows_for(proposer, *queries):
    """A row for each patch of each bank's queries."""
    asked = [block for k, patches in enumerate(queries) for block in blocks(patches, k)]
    return np.concatenate(proposer.propose(asked))


@pytest.mark.parametrize("rows", [1, CHUNK, CHUNK + 1, 4 * CHUNK, 5 * CHUNK + 100])
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


def test_a_search_that_fails_leaves_the_next_one_whole():
    bank, _squares, centre = bank_of(300)
    proposer = proposer_of(bank, centre)
    patches = bank[: 9 * BLOCK] + centre
    asked = [*blocks(patches)[:3], (0, "no patches at all")]
    with pytest.raises((AttributeError, TypeError)):
        proposer.propose(asked)
    np.testing.assert_array_equal(rows_for(proposer, patches), np.arange(len(patches)))
    # No more under way than somebody works on.
    assert len(proposer.free[0]) <= proposer.most


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


def cut_network(batch):
    """Features are the pixels themselves: (N, 1, 24, 24) uint8 to (N, 4, 6, 24) float32."""
    tiles = op.parameter([batch, 1, 24, 24], ov.Type.u8)
    floats = op.multiply(op.convert(tiles, ov.Type.f32), np.float32(0.01))
    return ov.Model([op.reshape(floats, np.array([batch, 4, 6, DIMS]), False)], [tiles])


@pytest.mark.parametrize("rows", [300, 2500])
@pytest.mark.parametrize(("batch", "count"), [(1, 3), (4, 9), (90, 90)])
def test_a_network_joined_with_a_search_proposes_what_the_bank_alone_does(rows, batch, count):
    tiles = np.random.default_rng(0).integers(0, 256, (count, 1, 24, 24), np.uint8)
    bank, _, centre = bank_of(rows)
    centre += 1.28 - centre.mean()
    search = BankSearch.of(bank, centre)

    def fill(first, slots):
        part = tiles[first : first + len(slots)]
        slots[: len(part)] = part
        return len(part)

    joined = Engine(cut_network(batch), search=search)
    buffers = joined.buffers(count)
    features, _ = joined.features(fill, count, buffers)
    np.testing.assert_array_equal(features, tiles.reshape(features.shape) * np.float32(0.01))
    patches = features.reshape(-1, DIMS)
    expected = rows_for(Proposer(bank[None], centre, BLOCK), patches)
    np.testing.assert_array_equal(buffers.tiles(0, count).rows.reshape(-1), expected)
    assert len(np.unique(expected)) > 10
    # Without a search nothing else changes.
    plain = Engine(cut_network(batch))
    assert plain.buffers(count).rows is None
    np.testing.assert_array_equal(plain.features(fill, count)[0], features)


def test_a_bank_of_other_dimensions_than_the_network_makes_is_refused():
    bank, _, centre = bank_of(300)
    search = BankSearch.of(bank[:, :10], centre[:10])
    with pytest.raises(EngineError, match="features of 24 dimensions, the bank has 10"):
        Engine(cut_network(4), search=search)


def test_only_one_bank_for_all_tiles_is_searched_by_the_network():
    bank, squares, centre = bank_of(300)
    proposer = Proposer(bank[None], centre, BLOCK)
    one = PatchCoreScorer(centre, bank[None], squares[None], np.zeros(2, int), 0, None, proposer)
    assert one.search is proposer.banks[0]
    assert replace(one, proposer=None).search is None
    assert replace(one, place=np.zeros((2, 4, 4, 2), np.float32)).search is None
    two = np.stack([bank, bank])
    assert replace(one, bank=two, proposer=Proposer(two, centre, BLOCK)).search is None


def test_a_nan_is_never_given_a_finite_distance():
    bank, squares, centre = bank_of(300)
    features = (bank[:BLOCK] + centre).reshape(1, 4, 4, DIMS)
    features[0, 2, 1, 5] = np.nan
    proposer = proposer_of(bank, centre)
    scorer = PatchCoreScorer(centre, bank[None], squares[None], np.array([0]), proposer=proposer)
    values = scorer.distances(features).values
    assert np.argwhere(~np.isfinite(values)).tolist() == [[0, 2, 1]]
