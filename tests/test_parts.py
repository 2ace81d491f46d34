"""Which photographs are left out together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kenpin.compile.good_images.parts import WebFile, parts_of_files, parts_of_webs
from kenpin.config.errors import ConfigError


def files(*names: str) -> list[Path]:
    return [Path("good") / name for name in names]


def numbered(count: int) -> list[Path]:
    return files(*(f"{n:03}.png" for n in range(count)))


@given(st.integers(4, 400))
def test_without_a_group_neighbours_are_one_part_and_blocks_are_alike_in_size(count):
    parts = parts_of_files(numbered(count), None)
    assert parts.how == "blocks"
    assert (np.diff(parts.of_web) >= 0).all()
    sizes = np.bincount(parts.of_web)
    assert len(sizes) == len(parts) >= 2
    assert sizes.max() - sizes.min() <= 1
    assert sizes.max() <= max(3, -(-count // 3))


@pytest.mark.parametrize("group", ["^[^_]*", "^([^_]*)_", r"tile\d+"])
def test_a_pattern_names_the_part(group):
    found = parts_of_files(files("tile1_a.png", "tile2_a.png", "tile1_b.png"), group)
    assert found.how == "group"
    assert found.of_web.tolist() == [0, 1, 0]


def test_the_folder_may_name_the_part():
    found = parts_of_files(files("a/1.png", "b/1.png", "a/2.png"), "folder")
    assert found.names == ("a", "b")
    assert found.of_web.tolist() == [0, 1, 0]


def test_copies_of_a_file_are_one_part_whatever_they_are_called():
    contents = ["x", "y", "z", "x", "v", "w"]
    blocks = parts_of_files(numbered(6), None, contents)
    assert blocks.of_web[0] == blocks.of_web[3]
    assert blocks.of_web[5] != blocks.of_web[0]
    # Where a recipe names parts, those that share a photograph are one with all they have.
    named = parts_of_files(files("a1", "a2", "b1", "b2", "c1", "c2"), "^.", list("xyyzvw"))
    assert named.of_web.tolist() == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ("(", "no regular expression"),
        ("^x", r"matches nothing in good/000\.png"),
        ("^0", "finds one part only"),
        ("folder", "finds one part only"),
    ],
)
def test_a_pattern_that_says_nothing_is_refused(group, message):
    with pytest.raises(ConfigError, match=message):
        parts_of_files(numbered(5), group)


def test_images_that_are_all_the_same_are_refused():
    with pytest.raises(ConfigError, match=r"copies of 000\.png"):
        parts_of_files(numbered(4), None, ["x"] * 4)


def test_several_recordings_are_parts_and_few_are_cut_along_the_web():
    many = parts_of_webs(numbered(6), [4] * 6, None)
    assert {many.of(web, row) for web in range(6) for row in range(4)} == set(range(len(many)))
    assert all(len({many.of(web, row) for row in range(4)}) == 1 for web in range(6))
    few = parts_of_webs(numbered(2), [100, 3], None)
    assert few.how == "lines"
    assert [few.of(0, row) for row in (0, 24, 25, 99, 500)] == [0, 0, 1, 3, 3]
    assert [few.of(1, row) for row in range(3)] == [4, 5, 6]
    assert few.parts_of(1) == [4, 5, 6]
    assert few.names[4] == "001.png, piece 1 of 3"


def test_copies_among_few_recordings_are_one_part_piece_by_piece():
    same, other = WebFile("x", 6400), WebFile("y", 6400)
    recordings = [[same], [other], [same]]
    three = parts_of_webs(numbered(3), [100] * 3, None, recordings)
    assert (three.how, len(three)) == ("lines", 8)
    assert [three.of(2, row) for row in range(100)] == [three.of(0, row) for row in range(100)]
    assert three.parts_of(0) == three.parts_of(2) == [0, 1, 2, 3]
    assert three.parts_of(1) == [4, 5, 6, 7]
    # As many pieces as without the copy.
    two = parts_of_webs(numbered(2), [100] * 2, None, recordings[:2])
    assert (two.names, two.pieces) == (three.names, three.pieces[:2])
    alone = parts_of_webs(numbered(2), [100] * 2, None, [[same], [same]])
    assert (len(alone), alone.parts_of(0)) == (8, alone.parts_of(1))
    # Of one name in two folders, but not of one content.
    twice = parts_of_webs(files("a/0.png", "b/0.png"), [100] * 2, None, [[same], [other]])
    assert set(twice.parts_of(0)).isdisjoint(twice.parts_of(1))


def test_pieces_of_a_joined_web_that_hold_the_same_block_are_one_part():
    blocks = [WebFile(name, 1000) for name in "abcdefgh"]
    web = parts_of_webs(numbered(1), [160], None, [[*blocks, blocks[1]]])
    again = {web.of(0, row * 160 // 9000) for row in range(8000, 9000)}
    assert again <= {web.of(0, row * 160 // 9000) for row in range(1000, 2000)}
    assert len(web) >= 4
    apart = parts_of_webs(numbered(1), [160], None, [blocks])
    assert len(apart) == 8


def test_a_web_of_copies_alone_is_refused():
    with pytest.raises(ConfigError, match=r"000\.png: so much of the web is a copy"):
        parts_of_webs(numbered(1), [8], None, [[WebFile("x", 64)] * 8])


def test_alone_every_image_is_a_part():
    assert parts_of_files(numbered(7), None).by_image().of_web.tolist() == list(range(7))
