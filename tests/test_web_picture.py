"""A web's map, laid over the lines that it is about, wherever they came from."""

from __future__ import annotations

import numpy as np
import pytest

from kenpin.runtime.web.picture import under_the_map

WIDTH, STRIDE = 24, 4


def web(first: int, end: int) -> np.ndarray:
    """Lines that say their own number."""
    return np.repeat(np.arange(first, end, dtype=np.uint8)[:, None], WIDTH, axis=1)


def map_of(first: int, end: int) -> np.ndarray:
    rows = np.arange(first, end, STRIDE, dtype=np.float32)
    return np.repeat(rows[:, None], WIDTH // STRIDE, axis=1)


@pytest.mark.parametrize("before", [web(80, 100), web(96, 100), None])
def test_what_came_with_the_frame_before_is_above_it(before) -> None:
    pixels, laid = under_the_map(web(100, 132), 100, map_of(88, 120), 88, STRIDE, before)
    kept = 0 if before is None else min(12, len(before))
    np.testing.assert_array_equal(pixels[12 - kept :], web(100 - kept, 132))
    assert not pixels[: 12 - kept].any()
    assert laid.frame_size == (44, WIDTH)
    np.testing.assert_array_equal(laid.values[:8], map_of(88, 120))
    # What is not judged yet has no heat.
    assert not laid.values[8:].any()


def test_a_map_that_begins_within_the_frame_lies_there() -> None:
    pixels, laid = under_the_map(web(100, 132), 100, map_of(108, 128), 108, STRIDE)
    np.testing.assert_array_equal(pixels, web(100, 132))
    np.testing.assert_array_equal(laid.values[2:7], map_of(108, 128))
    assert not laid.values[:2].any()
    assert not laid.values[7:].any()


def test_colours_stay_colours() -> None:
    colour = np.dstack([web(100, 132)] * 3)
    pixels, _ = under_the_map(colour, 100, map_of(96, 120), 96, STRIDE, colour)
    assert pixels.shape == (36, WIDTH, 3)
