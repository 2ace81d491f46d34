"""Flat-field correction: exact, saturating, calibrated from what a camera really shows."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kenpin.camera.flat_field import (
    FlatField,
    FlatFieldError,
    calibrate,
    read_flat_field,
    write_flat_field,
)


def by_definition(pixels, offset, gain):
    """(raw - offset) * gain in float64, pixel by pixel, within the type's range."""
    exact = (pixels.astype(np.float64) - offset.astype(np.float64)) * gain.astype(np.float64)
    return np.clip(exact, 0, np.iinfo(pixels.dtype).max)


@given(
    height=st.integers(1, 20),
    width=st.integers(1, 40),
    colour=st.booleans(),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    seed=st.integers(0, 1000),
)
def test_it_is_within_half_a_grey_level_of_its_definition(height, width, colour, dtype, seed):
    rng = np.random.default_rng(seed)
    size = (width, 3) if colour else (width,)
    top = np.iinfo(dtype).max
    pixels = rng.integers(0, top, (height, *size), endpoint=True).astype(dtype)
    flat = FlatField(
        rng.uniform(-3, top / 8, size).astype(np.float32),
        rng.uniform(0.3, 4, size).astype(np.float32),
    )
    expected = by_definition(pixels, flat.offset, flat.gain)
    corrected = flat.apply(pixels)
    assert corrected.dtype == dtype
    # 2e-2: float32 against float64 at 65535 times 4.
    assert np.abs(corrected - expected).max() <= 0.5 + (1e-3 if dtype == np.uint8 else 2e-2)
    in_place = pixels.copy()
    assert flat.apply(in_place, in_place) is in_place
    np.testing.assert_array_equal(in_place, corrected)


def scene(rng, light, offset, gain, lines=200):
    """What a camera with such columns shows of an even target."""
    raw = offset + light * gain + rng.normal(0, 1.0, (lines, len(gain)))
    return np.clip(np.rint(raw), 0, 255).astype(np.uint8)


def test_an_even_target_becomes_even_and_another_brightness_too():
    rng = np.random.default_rng(0)
    offset, gain = rng.uniform(2, 8, 128), rng.uniform(0.5, 1.0, 128)
    dark = [scene(rng, 0, offset, gain) for _ in range(3)]
    white = [scene(rng, 200, offset, gain) for _ in range(3)]
    flat = calibrate(dark, white)
    for light in (50, 100, 200):
        before = scene(rng, light, offset, gain).mean(axis=0)
        after = flat.apply(scene(rng, light, offset, gain)).mean(axis=0)
        assert before.std() > 4
        assert after.std() < 0.5, f"columns differ by {after.std():.2f} at light {light}"


def test_dust_that_passes_by_changes_nothing():
    rng = np.random.default_rng(1)
    offset, gain = np.full(64, 3.0), np.full(64, 0.8)
    clean = [scene(rng, 200, offset, gain)]
    dusty = [clean[0].copy()]
    dusty[0][10:14, 20:30] = 0
    dark = [scene(rng, 0, offset, gain)]
    difference = calibrate(dark, clean).gain - calibrate(dark, dusty).gain
    assert np.abs(difference).max() < 0.01


def test_what_is_wrong_is_said_with_its_place_and_remedy():
    rng = np.random.default_rng(2)
    offset, gain = np.full(64, 3.0), np.linspace(0.35, 1.0, 64)
    dark, white = scene(rng, 0, offset, gain), scene(rng, 200, offset, gain)
    white[:, 17] = 3
    dark[:, 40] = 80
    white[:, 50] = 255
    remarks = " ".join(calibrate([dark], [white]).remarks)
    assert "dead columns 17" in remarks
    assert "hot columns 40" in remarks
    assert "saturated" in remarks
    assert "times as bright" in remarks


@pytest.mark.parametrize(
    ("dark", "white", "complaint"),
    [
        ([], [200], "no dark frames"),
        ([3], [], "no white frames"),
        ([3], [20], "more light"),
        ([3], [255], "saturated"),
    ],
)
def test_a_calibration_that_means_nothing_is_refused(dark, white, complaint):
    def plain(level):
        return np.full((8, 16), level, np.uint8)

    with pytest.raises(FlatFieldError, match=complaint):
        calibrate(map(plain, dark), map(plain, white))


def test_a_file_gives_the_same_correction_back(tmp_path):
    rng = np.random.default_rng(3)
    flat = FlatField(
        rng.uniform(0, 9, (32, 3)).astype(np.float32),
        rng.uniform(0.5, 2, (32, 3)).astype(np.float32),
        {"exposure_us": 20.0},
        ("a remark",),
    )
    write_flat_field(tmp_path / "flat.json", flat)
    again = read_flat_field(tmp_path / "flat.json", {"exposure_us": 20.0, "gain": 3.0})
    np.testing.assert_allclose(again.gain, flat.gain, atol=1e-6)
    np.testing.assert_allclose(again.offset, flat.offset, atol=1e-4)
    assert again.remarks == ("a remark",)
    with pytest.raises(FlatFieldError, match=r"calibrated at exposure_us 20, now it is 30"):
        read_flat_field(tmp_path / "flat.json", {"exposure_us": 30.0})


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "something else"},
        {"version": 2},
        {"gain": [1.0]},
        {"gain": [0.0] * 16},
        {"offset": "none"},
        {"channels": 0},
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change):
    file = tmp_path / "flat.json"
    write_flat_field(file, FlatField(np.zeros(16, np.float32), np.ones(16, np.float32)))
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(FlatFieldError, match="calibrate again"):
        read_flat_field(file)


def test_an_image_of_another_width_is_refused():
    flat = FlatField(np.zeros(16, np.float32), np.ones(16, np.float32))
    with pytest.raises(FlatFieldError, match="calibrate again"):
        flat.apply(np.zeros((4, 17), np.uint8))
