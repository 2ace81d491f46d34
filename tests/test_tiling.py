"""Tiles cover the frame, lie where the grid says, and see its reflection beyond the border."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from kenpin.config.frame import FrameSpec
from kenpin.config.tiles import TileSpec
from kenpin.runtime.judging.tiling import TileGrid, reflect


@st.composite
def grids(draw):
    """Small grids; the tile may be larger than the frame, the halo longer than it."""
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    core, halo = draw(st.integers(1, 12)), draw(st.integers(0, 9))
    return TileGrid(height, width, core + 2 * halo, halo, draw(st.integers(1, core)))


channels = st.sampled_from([None, 1, 3])


def frame_of(grid, channels=None, seed=0):
    """(H, W) pixels, or (H, W, C) where channels are given."""
    shape = (grid.height, grid.width) + (() if channels is None else (channels,))
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def corners(grid):
    """(row, column) of each core's first pixel, in the grid's order."""
    tops = reference.origins(grid.height, grid.core, grid.stride)
    lefts = reference.origins(grid.width, grid.core, grid.stride)
    return [(top, left) for top in tops for left in lefts]


@given(st.integers(1, 8), st.integers(-60, 60))
def test_reflection_turns_round_at_the_border_as_often_as_it_takes(length, position):
    assert reflect(np.array([position]), length)[0] == reference.mirrored(position, length)


@given(grids(), channels)
def test_every_tile_agrees_with_its_definition(grid, channels):
    pixels = frame_of(grid, channels)
    places = corners(grid)
    assert len(grid) == grid.rows * grid.cols == len(places)
    for number, (top, left) in enumerate(places):
        np.testing.assert_array_equal(
            grid.tile(pixels, number),
            reference.tile(pixels, top - grid.halo, left - grid.halo, grid.size),
        )


@given(grids(), channels)
def test_tiles_are_cut_from_the_frame_that_numpy_pads_by_reflection(grid, channels):
    pixels = frame_of(grid, channels)
    beyond = grid.size + grid.halo
    pad = [(grid.halo, beyond), (grid.halo, beyond)] + [(0, 0)] * (pixels.ndim - 2)
    padded = np.pad(pixels, pad, mode="reflect")
    for number, (top, left) in enumerate(corners(grid)):
        expected = padded[top : top + grid.size, left : left + grid.size]
        np.testing.assert_array_equal(grid.tile(pixels, number), expected)


@given(grids())
def test_the_cores_cover_every_pixel_with_no_tile_to_spare(grid):
    covered = np.zeros((grid.height, grid.width), int)
    for top, left in corners(grid):
        covered[top : top + grid.core, left : left + grid.core] += 1
    assert covered.min() >= 1
    for count, length in [(grid.rows, grid.height), (grid.cols, grid.width)]:
        assert (count - 1) * grid.stride + grid.core >= length
        assert count == 1 or (count - 2) * grid.stride + grid.core < length


@given(grids())
def test_at_the_default_stride_no_pixel_is_scored_twice(grid):
    abutting = TileGrid(grid.height, grid.width, grid.size, grid.halo, grid.core)
    covered = np.zeros((grid.height, grid.width), int)
    for top, left in corners(abutting):
        covered[top : top + grid.core, left : left + grid.core] += 1
    assert covered.min() == covered.max() == 1


@given(grids(), channels)
def test_a_tile_inside_the_frame_is_a_view(grid, channels):
    pixels = frame_of(grid, channels)
    for number, (top, left) in enumerate(corners(grid)):
        inside = all(
            grid.halo <= start and start - grid.halo + grid.size <= length
            for start, length in [(top, grid.height), (left, grid.width)]
        )
        assert np.shares_memory(grid.tile(pixels, number), pixels) == inside


def test_the_halo_of_a_tile_is_its_neighbours_core():
    grid = TileGrid(height=24, width=48, size=24, halo=4, stride=16)
    pixels = frame_of(grid)
    left, right = grid.tile(pixels, 0), grid.tile(pixels, 1)
    np.testing.assert_array_equal(left[:, -8:], right[:, :8])


@given(grids(), channels, st.data())
def test_fill_copies_the_tiles_asked_for_in_their_order(grid, channels, data):
    pixels = frame_of(grid, channels)
    numbers = data.draw(st.lists(st.integers(0, len(grid) - 1), max_size=5), label="numbers")
    slots = data.draw(st.integers(1, 5), label="slots")
    batch = np.full((slots, channels or 1, grid.size, grid.size), 77, np.uint8)
    filled = grid.fill(pixels, numbers, batch)
    assert filled == min(len(numbers), slots)
    for slot, number in zip(batch, numbers, strict=False):
        tile = grid.tile(pixels, number).reshape(grid.size, grid.size, -1)
        np.testing.assert_array_equal(slot, tile.transpose(2, 0, 1))
    assert (batch[filled:] == 77).all()


@pytest.mark.parametrize("shape", [(32, 48), (47, 32), (48, 33), (32, 48, 3)])
def test_a_frame_of_another_size_is_refused(shape):
    grid = TileGrid(height=48, width=32, size=16, halo=0, stride=16)
    batch = np.zeros((1, 1 if len(shape) == 2 else 3, 16, 16), np.uint8)
    with pytest.raises(ValueError, match=r"the grid expects 48 x 32"):
        grid.fill(np.zeros(shape, np.uint8), [0], batch)


@pytest.mark.parametrize(
    ("frame", "batch"),
    [
        ((48, 32), (1, 3, 16, 16)),
        ((48, 32, 3), (1, 1, 16, 16)),
        ((48, 32), (1, 1, 16, 24)),
        ((48, 32), (1, 16, 16)),
    ],
)
def test_a_batch_of_another_size_is_refused(frame, batch):
    grid = TileGrid(height=48, width=32, size=16, halo=0, stride=16)
    with pytest.raises(ValueError, match=r"does not hold tiles of [13] x 16 x 16"):
        grid.fill(np.zeros(frame, np.uint8), [0], np.zeros(batch, np.uint8))


def test_a_recipe_without_a_stride_gets_cores_that_abut():
    frame = FrameSpec(height_px=512, width_px=1000)
    grid = TileGrid.of(frame, TileSpec(size_px=256, halo_px=32))
    assert (grid.height, grid.width, grid.core, grid.stride) == (512, 1000, 192, 192)
    assert (grid.rows, grid.cols) == (3, 6)
    assert TileGrid.of(frame, TileSpec(size_px=256, halo_px=32, stride_px=96)).stride == 96
