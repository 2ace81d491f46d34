"""The tiles to train on, of all good images, in bounded memory; each knows its part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.compile.good_images.images import GoodImages
from kenpin.compile.good_images.places import NOTHING_INSPECTED
from kenpin.compile.good_images.walk import GoodWalk
from kenpin.compile.progress import OnProgress
from kenpin.config.errors import ConfigError
from kenpin.runtime.judging.lamp import Lamp

__all__ = ["Chosen", "Pool", "choose", "fold_of", "gather", "held_out"]

U8 = NDArray[np.uint8]
Index = NDArray[np.intp]

# Tiles that are held at once; of more, a random choice.
POOL_BYTES = 1 << 30
# One part of so many is held out of all trainings.
CHECKED_SHARE = 8
# Tiles that are looked at for that: enough to tell networks apart, few enough to cost little.
CHECKED_TILES = 48
# That a map is measured by: once, but for ensembles, whose members are measured at each look.
MEASURED_TILES = 256
# Of fewer no half would tell anything.
FEWEST_HALVED = 16
# Of what is drawn at random.
PARTS, TILES, CHECKS, HALVES = 0, 1, 2, 3
# A defect needs neighbours to stand out from.
FEWEST_TILES = 4


@dataclass(frozen=True, eq=False)
class Pool:
    """Some tiles.

    tiles    (n, C, S, S) uint8
    parts    (n,) the part that each shows
    of_photo (n,) bool, photographed and not changed by `images.augment`
    """

    tiles: U8
    parts: Index
    of_photo: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Chosen:
    """Numbers of the tiles of one training.

    learn    that it learns from
    check    that say when to stop
    measure  that its map is measured by: of other parts, if there are enough, because a network is
             at its best where the former happen to look good; the same for all trainings of a
             pool, unless one would have nothing else to learn from
    """

    learn: Index
    check: Index
    measure: Index


def gather(images: GoodImages, walk: GoodWalk, lamp: Lamp, seed: int, progress: OnProgress) -> Pool:
    """All tiles as they will be judged, or a fair choice of as many as fit in memory.

    Tiles of which nothing is inspected, which nobody will judge, are none of them.

    Raises
    ------
    ConfigError
        If there are too few.
    """
    rng = np.random.default_rng(seed)
    channels, size = walk.frame.channels, walk.grid.size
    most = max(FEWEST_TILES, POOL_BYTES // (channels * size**2))
    # Its pages are taken from the machine as tiles come: few tiles take no more than they are.
    tiles = np.empty((most, channels, size, size), np.uint8)
    parts, photos = np.empty(most, np.intp), np.empty(most, np.bool_)
    kept = 0
    for seen, (tile, part, photo) in enumerate(_all(images, walk, lamp, progress)):
        # Vitter's algorithm R: every tile is as likely to stay as any other.
        place = seen if seen < most else int(rng.integers(seen + 1))
        if place < most:
            tiles[place], parts[place], photos[place] = tile, part, photo
            kept = max(kept, place + 1)
    if not kept and walk.places is not None:
        raise ConfigError(NOTHING_INSPECTED)
    if kept < FEWEST_TILES:
        raise ConfigError(
            f"{images.folder}: gives {kept} tiles to train on, expected at least "
            f"{FEWEST_TILES}; photograph more good material, or use padim or patchcore"
        )
    return Pool(tiles[:kept], parts[:kept], photos[:kept])


def _all(
    images: GoodImages, walk: GoodWalk, lamp: Lamp, progress: OnProgress
) -> Iterator[tuple[U8, int, bool]]:
    """Each tile of which anything is inspected, its part, and whether it is a photograph's."""
    grid = walk.grid
    if images.strips:
        for rows in walk.rows(images.files, progress):
            for number, (window, counts) in enumerate(
                zip(rows.windows, rows.counts, strict=True), rows.first
            ):
                even: NDArray[Any] = lamp.even(window)
                part = images.parts.of(rows.web, number)
                for column in _inspected(grid.cols, counts):
                    tile = grid.columns(even, column)
                    yield (tile[None] if tile.ndim == 2 else tile.transpose(2, 0, 1)), part, True
        return
    tile = np.empty((1, walk.frame.channels, grid.size, grid.size), np.uint8)
    for one in walk.photographs(images.files, progress):
        pixels = lamp.even(one.pixels)
        for which in _inspected(len(grid), one.counts):
            grid.fill(pixels, [which], tile)
            yield tile[0], images.parts.of(one.number), not one.changed


def _inspected(tiles: int, counts: NDArray[np.bool_] | None) -> Iterable[int]:
    """Numbers of the tiles of which anything is inspected."""
    if counts is None:
        return range(tiles)
    return (int(number) for number in np.flatnonzero(counts.any(axis=(1, 2))))


def fold_of(parts: int, folds: int) -> Index:
    """(parts,) the fold of each: neighbours together, for they are the most alike."""
    return np.arange(parts) * min(folds, parts) // parts


def held_out(parts: Index, of_part: Index, seed: int) -> Index:
    """Parts that no training learns from: half say when to stop, and maps are measured by half.

    Networks that have learnt from different parts are so measured by the same tiles, which none of
    them has seen.

    Parameters
    ----------
    parts
        Those that there are tiles of.
    of_part : (parts in all,)
        The fold of each.
    """
    folds = of_part[parts]
    held: list[int] = []
    for part in np.random.default_rng([seed, PARTS]).permutation(parts):
        rest = ~np.isin(parts, [*held, part])
        # The training without a fold still has others to learn from.
        if all((rest & (folds != fold)).any() for fold in np.unique(folds)):
            held.append(int(part))
        if len(held) == max(1, len(parts) // CHECKED_SHARE):
            break
    # Of two parts one training learns from what the others are measured by.
    return np.array(held or parts[:1], np.intp)


def choose(pool: Pool, without: Index, held: Index, seed: int) -> Chosen:
    """Tiles for one training.

    Parameters
    ----------
    without
        Parts that it must see nothing of.
    held
        Of `held_out`. If there are no others, some tiles of theirs are held out instead.

    Raises
    ------
    ConfigError
        If nothing is left to learn from.
    """
    may = np.flatnonzero(~np.isin(pool.parts, without))
    learn = may[~np.isin(pool.parts[may], held)]
    unseen = np.flatnonzero(np.isin(pool.parts, held))
    if not len(learn):
        some = np.random.default_rng([seed, TILES]).permutation(len(may))
        count = max(1, len(may) // CHECKED_SHARE)
        unseen, learn = may[some[:count]], np.sort(may[some[count:]])
    if not len(learn):
        raise ConfigError(
            f"a training without some of the parts would have {len(may)} tiles, expected at least "
            "2, to learn from and to say when to stop: photograph more parts, or let images.group "
            "tell more of them apart"
        )
    check, measure = _halves(pool, _photographs(pool, unseen), seed)
    return Chosen(learn, _some(check, CHECKED_TILES, seed), _some(measure, MEASURED_TILES, seed))


def _halves(pool: Pool, numbers: Index, seed: int) -> tuple[Index, Index]:
    """Half of the parts and the other half; of one part, of its tiles; of too few, all twice."""
    if len(numbers) < FEWEST_HALVED:
        return numbers, numbers
    parts = np.unique(pool.parts[numbers])
    if len(parts) > 1:
        first = np.isin(pool.parts[numbers], parts[::2])
    else:
        # Every other one would be every other column of an image.
        order = np.random.default_rng([seed, HALVES]).permutation(len(numbers))
        first = order < len(numbers) // 2
    return numbers[~first], numbers[first]


def _photographs(pool: Pool, numbers: Index) -> Index:
    """Those as they were photographed, where there are any."""
    photographed = numbers[pool.of_photo[numbers]]
    return photographed if len(photographed) else numbers


def _some(numbers: Index, most: int, seed: int) -> Index:
    """A fair choice, in order."""
    return np.sort(np.random.default_rng([seed, CHECKS]).permutation(numbers)[:most])
