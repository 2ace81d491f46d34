"""A part's defects: all positions over threshold are in them, boxes are in the frame's pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from kenpin.runtime.judging.join import ScoreMap
from kenpin.runtime.judging.regions import defects_of
from kenpin.runtime.judging.verdict import MOST_DEFECTS

STRIDE = 8


def map_of(values, frame_size=None) -> ScoreMap:
    values = np.asarray(values, np.float32)
    size = frame_size or tuple(STRIDE * n for n in values.shape)
    return ScoreMap(values, STRIDE, size)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12), st.floats(0.3, 0.95))
def test_defects_are_the_regions_of_the_definition(seed, rows, cols, over):
    values = np.random.default_rng(seed).random((rows, cols)).astype(np.float32)
    found, count = defects_of(map_of(values), over, STRIDE * rows, STRIDE * cols)
    wanted = reference.regions_over(values, over)
    assert count == len(found) == len(wanted)
    told = {
        (d.left_px, d.top_px, d.right_px, d.bottom_px, d.area_px): (d.peak, round(d.mean, 5))
        for d in found
    }
    for region in wanted:
        scores = np.array([values[cell] for cell in region], np.float64)
        down, across = zip(*region, strict=True)
        box = (min(across), min(down), max(across) + 1, max(down) + 1, STRIDE * len(region))
        key = tuple(STRIDE * number for number in box)
        assert told[key] == (scores.max(), round(float(scores.mean()), 5))
    assert [d.peak for d in found] == sorted((d.peak for d in found), reverse=True)


def test_a_map_without_anything_over_threshold_has_no_defects():
    assert defects_of(map_of(np.ones((4, 4))), 1.0, 32, 32) == ((), 0)


def test_the_last_positions_end_with_the_frame_and_the_peak_lies_in_it():
    values = np.zeros((3, 4))
    values[2, 3] = 5
    (defect,), _ = defects_of(map_of(values, (20, 29)), 1, 20, 29)
    assert (defect.left_px, defect.top_px, defect.right_px, defect.bottom_px) == (24, 16, 29, 20)
    assert defect.area_px == 4 * 5
    assert defect.peak_xy == (26, 18)
    assert defect.peak == defect.mean == 5


def test_boxes_are_in_pixels_of_the_image_that_was_resized():
    values = np.zeros((4, 4))
    values[1, 2] = 5
    (defect,), _ = defects_of(map_of(values), 1, 64, 16)
    assert (defect.left_px, defect.top_px, defect.right_px, defect.bottom_px) == (8, 16, 12, 32)
    assert defect.area_px == 4 * 16


def test_only_the_highest_are_told_and_all_are_counted():
    values = np.zeros((20, 20))
    values[::2, ::2] = np.arange(1, 101).reshape(10, 10)
    found, count = defects_of(map_of(values), 0.5, 160, 160)
    assert count == 100
    assert [d.peak for d in found] == list(range(100, 100 - MOST_DEFECTS, -1))


@pytest.mark.parametrize("corner", [(0, 0), (3, 3)])
def test_regions_that_touch_at_a_corner_are_one(corner):
    values = np.zeros((4, 4))
    values[1, 1] = values[2, 2] = 2
    values[corner] = 3
    found, count = defects_of(map_of(values), 1, 32, 32)
    assert count == 1
    assert found[0].peak == 3


def test_of_equal_peaks_the_upper_left_one_is_named():
    values = np.zeros((4, 4))
    values[1:3, 1:3] = 2
    (defect,), _ = defects_of(map_of(values), 1, 32, 32)
    assert defect.peak_xy == (12, 12)
