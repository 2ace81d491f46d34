"""The patch embeddings equal their papers' formulation; the halo is cut off."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

import reference
from kenpin.compile.backbones import Backbone, Tap
from kenpin.compile.methods.extractor import Extractor, PadimEmbedding, PatchCoreEmbedding
from kenpin.config.errors import ConfigError
from kenpin.config.methods import PadimSpec, PatchCoreSpec

CHANNELS = (3, 4, 5)
TOTAL = sum(CHANNELS)
seeds = st.integers(0, 2**32 - 1)
reductions = st.sampled_from(["select", "project"])


def halving_taps(channels):
    """A tap at stride 4 and each next one at twice the stride."""
    return [Tap(f"layer{i}", 4 << i, count) for i, count in enumerate(channels)]


def padim(channels=CHANNELS, grid_px=4, **settings):
    return PadimEmbedding(halving_taps(channels), grid_px, PadimSpec(name="padim", **settings))


def patchcore(channels=CHANNELS, grid_px=4, **settings):
    spec = PatchCoreSpec(name="patchcore", **settings)
    return PatchCoreEmbedding(halving_taps(channels), grid_px, spec)


def random_taps(seed, channels=CHANNELS, side=8):
    """One (2, C_i, h_i, w_i) map per tap, each half as fine as the one before."""
    rng = np.random.default_rng(seed)
    return [
        torch.from_numpy(rng.normal(size=(2, c, side >> i, side >> i))).float()
        for i, c in enumerate(channels)
    ]


def mixing(embedding, channels=CHANNELS):
    """(dimensions, total): what an embedding makes of each channel alone."""
    columns = []
    for tap, count in enumerate(channels):
        for channel in range(count):
            taps = [torch.zeros(1, c, 8 >> i, 8 >> i) for i, c in enumerate(channels)]
            taps[tap][:, channel] = 1
            columns.append(embedding(taps)[0, :, 0, 0].numpy())
    return np.array(columns).T


def side_by_side(taps):
    """(N, total, h, w) float64: every tap upsampled by repetition, then concatenated."""
    side = taps[0].shape[2]
    return np.stack(
        [
            np.concatenate([reference.nearest_upsampled(tap[n], side, side) for tap in taps])
            for n in range(len(taps[0]))
        ]
    )


# PaDiM


@given(seeds, st.integers(1, TOTAL), reductions)
def test_reducing_each_tap_first_equals_reducing_all_of_them_upsampled(seed, dims, reduction):
    embedding = padim(dimensions=dims, reduction=reduction, seed=seed)
    taps = random_taps(seed)
    found = embedding(taps)
    assert found.dtype == torch.float32
    assert found.shape == (2, dims, 8, 8)
    expected = np.einsum("dc,nchw->ndhw", mixing(embedding).astype(float), side_by_side(taps))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@given(seeds)
def test_all_channels_together_are_anomalibs_embedding(seed):
    taps = random_taps(seed)
    size = taps[0].shape[2:]
    theirs = torch.cat([functional.interpolate(tap, size, mode="nearest") for tap in taps], dim=1)
    assert torch.equal(padim(dimensions=TOTAL)(taps), theirs)


@given(seeds, st.integers(1, TOTAL))
def test_selected_channels_are_distinct_and_pass_unchanged(seed, dims):
    matrix = mixing(padim(dimensions=dims, seed=seed))
    assert set(np.unique(matrix)) <= {0, 1}
    assert (matrix.sum(axis=1) == 1).all()
    assert matrix.sum(axis=0).max() == 1


@given(seeds, st.integers(1, TOTAL))
def test_a_projection_is_orthonormal(seed, dims):
    matrix = mixing(padim(dimensions=dims, reduction="project", seed=seed)).astype(float)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(dims), atol=1e-6)


@pytest.mark.thorough
@given(st.integers(0, 1000), reductions)
def test_the_seed_decides_the_reduction(seed, reduction):
    def matrix(seed):
        # Large enough that two seeds do not meet by chance.
        embedding = padim((20, 20), dimensions=20, reduction=reduction, seed=seed)
        return mixing(embedding, (20, 20)).tobytes()

    assert matrix(seed) == matrix(seed) != matrix(seed + 1)


@pytest.mark.thorough
def test_every_channel_is_selected_about_as_often():
    chosen = sum(mixing(padim(dimensions=4, seed=seed)).sum(axis=0) for seed in range(300))
    assert chosen.sum() == 4 * 300
    # 100 expected of each, a standard deviation of 8.
    assert 70 < chosen.min() <= chosen.max() < 130


@pytest.mark.parametrize(
    ("channels", "settings", "dimensions"),
    [
        (CHANNELS, {}, TOTAL),
        ((64, 128, 256), {}, 100),
        ((64, 128, 256), {"dimensions": 448}, 448),
        ((64, 128, 256), {"feature_ratio": 0.25}, 112),
        ((64, 128, 256), {"feature_ratio": 1.0}, 448),
        (CHANNELS, {"feature_ratio": 0.3}, 3),
        (CHANNELS, {"feature_ratio": 0.01}, 1),
    ],
)
def test_the_dimensions_are_those_asked_for_or_that_share(channels, settings, dimensions):
    assert padim(channels, **settings).dimensions == dimensions


def test_more_dimensions_than_channels_are_refused():
    with pytest.raises(ConfigError, match=r"dimensions 13 is more than the 12 channels.*most 12"):
        padim(dimensions=13)


# PatchCore


@given(seeds, st.sampled_from([1, 3, 5]))
def test_patchcore_pools_with_zeros_then_upsamples_linearly(seed, neighbourhood):
    taps = random_taps(seed)
    embedding = patchcore(neighbourhood=neighbourhood)
    found = embedding(taps)
    assert found.shape == (2, TOTAL, 8, 8)
    assert embedding.dimensions == TOTAL
    for n in range(2):
        pooled = [reference.average_pooled(tap[n], neighbourhood) for tap in taps]
        expected = [reference.bilinear(channel, 8, 8) for maps in pooled for channel in maps]
        np.testing.assert_allclose(found[n], expected, rtol=1e-4, atol=1e-5)


@given(seeds)
def test_patchcore_by_default_is_anomalibs_embedding(seed):
    taps = random_taps(seed)
    pool = torch.nn.AvgPool2d(3, 1, 1)
    theirs = [
        functional.interpolate(pool(tap), taps[0].shape[2:], mode="bilinear", align_corners=False)
        for tap in taps
    ]
    torch.testing.assert_close(patchcore()(taps), torch.cat(theirs, dim=1))


# The whole


class Averages(Backbone):
    """Mean grey at strides 4 and 8; the second tap has its negative too."""

    taps = (Tap("fine", 4, 1), Tap("coarse", 8, 2))

    def forward(self, tiles):
        grey = tiles.float().mean(dim=1, keepdim=True)
        coarse = functional.avg_pool2d(grey, 8)
        return [functional.avg_pool2d(grey, 4), torch.cat([coarse, -coarse], dim=1)]


SPECS = [
    PadimSpec(name="padim"),
    PadimSpec(name="padim", reduction="project", dimensions=2),
    PatchCoreSpec(name="patchcore"),
]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("halo", [4, 8, 12])
def test_what_comes_out_are_the_features_of_the_core(spec, halo):
    tiles = np.random.default_rng(0).integers(0, 256, (3, 1, 48, 48), np.uint8)
    whole = Extractor(Averages(), 4, spec, 0)(torch.from_numpy(tiles))
    core = Extractor(Averages(), 4, spec, halo)(torch.from_numpy(tiles))
    cells = (48 - 2 * halo) // 4
    assert whole.shape[:3] == (3, 12, 12)
    assert core.shape == (3, cells, cells, whole.shape[3])
    assert torch.equal(core, whole[:, halo // 4 :, halo // 4 :][:, :cells, :cells])


@pytest.mark.parametrize("grid_px", [4, 8, 16])
@pytest.mark.parametrize("strides", [(4, 16), (8, 32), (4, 8, 16)])
@pytest.mark.parametrize("neighbourhood", [1, 3, 5])
def test_what_is_cut_off_early_is_never_missed(grid_px, strides, neighbourhood):
    rng = np.random.default_rng(0)
    taps = [Tap(f"layer{n}", stride, 2) for n, stride in enumerate(strides)]
    maps = [torch.from_numpy(rng.normal(size=(1, 2, 192 // s, 192 // s))).float() for s in strides]
    specs = [
        (PadimEmbedding, PadimSpec(name="padim")),
        (PadimEmbedding, PadimSpec(name="padim", reduction="project", dimensions=3)),
        (PatchCoreEmbedding, PatchCoreSpec(name="patchcore", neighbourhood=neighbourhood)),
    ]
    for make, spec in specs:
        whole = make(taps, grid_px, spec)(maps)
        for margin in range(192 // grid_px // 2):
            core = make(taps, grid_px, spec, margin)(maps)
            end = 192 // grid_px - margin
            assert torch.equal(core, whole[:, :, margin:end, margin:end])


def test_features_lie_rows_before_columns_and_channels_last():
    tiles = np.zeros((1, 1, 32, 32), np.uint8)
    tiles[0, 0, 8:12, 20:24] = 160
    extractor = Extractor(Averages(), 4, PadimSpec(name="padim"), 0)
    features = extractor(torch.from_numpy(tiles))
    assert extractor.dimensions == features.shape[3] == 3
    assert extractor.patch_stride_px == 4
    assert features[0, 2, 5].tolist() == [160, 40, -40]
    assert features[0, 5, 2].tolist() == [0, 0, 0]


def test_a_halo_between_two_positions_is_refused():
    with pytest.raises(ConfigError, match="halo_px 6 is not a multiple of 4, the distance"):
        Extractor(Averages(), 4, SPECS[0], 6)


@pytest.mark.parametrize("make", [padim, patchcore])
def test_a_coarser_grid_averages_the_finer_layers_down(make):
    taps = random_taps(5)
    whole = {"dimensions": TOTAL} if make is padim else {"neighbourhood": 1}
    found = make(grid_px=8, **whole)(taps)
    fine = taps[0].unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean(dim=(3, 5))
    assert found.shape == (2, TOTAL, 4, 4)
    torch.testing.assert_close(found[:, :3], fine)
    torch.testing.assert_close(found[:, 3:7], taps[1])


def test_the_grid_of_the_extractor_is_the_one_asked_for():
    tiles = np.zeros((1, 1, 32, 32), np.uint8)
    tiles[0, 0, 8:12, 20:24] = 160
    extractor = Extractor(Averages(), 8, PadimSpec(name="padim"), 8)
    features = extractor(torch.from_numpy(tiles))
    assert extractor.patch_stride_px == 8
    assert features.shape == (1, 2, 2, 3)
    assert features[0, 0, 1].tolist() == [40, 40, -40]
