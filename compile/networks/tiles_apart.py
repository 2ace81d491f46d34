"""Whether a network judges a place alike wherever in a tile it lies: tried on good images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kenpin.compile.good_images.images import load
from kenpin.compile.importing.imported_network import ImportedNetwork
from kenpin.compile.networks.twins import TWIN_KINDS, twin
from kenpin.config.recipe import Recipe
from kenpin.runtime.judging.tiling import TileGrid

__all__ = ["tiles_apart"]

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

# Of the largest value: two tiles that are closer than this about a place that both see are alike.
ALIKE = 0.1
IMAGES = 6
# Strides of networks divide it: features that lie between two positions are others.
SHIFT_PX = 32
# What both tiles score is so wide at least, for a defect to be drawn there.
ROOM_PX = 8
# Halos that are tried beside the recipe's.
WIDER_PX = 8


def tiles_apart(network: ImportedNetwork, recipe: Recipe, files: Sequence[Path]) -> str | None:
    """What to know of a network of which two tiles say other things of a place that both see.

    Tried of maps, where several tiles have a halo or they lie on a web: without one, a tile of
    parts is an image of its own, and so is one whose network gives a score alone.

    Returns
    -------
    A sentence with how far they are apart, and at which halo they would not be; None where
    they are alike, or nothing is tried.
    """
    tiles, web = recipe.tiles, recipe.frame.geometry == "continuous"
    several = len(TileGrid.of(recipe.frame, tiles)) > 1
    if network.said.map is None or not (web or (tiles.halo_px and several)):
        return None
    if network.file.shape is not None:
        # Each of them meets its own places only.
        return None
    apart = _apart(network.maps(), recipe, files, network.patch_stride_px)
    if not apart or apart[tiles.halo_px] <= ALIKE:
        return None
    enough = [halo for halo, share in apart.items() if share <= ALIKE]
    best = min(apart, key=apart.__getitem__)
    wider = f"no wider one makes it less than {apart[best]:.0%}"
    if enough:
        wider = f"at {enough[0]} px it is {apart[enough[0]]:.0%}: set tiles.halo_px"
        wider += "" if tiles.stride_px is None else ", and leave tiles.stride_px out"
    elif best == tiles.halo_px:
        wider = "no wider one makes it less"
    whole = "" if web else "; or let it see the frame as a whole, as it was trained: docs/import.md"
    return (
        f"{network.file.name}: what it says of a place depends on where in its tile that lies: two "
        f"tiles that see the same are up to {apart[tiles.halo_px]:.0%} of the largest value apart "
        f"with a halo of {tiles.halo_px} px, and {wider}{whole}"
    )


def _apart(
    maps: Callable[[U8], F32], recipe: Recipe, files: Sequence[Path], cell: int
) -> dict[int, float]:
    """How far two tiles are apart about a place at most, as a share of the largest value seen.

    By the halo, px: the recipe's, and wider ones. Empty where a tile has but one value.
    """
    size, halo = recipe.tiles.size_px, recipe.tiles.halo_px
    blank = np.zeros((recipe.frame.channels, size, size), np.uint8)
    step = size // maps(blank).shape[1]
    shift = SHIFT_PX
    while shift and recipe.tiles.core_px < shift + ROOM_PX:
        shift //= 2
    shift = shift // step * step
    if not shift:
        return {}
    wider = range(halo, (size - shift - step) // 2 + 1, max(cell, WIDER_PX // cell * cell))
    apart, largest = dict.fromkeys(wider, 0.0), dict.fromkeys(wider, 0.0)
    for place in _places(recipe, files, shift):
        first, second = maps(place[:, :size, :size]), maps(place[:, shift:, shift:])
        for margin in apart:
            begin, moved, end = margin // step, shift // step, first.shape[1] - margin // step
            here = first[:, begin + moved : end, begin + moved : end]
            there = second[:, begin : end - moved, begin : end - moved]
            highest = max(float(here.max()), float(there.max()))
            # Of what is no number the guard tells.
            if np.isfinite(highest):
                largest[margin] = max(largest[margin], highest)
                apart[margin] = max(apart[margin], float(np.abs(here - there).max()))
    return {margin: apart[margin] / (largest[margin] or 1.0) for margin in wider}


def _places(recipe: Recipe, files: Sequence[Path], shift: int) -> Iterator[U8]:
    """(C, S + shift, S + shift) of good images: as they are, or with something drawn in.

    In turn a defect that both tiles score, and a bar along two sides that only the first one
    sees, a halo away from what it scores with the second.
    """
    rng = np.random.default_rng(recipe.images.seed)
    halo, side = recipe.tiles.halo_px, recipe.tiles.size_px + shift
    for number, index in enumerate(np.resize(rng.permutation(len(files)), IMAGES)):
        pixels = load(files[int(index)], recipe.frame, recipe.images.turn_deg)
        around = [(halo, halo + max(0, side - 2 * halo - length)) for length in pixels.shape[:2]]
        wide = np.pad(pixels, [*around, *[(0, 0)] * (pixels.ndim - 2)], "reflect")
        top, left = (int(rng.integers(length - side + 1)) for length in wide.shape[:2])
        place = wide[top : top + side, left : left + side].copy()
        if number % 3 == 1:
            place = twin(place, TWIN_KINDS[number // 3 % len(TWIN_KINDS)], rng, halo + shift)
        elif number % 3 == 2:
            place[:shift] = place[:, :shift] = 255 if place.mean() < 128 else 0
        yield np.atleast_3d(place).transpose(2, 0, 1)
