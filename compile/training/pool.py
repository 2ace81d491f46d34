"""The tiles to train on, of all good images, in bounded memory; each knows its part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.compile.good_images.augment import variants
from kenpin.compile.good_images.images import GoodImages, load
from kenpin.compile.good_images.parts import Parts
from kenpin.compile.progress import OnProgress
from kenpin.config.errors import ConfigError
from kenpin.config.recipe import Recipe
from kenpin.runtime.judging.lamp import Lamp
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.web.rows import TileRows

__all__ = ["Chosen", "Pool", "choose", "fold_of", "gather"]

U8 = NDArray[np.uint8]
Index = NDArray[np.intp]

# Tiles that are held at once; of more, a random choice.
POOL_BYTES = 1 << 30
# One part of so many is held out of a training: it says when to stop.
CHECKED_SHARE = 8
# Tiles that are looked at for that: enough to tell networks apart, few enough to cost little.
CHECKED_TILES = 48
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
    """Numbers of the tiles that one training learns from, and of those that say when to stop."""

    learn: Index
    check: Index


def gather(
    images: GoodImages,
    recipe: Recipe,
    grid: TileGrid,
    lamp: Lamp,
    seed: int,
    progress: OnProgress,
) -> Pool:
    """All tiles as they will be judged, or a fair choice of as many as fit in memory.

    Raises
    ------
    ConfigError
        If there are too few.
    """
    rng = np.random.default_rng(seed)
    channels = recipe.frame.channels
    most = max(FEWEST_TILES, POOL_BYTES // (channels * grid.size**2))
    # Its pages are taken from the machine as tiles come: few tiles take no more than they are.
    tiles = np.empty((most, channels, grid.size, grid.size), np.uint8)
    parts, photos = np.empty(most, np.intp), np.empty(most, np.bool_)
    kept = 0
    for seen, (tile, part, photo) in enumerate(_all(images, recipe, grid, lamp, progress)):
        # Vitter's algorithm R: every tile is as likely to stay as any other.
        place = seen if seen < most else int(rng.integers(seen + 1))
        if place < most:
            tiles[place], parts[place], photos[place] = tile, part, photo
            kept = max(kept, place + 1)
    if kept < FEWEST_TILES:
        raise ConfigError(
            f"{images.folder}: gives {kept} tiles to train on, expected at least "
            f"{FEWEST_TILES}; photograph more good material, or use padim or patchcore"
        )
    return Pool(tiles[:kept], parts[:kept], photos[:kept])


def _all(
    images: GoodImages, recipe: Recipe, grid: TileGrid, lamp: Lamp, progress: OnProgress
) -> Iterator[tuple[U8, int, bool]]:
    spec, frame = recipe.images, recipe.frame
    if images.strips:
        yield from _of_webs(images, recipe, grid, lamp, progress)
        return
    tile = np.empty((1, frame.channels, grid.size, grid.size), np.uint8)
    for done, file in enumerate(images.files):
        photograph = load(file, frame, spec.turn_deg)
        part = images.parts.of(done)
        for number, variant in enumerate(variants(photograph, file, spec.augment, spec.seed)):
            pixels = lamp.even(variant)
            for which in range(len(grid)):
                grid.fill(pixels, [which], tile)
                yield tile[0], part, number == 0
        progress(done + 1, len(images.files))


def _of_webs(
    images: GoodImages, recipe: Recipe, grid: TileGrid, lamp: Lamp, progress: OnProgress
) -> Iterator[tuple[U8, int, bool]]:
    done = 0
    for web, files in enumerate(images.webs):
        rows = TileRows(grid, recipe.frame.channels)
        for file in files:
            pixels = load(file, recipe.frame, recipe.images.turn_deg)
            while len(pixels):
                pixels = pixels[rows.take(pixels) :]
                for windows in rows.ready():
                    yield from _of_rows(rows, windows, images.parts, web, lamp)
            done += 1
            progress(done, len(images.files))
        for windows in rows.finish():
            yield from _of_rows(rows, windows, images.parts, web, lamp)


def _of_rows(
    rows: TileRows, windows: Sequence[U8], parts: Parts, web: int, lamp: Lamp
) -> Iterator[tuple[U8, int, bool]]:
    for offset, window in enumerate(windows):
        even: NDArray[Any] = lamp.even(window)
        part = parts.of(web, rows.next + offset)
        for column in range(rows.grid.cols):
            tile = rows.grid.columns(even, column)
            yield (tile[None] if tile.ndim == 2 else tile.transpose(2, 0, 1)), part, True
    rows.next += len(windows)


def fold_of(parts: int, folds: int) -> Index:
    """(parts,) the fold of each: neighbours together, for they are the most alike."""
    return np.arange(parts) * min(folds, parts) // parts


def choose(pool: Pool, without: Index, rng: np.random.Generator) -> Chosen:
    """Tiles for one training.

    Whole parts are held out to say when to stop; of a single part some of its tiles.

    Parameters
    ----------
    without
        Parts that it must see nothing of.

    Raises
    ------
    ConfigError
        If nothing is left to learn from.
    """
    seen = np.flatnonzero(~np.isin(pool.parts, without))
    names = np.unique(pool.parts[seen])
    if len(names) > 1:
        held = rng.permutation(names)[: max(1, len(names) // CHECKED_SHARE)]
        checks = np.isin(pool.parts[seen], held)
    else:
        checks = np.zeros(len(seen), bool)
        checks[rng.permutation(len(seen))[: max(1, len(seen) // CHECKED_SHARE)]] = True
    if checks.all():
        raise ConfigError(
            f"a training without some of the parts would have {len(seen)} tiles, expected at least "
            "2, to learn from and to say when to stop: photograph more parts, or let images.group "
            "tell more of them apart"
        )
    check = seen[checks & pool.of_photo[seen]]
    if not len(check):
        check = seen[checks]
    return Chosen(seen[~checks], np.sort(rng.permutation(check)[:CHECKED_TILES]))
