"""Every pixel format against its definition, read bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from harvesters.util.pfnc import dict_by_names
from hypothesis import given
from hypothesis import strategies as st

import reference_pixels as reference
from kenpin.camera.genicam.pixel_formats import (
    PIXEL_FORMATS,
    PixelFormatError,
    names_of,
    pixel_format,
    pixel_format_named,
    to_8_bit,
)

GREY = [known.name for known in PIXEL_FORMATS if known.name.startswith("Mono")]
MOSAICS = [known.name for known in PIXEL_FORMATS if known.name.startswith("Bayer")]
# The mosaic's first two lines, by the letters of its first two pixels.
TILES = {"RG": "RGGB", "GR": "GRBG", "GB": "GBRG", "BG": "BGGR"}


@given(
    name=st.sampled_from(GREY),
    groups=st.integers(1, 6),
    height=st.integers(1, 4),
    padding=st.integers(0, 5),
    data=st.data(),
)
def test_grey_formats_agree_with_their_definition(name, groups, height, padding, data):
    known = pixel_format_named(name)
    width = groups * known.group
    stride = known.line_bytes(width) + padding
    raw = data.draw(st.binary(min_size=height * stride, max_size=height * stride + 3))
    if known.group_bytes == 2 and known.bits > 8:  # the unused high bits are 0 in the standard
        mask = np.array([0xFF, (1 << (known.bits - 8)) - 1], np.uint8)
        array = np.frombuffer(raw, np.uint8).copy()
        lines = array[: height * stride].reshape(height, stride)
        lines[:, : 2 * width] &= np.tile(mask, width)
        raw = array.tobytes()
    image = known.unpack(raw, width, height, padding)
    np.testing.assert_array_equal(image, reference.unpack(name, raw, width, height, stride))
    assert image.dtype == known.dtype


@given(groups=st.integers(1, 5), height=st.integers(1, 4), padding=st.integers(0, 3))
def test_colour_is_red_green_blue_whichever_way_it_was_sent(groups, height, padding):
    rng = np.random.default_rng(groups * 100 + height)
    colour = rng.integers(0, 256, (height, groups, 3), dtype=np.uint8)
    for name, sent in (("RGB8", colour), ("BGR8", colour[:, :, ::-1])):
        lines = np.pad(sent.reshape(height, -1), ((0, 0), (0, padding)), constant_values=77)
        image = pixel_format_named(name).unpack(lines.tobytes(), groups, height, padding)
        np.testing.assert_array_equal(image, colour)


@pytest.mark.parametrize("name", MOSAICS)
def test_a_mosaic_gives_back_the_colour_that_it_was_made_of(name):
    known = pixel_format_named(name)
    top = (1 << known.bits) - 1
    colour = {"R": top * 4 // 5, "G": top // 2, "B": top // 8}
    tile = np.array([colour[letter] for letter in TILES[name[5:7]]], np.uint16).reshape(2, 2)
    raw = reference.pack(name.replace(name[:7], "Mono"), np.tile(tile, (5, 6)))
    image = known.unpack(raw, 12, 10)
    assert image.shape == (10, 12, 3)
    assert image.dtype == known.dtype
    np.testing.assert_array_equal(
        image, np.broadcast_to([colour[letter] for letter in "RGB"], image.shape)
    )


def test_what_cameras_offer_most_is_read():
    # By name: a format that is missing from the table is missing from the tests above, too.
    grey = {f"Mono{bits}" for bits in ("8", "10", "12", "14", "16")}
    mosaics = {
        f"Bayer{letters}{bits}"
        for letters in ("GR", "RG", "GB", "BG")
        for bits in ("8", "10", "12", "16", "10Packed", "12Packed", "10p", "12p")
    }
    packed = {"Mono10Packed", "Mono12Packed", "Mono10p", "Mono12p"}
    for name in grey | mosaics | packed | {"RGB8", "BGR8"}:
        assert pixel_format_named(name).name == name


@pytest.mark.parametrize(("old", "new"), [("RGB8Packed", "RGB8"), ("BGR8Packed", "BGR8")])
def test_an_old_cameras_name_is_the_same_format(old, new):
    assert pixel_format_named(old) is pixel_format_named(new)
    assert names_of(old) == (old, new)
    assert names_of(new) == (new, old)


@pytest.mark.parametrize("name", [known.name for known in PIXEL_FORMATS])
def test_pixels_are_written_where_they_are_wanted(name):
    known = pixel_format_named(name)
    width, height = 4 * known.group, 6
    raw = np.random.default_rng(3).integers(0, 256, height * known.line_bytes(width), np.uint8)
    expected = known.unpack(raw.tobytes(), width, height)
    out = np.zeros_like(expected)
    assert known.unpack(raw.tobytes(), width, height, out=out) is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("known", PIXEL_FORMATS, ids=lambda known: known.name)
def test_a_code_names_the_bits_that_a_pixel_takes(known):
    assert (known.code >> 16) & 0xFF == known.group_bytes * 8 // known.group
    assert pixel_format(known.code) is known


def test_codes_are_those_that_harvesters_knows():
    for known in PIXEL_FORMATS:
        assert int(dict_by_names[known.name]) == known.code


def test_other_formats_are_refused_by_name_and_code():
    with pytest.raises(PixelFormatError, match=r"0x02180999.*Mono8"):
        pixel_format(0x02180999)
    with pytest.raises(PixelFormatError, match="YUV422_8 is not read"):
        pixel_format_named("YUV422_8")


@pytest.mark.parametrize(
    ("name", "width"), [("Mono10p", 1022), ("Mono12p", 7), ("Mono12Packed", 7)]
)
def test_a_line_that_ends_inside_a_group_is_refused(name, width):
    with pytest.raises(PixelFormatError, match="multiple of"):
        pixel_format_named(name).line_bytes(width)


def test_a_buffer_that_is_too_short_is_refused():
    with pytest.raises(PixelFormatError, match="expected 24"):
        pixel_format_named("Mono8").unpack(bytes(23), 8, 3)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_eight_bits_are_the_highest(bits):
    values = np.arange(2**bits, dtype=np.uint16).reshape(16, -1)
    narrow = to_8_bit(values, bits)
    np.testing.assert_array_equal(narrow, values // 2 ** (bits - 8))
    out = np.zeros(values.shape, np.uint8)
    assert to_8_bit(values, bits, out) is out
    np.testing.assert_array_equal(out, narrow)
