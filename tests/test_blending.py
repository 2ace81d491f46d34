"""How maps are joined is chosen by good images and twins, each without its own part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kenpin.compile.methods.moments import Moments
from kenpin.compile.operating_point.blending import Blender, TwinHits, Ways
from kenpin.compile.operating_point.map_store import Item, MapStore
from kenpin.config.recipe import ScoreSpec
from kenpin.runtime.judging.blend import Blend, load_blend

ROWS, COLS, IMAGES = 12, 20, 36
PLACES = ("none", "column", "position")


def some_maps(count: int, seed: int, rows: int = ROWS) -> list[tuple[Any, Any]]:
    """A few columns of wider spread than the others, in the network's map and in two bands."""
    rng = np.random.default_rng(seed)
    spread = np.where(np.arange(COLS) < 4, 3.0, 1.0)
    return [
        (
            (rng.normal(0, 1, (rows, COLS)) * spread + 5).astype(np.float32),
            (rng.normal(0, 0.01, (2, rows, COLS)) * spread).astype(np.float32),
        )
        for _ in range(count)
    ]


def stored(folder: Path, maps: list[tuple[Any, Any]], name: str) -> MapStore[int]:
    (folder / name).unlink(missing_ok=True)
    store: MapStore[int] = MapStore(folder / name)
    area = slice(0, ROWS), slice(0, COLS)
    for number, (network, bands) in enumerate(maps):
        item = Item(number, number % 6, area, np.ones(COLS, np.float32))
        store.add(item, network, bands, np.ones(network.shape, bool))
    return store


def highest(scores: Any, parts: Any) -> float:
    assert len(scores) == len(parts)
    return float(max(scores))


def blender(folder: Path, twins: list[tuple[Any, Any]], **score: Any) -> Blender:
    ways = Ways.of(ScoreSpec.model_validate(score), web=False)
    good = stored(folder, some_maps(IMAGES, 0), "good")
    return Blender(good, stored(folder, twins, "twins"), ways, (ROWS, COLS), 8, highest)


@given(st.sampled_from(PLACES), st.integers(0, 2**31), st.integers(0, 5))
def test_statistics_without_a_part_are_those_of_the_others(places, seed, part):
    maps = [(bands, np.random.default_rng(seed + n).random((ROWS, COLS)) < 0.9) for n, (_, bands)
            in enumerate(some_maps(IMAGES, seed))]  # fmt: skip
    shape = (2, ROWS, COLS)
    every, own, others = (Moments(places, shape) for _ in range(3))
    for number, (bands, inside) in enumerate(maps):
        every.add(bands, inside)
        (own if number % 6 == part else others).add(bands, inside)
    for found, expected in zip(every.without(own).normal(), others.normal(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-8)


def test_a_places_mean_is_its_own_and_its_deviation_no_less_than_the_median():
    maps = [network[None] for network, _ in some_maps(IMAGES, 3)]
    moments = Moments("column", (1, ROWS, COLS))
    for values in maps:
        moments.add(values, np.ones((ROWS, COLS), bool))
    mean, deviation = moments.normal()
    stacked = np.concatenate(maps).reshape(-1, COLS)
    np.testing.assert_allclose(mean[0, 0], stacked.mean(axis=0), rtol=1e-5)
    assert deviation.min() == pytest.approx(float(np.median(deviation)), rel=0.05)
    assert deviation[0, 0, 0] > 1.5 * deviation[0, 0, -1]


def test_what_is_not_inspected_has_no_say_in_the_statistics():
    inside = np.ones((ROWS, COLS), bool)
    inside[:, 7] = False
    found = []
    for loud in (0.0, 1e6):
        moments = Moments("none", (1, ROWS, COLS))
        for network, _ in some_maps(4, 1):
            network[:, 7] = loud
            moments.add(network[None], inside)
        found.append(moments.normal())
    np.testing.assert_array_equal(found[0], found[1])


def test_the_plainest_way_stays_where_no_other_finds_more_for_sure(tmp_path: Path) -> None:
    chosen = blender(tmp_path, some_maps(30, 7)).choose()
    assert chosen.way == Ways.of(ScoreSpec(), web=False).ways[0]
    assert not chosen.adds


@pytest.mark.parametrize("normalise", ["auto", "position"])
def test_a_part_whose_map_is_one_row_has_places_too(tmp_path: Path, normalise: str) -> None:
    """A frame no higher than a place of the map ended a build with a KeyError."""
    ways = Ways.of(ScoreSpec.model_validate({"normalise": normalise}), web=False)
    stores = []
    for name, seed in (("good", 0), ("twins", 7)):
        store: MapStore[int] = MapStore(tmp_path / name)
        for number, (network, bands) in enumerate(some_maps(IMAGES, seed, rows=1)):
            item = Item(
                number, number % 6, (slice(0, 1), slice(0, COLS)), np.ones(COLS, np.float32)
            )
            store.add(item, network, bands, np.ones(network.shape, bool))
        stores.append(store)
    good, twins = stores
    chooser = Blender(good, twins, ways, (1, COLS), 8, highest)
    record, arrays = chooser.fitted(chooser.choose())
    assert load_blend(arrays, record, (1, COLS), 8) is not None


def test_columns_of_unlike_spread_are_told_apart_where_that_finds_more(tmp_path: Path) -> None:
    twins = some_maps(60, 11)
    for network, _ in twins:
        # Loud for the column it lies in, nothing beside the loudest.
        network[5, 15] += 7
    joining = blender(tmp_path, twins, bands_px=[])
    assert joining.choose().way.normalise == "column"
    # Were another way the plainest, the build would choose this one.
    joining.ways = Ways(tuple(reversed(joining.ways.ways)), joining.ways.baseline)
    assert joining.ways.ways[0].normalise == "none"
    chosen = joining.choose()
    assert chosen.way.normalise in ("column", "position")
    assert chosen.found.share > chosen.plain.share + 0.3
    assert "finds" in chosen.reason


def test_a_network_that_finds_nothing_more_than_bands_is_told(tmp_path: Path) -> None:
    twins = some_maps(60, 13)
    for _, bands in twins:
        bands[:, 4, 9] += 0.3
    chosen = blender(tmp_path, twins).choose()
    assert chosen.baseline.share == 1.0
    assert not chosen.adds
    assert blender(tmp_path, some_maps(5, 1)).fitted(chosen)[0].adds is False


def test_what_the_bundle_computes_is_what_was_compared(tmp_path: Path) -> None:
    joining = blender(tmp_path, some_maps(30, 17))
    record, arrays = joining.fitted(joining.choose())
    blend = load_blend(arrays, record, (ROWS, COLS), 8)
    assert isinstance(blend, Blend)
    way = joining.choose().way
    peaks = []
    for number, values in joining.joined(joining.good, way):
        network, bands, _ = joining.good.maps(number)
        own = bands[[joining.ways.sigmas_px.index(sigma) for sigma in way.sigmas_px]]
        whole = blend.rows(network[0], own)
        # The bundle has seen the image's own part, too: a little less odd.
        assert np.median(values / np.maximum(whole, 1e-6)) == pytest.approx(1, abs=0.2)
        peaks.append(values.max())
    assert np.median(peaks) == pytest.approx(1.2, abs=0.4)


def test_twins_of_a_part_of_which_no_good_map_is_left_count_all_the_same(tmp_path: Path) -> None:
    """They were left out without a word: nothing was inspected of their piece of the web."""
    area = slice(0, ROWS), slice(0, COLS)
    good: MapStore[int] = MapStore(tmp_path / "good")
    for number, (network, bands) in enumerate(some_maps(IMAGES, 0)):
        if number % 6 != 4:
            item = Item(number, number % 6, area, np.ones(COLS, np.float32))
            good.add(item, network, bands, np.ones(network.shape, bool))
    twins = stored(tmp_path, some_maps(12, 7), "twins")
    ways = Ways.of(ScoreSpec(), web=False)
    joining = Blender(good, twins, ways, (ROWS, COLS), 8, highest)
    choice = joining.choose()
    assert len(choice.found.hits) == 12
    assert sorted(number for number, _ in joining.joined(twins, choice.way)) == list(range(12))
    # By the statistics of all good maps, for none of them is its own.
    own = dict(joining.joined(twins, choice.way))[4]
    assert np.isfinite(own).all()
    assert own.max() > 0


def test_a_part_left_out_does_not_excuse_itself(tmp_path: Path) -> None:
    maps = some_maps(IMAGES, 19)
    for number in range(0, IMAGES, 6):
        # All photographs of part 0 show the same bright square.
        maps[number][1][:, 3, 3] += 0.5
    ways = Ways.of(ScoreSpec(normalise="none", join="maximum"), web=False)
    good = stored(tmp_path, maps, "good")
    joining = Blender(good, stored(tmp_path, [], "twins"), ways, (ROWS, COLS), 8, highest)
    choice = joining.choose()
    assert choice.reason.endswith("as the recipe says")
    record, arrays = joining.fitted(choice)
    blend = load_blend(arrays, record, (ROWS, COLS), 8)
    assert blend is not None
    for number, values in joining.joined(good, choice.way):
        if number % 6 == 0:
            network, bands, _ = good.maps(number)
            assert values[3, 3] > 1.1 * blend.rows(network[0], bands)[3, 3]


def test_more_is_found_for_sure_only_by_thrice_the_differences_error():
    few = TwinHits(np.arange(100) < 20)
    assert TwinHits(np.arange(100) < 40).surely_above(few)
    assert not TwinHits(np.arange(100) < 22).surely_above(few)
    assert not few.surely_above(few)


def test_a_dozen_images_choose_nothing(tmp_path: Path) -> None:
    twins = some_maps(60, 11)
    for network, _ in twins:
        network[5, 15] += 7
    ways = Ways.of(ScoreSpec.model_validate({"bands_px": []}), web=False)
    good = stored(tmp_path, some_maps(12, 0), "good")
    chosen = Blender(good, stored(tmp_path, twins, "twins"), ways, (ROWS, COLS), 8, highest)
    assert chosen.choose().way == ways.ways[0]
