"""Which tiles a training learns from, stops by and is measured by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kenpin.camera.files.images import write_png
from kenpin.compile.prepare import look_through
from kenpin.compile.training.network import TrainedNetwork
from kenpin.compile.training.pool import Pool, choose, fold_of, gather, held_out
from kenpin.config.errors import ConfigError
from kenpin.runtime.judging.lamp import Lamp
from trainings import prepared_for, quiet, tiny_recipe
from web_lines import some_web

NOBODY = np.empty(0, np.intp)


def pool_of(parts: list[int]) -> Pool:
    """Tiles without anything on them."""
    count = len(parts)
    return Pool(np.zeros((count, 1, 8, 8), np.uint8), np.array(parts), np.ones(count, bool))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("parts", "folds"), [(3, 2), (3, 3), (4, 3), (9, 3), (100, 2)])
def test_all_networks_are_measured_by_tiles_that_none_has_seen(
    parts: int, folds: int, seed: int
) -> None:
    pool = pool_of([part for part in range(parts) for _ in range(30)])
    of_part = fold_of(parts, folds)
    held = held_out(np.arange(parts), of_part, seed)
    assert len(held) == max(1, parts // 8)
    withouts = [NOBODY, *(np.flatnonzero(of_part == fold) for fold in range(folds))]
    chosen = [choose(pool, without, held, seed) for without in withouts]
    for one, without in zip(chosen, withouts, strict=True):
        np.testing.assert_array_equal(one.measure, chosen[0].measure)
        assert len(one.measure) == min(256, 30 * -(-len(held) // 2) if len(held) > 1 else 15)
        # A network is at its best where these happen to look good.
        assert not np.isin(one.check, one.measure).any()
        if len(held) > 1:
            assert not np.isin(pool.parts[one.check], pool.parts[one.measure]).any()
        assert np.isin(pool.parts[one.check], held).all()
        # It learns from all others, and sees nothing of those that it will judge.
        learned = set(pool.parts[one.learn])
        assert learned == set(range(parts)) - set(held) - set(without)
        assert learned


def test_another_seed_holds_other_parts_out() -> None:
    parts, of_part = np.arange(40), fold_of(40, 3)
    assert len({tuple(held_out(parts, of_part, seed)) for seed in range(8)}) == 8


@pytest.mark.parametrize("seed", range(6))
def test_of_one_part_all_places_say_when_to_stop_and_measure(seed: int) -> None:
    """Four columns of tiles, forty images: both halves have some of each."""
    pool = pool_of([0] * 160 + [1] * 160 + [2] * 160)
    chosen = choose(pool, NOBODY, np.array([1]), seed)
    for half in (chosen.check, chosen.measure):
        assert set(half % 4) == {0, 1, 2, 3}


def test_few_tiles_are_not_halved() -> None:
    pool = pool_of(list(range(16)))
    chosen = choose(pool, NOBODY, np.array([3, 8]), 0)
    np.testing.assert_array_equal(chosen.check, [3, 8])
    np.testing.assert_array_equal(chosen.measure, [3, 8])


def test_of_two_parts_each_training_is_measured_by_what_it_can_be() -> None:
    pool = pool_of([0] * 16 + [1] * 16)
    held = held_out(np.arange(2), fold_of(2, 2), 0)
    for without in ([], [0], [1]):
        chosen = choose(pool, np.array(without, np.intp), held, 0)
        assert not np.isin(pool.parts[chosen.learn], without).any()
        assert len(chosen.measure)
        assert not np.isin(chosen.measure, chosen.learn).any()


def test_parts_that_leave_a_training_nothing_to_learn_from_are_told() -> None:
    """One part of a single tile, and what must see nothing of the other."""
    pool, held = pool_of([0] * 8 + [1]), np.array([1])
    assert len(choose(pool, np.array([1]), held, 0).learn)
    with pytest.raises(ConfigError, match=r"would have 1 tiles.*images\.group"):
        choose(pool, np.array([0]), held, 0)


def test_changed_copies_say_nothing_about_when_to_stop() -> None:
    parts, photo = np.repeat(np.arange(4), 4), np.tile([True, False], 8)
    pool = Pool(np.zeros((16, 1, 8, 8), np.uint8), parts, photo)
    chosen = choose(pool, NOBODY, np.array([2]), 0)
    assert photo[chosen.check].all()
    assert photo[chosen.measure].all()
    assert not photo[chosen.learn].all()


# -- what is inspected -----------------------------------------------------------------------------


@pytest.mark.parametrize("copies", [0, 1])
def test_nothing_is_learnt_of_tiles_that_a_mask_leaves_out(tmp_path: Path, copies: int) -> None:
    recipe = tiny_recipe(tmp_path)
    mask = np.zeros((32, 32), np.uint8)
    # Of four cores of 16 px, the first alone.
    mask[:12, :12] = 255
    write_png(tmp_path / "mask.png", mask)
    augment = [f"images.augment={{copies={copies},brightness=0.1}}"] if copies else []
    changes = ["tiles={size_px=32,halo_px=8}", f'images.mask="{tmp_path}/mask.png"', *augment]
    prepared, images = prepared_for(recipe, 'name="stfpm"', *changes)
    assert len(prepared.grid) == 4
    _, inspected = look_through(prepared, quiet())
    pools = [
        gather(images, prepared.walk(told), Lamp(None), 0, lambda *_: None)
        for told in (None, inspected)
    ]
    assert [len(pool.tiles) for pool in pools] == [32 * (1 + copies), 8 * (1 + copies)]
    first = pools[0].tiles[:: 4 * (1 + copies)]
    np.testing.assert_array_equal(pools[1].tiles[:: 1 + copies], first)
    # What was learnt with another mask is no beginning.
    network = prepared.network
    assert isinstance(network, TrainedNetwork)
    places = [prepared.walk(told).places for told in (None, inspected)]
    digests = [network._digest(images, one) for one in places]
    assert digests[0] != digests[1]


def test_nothing_is_learnt_of_tile_rows_that_a_web_leaves_out(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    for number in range(2):
        write_png(tmp_path / "good" / f"{number}.png", some_web(520))
    recipe = tmp_path / "web.toml"
    recipe.write_text(
        'name = "web"\nimages.good = "good"\n'
        'frame = { geometry = "continuous", width_px = 160 }\n'
        'tiles = { size_px = 64, halo_px = 16 }\nmethod.name = "padim"\n'
    )
    ends = "web={ignore=[{first_lines=100},{last_lines=100}]}"
    pools = []
    for changes in ([], [ends]):
        prepared, images = prepared_for(recipe, 'name="stfpm"', *changes)
        pool = gather(images, prepared.walk(None), Lamp(None), 0, lambda *_: None)
        pools.append((pool, prepared.grid))
    (whole, grid), (less, _) = pools
    # Of 17 tile rows of 32 lines, the last of which is short, three at each end.
    assert len(whole.tiles) == 2 * 17 * grid.cols
    assert len(less.tiles) == 2 * (17 - 3 - 4) * grid.cols
    # Each still knows where it was.
    rows = [images.parts.of(web, row) for web in range(2) for row in range(3, 13)]
    assert less.parts.tolist() == np.repeat(rows, grid.cols).tolist()
