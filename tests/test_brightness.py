"""Bands of plain brightness: what they see, what they must not see, and their slow twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference_brightness
from kenpin.runtime.judging.brightness import cell_grey, contrasts

seeds = st.integers(0, 2**32 - 1)
sides = st.sampled_from([2, 3, 4])


def some_pixels(height: int, width: int, seed: int, channels: int = 1) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@given(st.integers(1, 17), st.integers(1, 17), sides, st.sampled_from([1, 3]), seeds)
def test_grey_of_squares_agrees_with_its_definition(height, width, side, channels, seed):
    pixels = some_pixels(height, width, seed, channels)
    expected = reference_brightness.cell_grey(pixels, side)
    np.testing.assert_allclose(cell_grey(pixels, side), expected, rtol=1e-6, atol=1e-4)


@given(st.integers(2, 30), st.integers(2, 30), sides, seeds, st.booleans())
def test_contrasts_agree_with_their_definition(height, width, side, seed, masked):
    pixels = some_pixels(height, width, seed)
    shape = cell_grey(pixels, side).shape
    mask = None
    if masked:
        mask = (np.random.default_rng(seed).random(shape) < 0.7).astype(np.float32)
    found = contrasts(pixels, side, (1.0, 2.5), mask)
    expected = reference_brightness.contrasts(pixels, side, (1.0, 2.5), mask)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


@given(st.integers(0, 5), seeds)
def test_grey_of_squares_has_the_same_bits_wherever_the_frame_is_cut(cut, seed):
    pixels = some_pixels(48, 40, seed)
    whole = cell_grey(pixels, 8)
    parts = [cell_grey(part, 8) for part in (pixels[: 8 * cut], pixels[8 * cut :]) if len(part)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


@pytest.mark.parametrize("share", [0.8, 1.2])
def test_a_lamp_that_changes_leaves_the_contrast_as_it_was(share):
    pixels = np.random.default_rng(1).integers(60, 200, (128, 160), np.uint8)
    lit = np.rint(pixels * share).astype(np.uint8)
    usual, found = (contrasts(each, 8, (4.0, 10.0)) for each in (pixels, lit))
    # What is left is the rounding to whole grey levels.
    np.testing.assert_allclose(found, usual, atol=2e-3)
    assert np.abs(usual).max() > 0.02


def test_a_lamp_that_falls_off_across_the_frame_is_no_stain():
    flat = np.full((256, 256), 120, np.uint8)
    slope = np.rint(flat * np.linspace(0.95, 1.05, 256)).astype(np.uint8)
    stained = flat.copy()
    stained[100:140, 100:140] = 102
    for sigma_px in (4.0, 10.0):
        lamp, stain = (np.abs(contrasts(p, 8, (sigma_px,))).max() for p in (slope, stained))
        assert lamp < 0.1 * stain


def test_in_the_dark_noise_is_no_contrast():
    noise = np.random.default_rng(2).integers(0, 3, (64, 64), np.uint8)
    assert np.abs(contrasts(noise, 8, (4.0,))).max() < 0.03
