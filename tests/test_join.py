"""Joining undoes tiling; smoothing and upsampling keep level and place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from kenpin.runtime.judging.join import Joiner, ScoreMap, at_pixels, smooth, upsample
from kenpin.runtime.judging.tiling import TileGrid

seeds = st.integers(0, 2**32 - 1)


@st.composite
def joiners(draw):
    """Grids whose tiles meet on the features' grid; frames of any size."""
    step = draw(st.sampled_from([1, 2, 4]))
    cells, halo = draw(st.integers(1, 5)), draw(st.integers(0, 3))
    stride = draw(st.integers(1, cells))
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    grid = TileGrid(height, width, (cells + 2 * halo) * step, halo * step, stride * step)
    return Joiner(grid, step)


@st.composite
def score_maps(draw):
    """Maps down to a single row or column, far smaller than the kernel."""
    shape = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    values = np.random.default_rng(draw(seeds)).gamma(2.0, 3.0, shape).astype(np.float32)
    return whole_map(values, draw(st.sampled_from([4, 8])))


def whole_map(values, stride):
    """A map of a frame whose sides are whole numbers of squares."""
    return ScoreMap(values, stride, (values.shape[0] * stride, values.shape[1] * stride))


def block_means(pixels, side):
    """Mean of each side x side square of (H, W) pixels, a whole number of squares."""
    h, w = pixels.shape
    return pixels.reshape(h // side, side, w // side, side).mean(axis=(1, 3))


@given(joiners(), seeds)
def test_joining_undoes_tiling(joiner, seed):
    grid, step = joiner.grid, joiner.patch_stride
    pixels = np.random.default_rng(seed).integers(0, 256, (grid.height, grid.width), np.uint8)
    tiles = []
    for number in range(len(grid)):
        tile = grid.tile(pixels, number)
        tiles.append(block_means(tile[grid.halo :, grid.halo :][: grid.core, : grid.core], step))
    joined = joiner.join(np.array(tiles, np.float32))
    pad = [(0, -length % step) for length in pixels.shape]
    expected = block_means(np.pad(pixels, pad, mode="reflect").astype(float), step)
    assert joined.values.shape == joiner.shape == expected.shape
    assert joined.values.dtype == np.float32
    assert joined.stride_px == step
    np.testing.assert_allclose(joined.values, expected, rtol=1e-5)


@given(joiners(), seeds)
def test_join_agrees_with_its_definition(joiner, seed):
    grid, step = joiner.grid, joiner.patch_stride
    distances = np.random.default_rng(seed).random(
        (len(grid), joiner.cells, joiner.cells), np.float32
    )
    corners = [
        (top // step, left // step)
        for top in reference.origins(grid.height, grid.core, grid.stride)
        for left in reference.origins(grid.width, grid.core, grid.stride)
    ]
    expected = reference.join(distances, corners, *joiner.shape)
    np.testing.assert_allclose(joiner.join(distances).values, expected, rtol=1e-5)


@given(joiners())
def test_a_nan_is_still_there_after_joining(joiner):
    for number in range(len(joiner.grid)):
        distances = np.ones((len(joiner.grid), joiner.cells, joiner.cells), np.float32)
        distances[number, 0, 0] = np.nan
        assert np.isnan(joiner.join(distances).values).sum() == 1


@pytest.mark.parametrize("shape", [(3, 4, 4), (5, 4, 4), (4, 4, 3), (4, 16)])
def test_too_few_distances_are_refused(shape):
    joiner = Joiner(TileGrid(height=32, width=32, size=16, halo=0, stride=16), 4)
    with pytest.raises(ValueError, match=r"the grid expects \(4, 4, 4\)"):
        joiner.join(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (TileGrid(64, 64, 36, 8, 16), "tile size of 36 px .* use 32 or 40"),
        (TileGrid(64, 64, 40, 4, 32), "tile halo of 4 px .* use 0 or 8"),
        (TileGrid(64, 64, 40, 8, 20), "tile stride of 20 px .* use 16 or 24"),
    ],
)
def test_tiles_that_would_not_meet_on_one_grid_are_refused(grid, message):
    with pytest.raises(ValueError, match=message):
        Joiner(grid, 8)


@given(score_maps(), st.sampled_from([0.5, 4.0, 6.5, 12.0]))
def test_smoothing_agrees_with_a_gaussian_convolution(score_map, sigma_px):
    found = smooth(score_map, sigma_px)
    expected = reference.smooth(score_map.values, sigma_px / score_map.stride_px)
    assert found.values.dtype == np.float32
    assert found.stride_px == score_map.stride_px
    np.testing.assert_allclose(found.values, expected, rtol=1e-5, atol=1e-5)


@given(score_maps(), st.sampled_from([0.5, 4.0, 12.0]))
def test_smoothing_leaves_a_constant_map_and_never_raises_a_peak(score_map, sigma_px):
    flat = whole_map(np.full_like(score_map.values, 7.25), score_map.stride_px)
    np.testing.assert_allclose(smooth(flat, sigma_px).values, 7.25, rtol=1e-6)
    blurred = smooth(score_map, sigma_px).values
    assert blurred.max() <= score_map.values.max() * (1 + 1e-6)
    assert blurred.min() >= score_map.values.min() * (1 - 1e-6)


@given(score_maps())
def test_smoothing_by_nothing_changes_nothing(score_map):
    np.testing.assert_array_equal(smooth(score_map, 0.0).values, score_map.values)


def test_smoothing_leaves_its_input_alone():
    values = np.random.default_rng(3).random((8, 8), np.float32)
    before = values.copy()
    smooth(whole_map(values, 4), 8.0)
    np.testing.assert_array_equal(values, before)


@given(score_maps(), st.data())
def test_upsampling_agrees_with_linear_interpolation_between_the_middles(score_map, data):
    rows, cols = (side * score_map.stride_px for side in score_map.values.shape)
    height = data.draw(st.integers(rows - score_map.stride_px + 1, rows), label="height")
    width = data.draw(st.integers(cols - score_map.stride_px + 1, cols), label="width")
    full = upsample(replace(score_map, frame_size=(height, width)), height, width)
    assert full.shape == (height, width)
    assert full.dtype == np.float32
    expected = reference.bilinear(score_map.values, rows, cols)[:height, :width]
    np.testing.assert_allclose(full, expected, rtol=1e-5, atol=1e-5)


@given(score_maps(), st.data())
def test_a_peak_stays_in_its_square(score_map, data):
    stride = score_map.stride_px
    rows, cols = score_map.values.shape
    row = data.draw(st.integers(0, rows - 1), label="row")
    col = data.draw(st.integers(0, cols - 1), label="col")
    values = np.zeros((rows, cols), np.float32)
    values[row, col] = 1.0
    peak = whole_map(values, stride)
    x, y = peak.peak_xy(rows * stride, cols * stride)
    assert (y // stride, x // stride) == (row, col)
    full = upsample(peak, rows * stride, cols * stride)
    highest = np.argwhere(full == full.max()) // stride
    assert (highest == [row, col]).all()


def test_a_peak_beyond_the_frame_is_reported_at_its_border():
    peak = ScoreMap(np.array([[0, 0, 1]], np.float32), 16, (16, 34))
    assert peak.peak_xy(16, 34) == (33, 8)


def test_the_map_of_a_resized_image_is_stretched_back_over_it():
    values = np.zeros((4, 8), np.float32)
    values[1, 6] = 1
    peak = ScoreMap(values, 8, (32, 64))
    assert peak.peak_xy(320, 128) == (104, 120)
    full = upsample(peak, 320, 128)
    assert full.shape == (320, 128)
    y, x = divmod(int(full.argmax()), 128)
    assert (y // 80, x // 16) == (1, 6)
    assert np.argwhere(at_pixels(peak, 320, 128)).mean(axis=0).tolist() == [119.5, 103.5]
    # A frame may end within a square, whose middle then no pixel has.
    assert at_pixels(replace(peak, frame_size=(30, 59)), 30, 59).shape == (30, 59)
