"""Whether a network judges a place alike wherever in a tile it lies: tried on good images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from kenpin.compile.good_images.images import load
from kenpin.compile.networks.twins import TWIN_KINDS, twin
from kenpin.config.recipe import Recipe
from kenpin.runtime.judging.tiling import TileGrid

__all__ = ["SeesTiles", "WholeTiles", "tiles_apart"]

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


class WholeTiles(NamedTuple):
    """What a network says of all of a tile, its border too.

    of        of a tile, (C, S, S) uint8, its maps or features, (n, h, w, D) each
    features  whether places are compared by them; a map counts from 0, and is worse where higher
    """

    of: Callable[[U8], list[F32]]
    features: bool = False


class SeesTiles(Protocol):
    """A network whose tiles are tried.

    patch_stride_px  pixels from one place that a bundle knows to the next
    """

    patch_stride_px: int

    def whole_tiles(self) -> WholeTiles | None:
        """What tells it; None where nothing is tried."""
        ...


def tiles_apart(name: str, network: SeesTiles, recipe: Recipe, files: Sequence[Path]) -> str | None:
    """What to know of a network of which two tiles say other things of a place that both see.

    Tried where several tiles have a halo or they lie on a web: without one, a tile of parts is
    an image of its own.

    Parameters
    ----------
    name
        Of the network, for the message.

    Returns
    -------
    A sentence with how far they are apart, and at which halo they would not be; None where
    they are alike, or nothing is tried.
    """
    tiles, web = recipe.tiles, recipe.frame.geometry == "continuous"
    several = len(TileGrid.of(recipe.frame, tiles)) > 1
    look = network.whole_tiles()
    if look is None or not (web or (tiles.halo_px and several)):
        return None
    apart = _apart(look, recipe, files, network.patch_stride_px)
    if not apart or apart[tiles.halo_px] <= ALIKE:
        return None
    enough = [halo for halo, share in apart.items() if share <= ALIKE]
    best = min(apart, key=apart.__getitem__)
    wider = f"no wider one makes it less than {apart[best]:.0%}"
    if enough:
        wider = f"at {enough[0]} px it is {apart[enough[0]]:.0%}: set tiles.halo_px"
        wider += "" if tiles.stride_px is None else ", and leave tiles.stride_px out"
    elif len(apart) == 1:
        wider = "its tiles leave no room to try a wider one: raise tiles.size_px"
    elif best == tiles.halo_px:
        wider = "no wider one makes it less"
    return (
        f"{name}: what it says of a place depends on where in its tile that lies: two "
        f"tiles that see the same are up to {apart[tiles.halo_px]:.0%} of the largest value apart "
        f"with a halo of {tiles.halo_px} px, and {wider}"
    )


def _apart(look: WholeTiles, recipe: Recipe, files: Sequence[Path], cell: int) -> dict[int, float]:
    """How far two tiles are apart about a place at most, as a share of the largest value seen.

    By the halo, px: the recipe's, and wider ones. Empty where a tile has but one value.
    """
    size, halo = recipe.tiles.size_px, recipe.tiles.halo_px
    blank = np.zeros((recipe.frame.channels, size, size), np.uint8)
    steps = [size // said.shape[1] for said in look.of(blank)]
    shift, step = SHIFT_PX, max(steps)
    while shift and recipe.tiles.core_px < shift + ROOM_PX:
        shift //= 2
    shift = shift // step * step
    if not shift:
        return {}
    wider = range(halo, (size - shift - step) // 2 + 1, max(cell, WIDER_PX // cell * cell))
    apart = np.zeros((len(wider), len(steps)), np.float32)
    largest = apart.copy()
    for place in _places(recipe, files, shift):
        pair = look.of(place[:, :size, :size]), look.of(place[:, shift:, shift:])
        for number, (first, second) in enumerate(zip(*pair, strict=True)):
            for margin, (own, highest) in zip(wider, zip(apart, largest, strict=True), strict=True):
                begin, moved, end = (n // steps[number] for n in (margin, shift, size - margin))
                here = first[:, begin + moved : end, begin + moved : end]
                there = second[:, begin : end - moved, begin : end - moved]
                level = max(_largest(part, look.features) for part in (here, there))
                # Of what is no number the guard tells.
                if np.isfinite(level):
                    highest[number] = max(highest[number], level)
                    own[number] = max(own[number], np.linalg.norm(here - there, axis=-1).max())
    shares = (apart / np.where(largest, largest, 1)).max(axis=1)
    return {margin: float(share) for margin, share in zip(wider, shares, strict=True)}


def _largest(values: F32, features: bool) -> float:
    """Of a map its highest; of features, (n, h, w, D), how far they are from their mean at most."""
    if not features:
        return float(values.max())
    return float(np.linalg.norm(values - values.mean(axis=(0, 1, 2)), axis=-1).max())


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
