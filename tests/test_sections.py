"""Tiles, lanes and columns with thresholds of their own."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundles import IN_FLOAT, Workshop
from kenpin.camera.frame import Frame
from kenpin.compile.operating_point.blending import Blender, Ways
from kenpin.compile.operating_point.map_store import Item, MapStore
from kenpin.compile.operating_point.sections import Sectioned
from kenpin.config.errors import ConfigError
from kenpin.config.recipe import ScoreSpec, load_recipe
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.pack import by_hand, rethreshold
from kenpin.runtime.judging.blend import Blend, load_blend
from kenpin.runtime.judging.join import Joiner
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.judging.verdict import Verdict
from kenpin.runtime.web.pipeline import WebPipeline
from web_lines import WIDTH, compile_web, cut, some_web

ROWS, COLS, IMAGES, LOUD = 6, 20, 120, 4.0
# The right half is lively; the last column is never inspected.
SECTION = np.repeat([0, 1], COLS // 2)[None]


def sectioned(
    folder: Path, rate: float = 0.05, loudest: int | None = None, times: float = 1.0
) -> Sectioned:
    lanes = np.where(np.arange(COLS) < COLS // 2, times, 1).astype(np.float32)
    rng = np.random.default_rng(5)
    store: MapStore[int] = MapStore(folder / "good")
    inside = np.ones((ROWS, COLS), bool)
    inside[:, -1] = False
    for number in range(IMAGES):
        network = rng.gumbel(0, 1, (ROWS, COLS)).astype(np.float32)
        network[:, COLS // 2 :] *= LOUD
        if number == loudest:
            network[0, 0] = 1000
        item = Item(number, number, (slice(0, ROWS), slice(0, COLS)), lanes)
        store.add(item, network, np.zeros((2, ROWS, COLS), np.float32), inside)
    ways = Ways.of(ScoreSpec(normalise="none", bands_px=()), web=False)
    twins: MapStore[int] = MapStore(folder / "twins")
    blender = Blender(store, twins, ways, (ROWS, COLS), 8, lambda scores, _: max(scores))
    return Sectioned(blender, ways.ways[0], SECTION, rate)


def rejected(found: Sectioned | Blender, way: Any, store: MapStore[int]) -> tuple[int, int]:
    """How often each half has the 12 highest of all peaks."""
    maps = [values for _, values in found.joined(store, way)]
    halves = np.array([[m[:, : COLS // 2].max(), m[:, COLS // 2 :].max()] for m in maps])
    threshold = np.sort(halves.max(axis=1))[-12]
    left, right = (halves >= threshold).sum(axis=0)
    return int(left), int(right)


def test_a_lively_section_no_longer_sets_the_threshold_of_a_quiet_one(tmp_path: Path) -> None:
    found = sectioned(tmp_path)
    good = found.blender.good
    assert rejected(found.blender, found.way, good) == (0, 12)
    left, right = rejected(found, found.way, good)
    assert left >= 3
    assert right >= 3
    gain = found.gain()[0]
    assert gain[0] / gain[-1] == pytest.approx(LOUD, rel=0.3)


def test_levels_are_those_of_other_parts(tmp_path: Path) -> None:
    found = sectioned(tmp_path, loudest=7)
    assert found.gain()[0, 0] < 0.3 * found.gain(without=7)[0, 0]
    by_number = dict(found.joined(found.blender.good, found.way))
    plain = dict(found.blender.joined(found.blender.good, found.way))
    np.testing.assert_array_equal(by_number[7], plain[7] * found.gain(without=7))


def test_a_section_where_nothing_is_inspected_changes_no_other(tmp_path: Path) -> None:
    found = sectioned(tmp_path)
    apart = np.where(np.arange(COLS) == COLS - 1, 2, SECTION)
    alone = replace(found, section=apart)
    # Of three sections one has no say; the two others share the rate as before.
    np.testing.assert_array_equal(alone.gain()[0, :-1], found.gain()[0, :-1])
    assert alone.gain()[0, -1] == 1


def test_levels_do_not_take_back_what_a_lane_was_given(tmp_path: Path) -> None:
    (tmp_path / "twice").mkdir()
    plain, twice = sectioned(tmp_path), sectioned(tmp_path / "twice", times=2.0)
    np.testing.assert_array_equal(twice.gain(), plain.gain())


@pytest.mark.thorough
def test_a_bundle_with_a_threshold_for_each_tile_scales_its_maps(tmp_path: Path) -> None:
    workshop = Workshop.open(tmp_path)
    bundle = workshop.build(tmp_path / "store", 'threshold={each="tile"}', IN_FLOAT).bundle
    record = bundle.manifest.blend
    assert record is not None
    assert record.each == "tile"
    shape = Joiner(TileGrid.of(bundle.manifest.frame, bundle.manifest.tiles), 8).shape
    gain = np.array(bundle.arrays["section_gain"])
    tiles = [gain[:, 16 * n : 16 * n + 16] for n in range(3)]
    assert gain.shape == shape
    assert all(np.ptp(tile) == 0 for tile in tiles)
    assert len({float(tile[0, 0]) for tile in tiles}) == 3
    blend = load_blend(bundle.arrays, record, shape, 8)
    assert isinstance(blend, Blend)
    plain = replace(blend, section_gain=None)
    rng = np.random.default_rng(0)
    network = rng.random(shape, np.float32) * 9
    bands = rng.normal(0, 0.1, (len(blend.sigmas_px), *shape)).astype(np.float32)
    np.testing.assert_allclose(
        blend.rows(network, bands), np.maximum(plain.rows(network, bands) * gain, 1e-7), rtol=1e-6
    )
    other = rethreshold(bundle, by_hand(bundle.manifest.threshold, 1.0, None), tmp_path / "store")
    assert other.manifest.threshold.settings.each == "tile"


def test_lanes_must_be_there_and_an_own_map_is_left_alone(tmp_path: Path) -> None:
    recipe = Workshop.open(tmp_path).recipe
    with pytest.raises(ConfigError, match=r"\[\[web.lanes\]\]"):
        load_recipe(recipe, ['threshold={each="lane"}'])
    with pytest.raises(ConfigError, match=r"threshold\.each"):
        load_recipe(recipe, ["method.reweight_neighbours=3", 'threshold={each="tile"}'])


@pytest.mark.thorough
def test_a_webs_lanes_have_levels_that_hold_however_it_is_cut(tmp_path: Path) -> None:
    lanes = "[{name='a',left_px=0,right_px=80},{name='b',left_px=80,right_px=152}]"
    bundle = compile_web(tmp_path, f"web.lanes={lanes}", 'threshold={each="lane"}', IN_FLOAT)
    gain = np.array(bundle.arrays["section_gain"])
    assert gain.shape == (1, WIDTH // 8)
    # What belongs to no lane keeps its measure.
    assert [len(set(gain[0, lane])) for lane in (slice(0, 10), slice(10, 19))] == [1, 1]
    assert gain[0, 0] != gain[0, 12]
    assert gain[0, 19] == 1
    web = some_web(700)
    whole, pieces = ([v.score for v in judged(bundle, web, n)] for n in (700, 97))
    assert max(whole) == max(pieces)


def judged(bundle: Bundle, web: Any, lines: int) -> list[Verdict]:
    pipeline = WebPipeline(bundle)
    blocks = cut(web, itertools.repeat(lines))
    return [
        pipeline.judge(Frame(block.copy(), 0, number), last=number == len(blocks) - 1).verdict
        for number, block in enumerate(blocks)
    ]
