"""A camera's frame numbers as one endless count."""

from __future__ import annotations

import pytest

from kenpin.camera.genicam.frame_ids import FrameIds


def counted(*numbers):
    ids = FrameIds()
    return [ids.next(number) for number in numbers]


def test_numbers_that_follow_one_another_miss_nothing_and_a_gap_is_counted():
    assert counted(7, 8, 11) == [(7, 0), (8, 0), (11, 2)]


@pytest.mark.parametrize(
    ("numbers", "last"),
    [((65534, 65535, 1), (65536, 0)), ((0, 65535, 0), (65536, 0)), ((65535, 2), (65537, 1))],
)
def test_numbers_of_sixteen_bits_begin_again_at_their_end(numbers, last):
    assert counted(*numbers)[-1] == last


def test_a_number_that_jumps_back_is_a_camera_that_counts_anew():
    assert counted(500, 3) == [(500, 0), None]
    assert counted(500, 500) == [(500, 0), None]


def test_a_camera_that_calls_every_frame_zero_does_not_count():
    assert counted(0, 0, 0) == [(0, 0), (None, 0), (None, 0)]
