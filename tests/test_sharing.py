"""Who shares statistics with whom."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from kenpin.config.methods import Granularity, Share
from kenpin.runtime.judging.sharing import (
    group_count,
    group_patches,
    model_count,
    model_of_tile,
    patch_positions,
    ungroup_patches,
)
from kenpin.runtime.judging.tiling import TileGrid

granularities = st.sampled_from(get_args(Granularity))
shares = st.sampled_from(get_args(Share))
# Whole squares of 4 x 4 positions, for the coarsest granularity.
cell_counts = st.sampled_from([4, 8, 12])


@given(st.integers(1, 60), st.integers(1, 60), shares)
def test_each_tile_has_the_model_that_its_share_says(height, width, share):
    grid = TileGrid(height, width, size=16, halo=0, stride=16)
    members = model_of_tile(grid, share)
    expected = [reference.model_of(n, grid.cols, share) for n in range(len(grid))]
    np.testing.assert_array_equal(members, expected)
    np.testing.assert_array_equal(np.unique(members), np.arange(model_count(grid, share)))


@given(st.integers(1, 3), cell_counts, st.integers(1, 3), granularities)
def test_every_patch_comes_to_its_own_group(tiles, cells, dims, granularity):
    features = np.arange(tiles * cells * cells * dims, dtype=np.float32)
    features = features.reshape(tiles, cells, cells, dims)
    grouped = group_patches(features, granularity)
    groups = group_count(cells, granularity)
    assert grouped.shape == (groups, features.size // dims // groups, dims)
    members: list[list[Any]] = [[] for _ in range(groups)]
    for tile, row, column in np.ndindex(tiles, cells, cells):
        group = reference.group_of(row, column, cells, granularity)
        members[group].append(features[tile, row, column])
    for found, expected in zip(grouped, members, strict=True):
        np.testing.assert_array_equal(found[np.argsort(found[:, 0])], expected)


@given(st.integers(1, 3), cell_counts, granularities)
def test_ungrouping_undoes_grouping(tiles, cells, granularity):
    values = np.arange(tiles * cells * cells, dtype=np.float32).reshape(tiles, cells, cells)
    grouped = group_patches(values[..., None], granularity)[..., 0]
    np.testing.assert_array_equal(ungroup_patches(grouped, values.shape, granularity), values)


@pytest.mark.parametrize(("cells", "granularity"), [(7, "1/4"), (6, "1/16"), (2, "1/16")])
def test_a_tile_that_does_not_divide_into_whole_squares_is_refused(cells, granularity):
    with pytest.raises(ValueError, match=f'granularity "{granularity}" .* {cells} x {cells}'):
        group_count(cells, granularity)


@pytest.mark.parametrize(
    ("granularity", "groups"),
    [("dense", 49), ("single", 1), ("columns", 7)],
)
def test_the_other_granularities_fit_any_tile(granularity, groups):
    assert group_count(7, granularity) == groups


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 4), st.integers(0, 2))
def test_patch_positions_run_from_minus_one_to_one_across_the_frame(height, width, cells, halo):
    grid = TileGrid(height, width, 4 * cells + 8 * halo, 4 * halo, 4 * cells)
    place = patch_positions(grid, cells)
    for number in range(len(grid)):
        for i in range(cells):
            for j in range(cells):
                y = (number // grid.cols) * grid.stride + 4 * i + 2
                x = (number % grid.cols) * grid.stride + 4 * j + 2
                expected = [2 * y / height - 1, 2 * x / width - 1]
                np.testing.assert_allclose(place[number, i, j], expected, rtol=1e-5, atol=1e-6)
