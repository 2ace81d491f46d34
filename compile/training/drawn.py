"""Anomaly twins of tiles: known failures drawn into good ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kenpin.config.errors import ConfigError
from kenpin.config.trained import DrawnSpec
from kenpin.runtime.judging.subtle_twins import MOST_OF_FIELD, SIZES_PX, Subtle, draw

__all__ = ["drawn_into", "expect_room"]

U8 = NDArray[np.uint8]
# In pixels, from and to; None: the kind's usual ones.
Sizes = tuple[int, int] | None

# Sides of what is cut out, as shares of the core's side, where the recipe says nothing.
CUT_SHARE = (0.08, 0.25)


def drawn_into(tiles: U8, spec: DrawnSpec, halo_px: int, rng: np.random.Generator) -> U8:
    """A copy of every tile with one defect in its core, the kinds in turn.

    Parameters
    ----------
    tiles : (N, C, S, S) uint8
    """
    twins = tiles.copy()
    size = tiles.shape[2]
    core = slice(halo_px, size - halo_px)
    for number, tile in enumerate(twins):
        one = spec.kinds[number % len(spec.kinds)]
        sizes = spec.size_px_of(one)
        # Rows, columns and, where there are several, colours: a view, drawn into.
        pixels = tile[0] if len(tile) == 1 else tile.transpose(1, 2, 0)
        if one.kind == "cut_paste":
            _cut_paste(pixels[core, core], sizes, rng)
            continue
        side = _side(one.kind, sizes, size - 2 * halo_px, rng)
        contrast = round(rng.uniform(*spec.contrast_of(one)))
        draw(pixels, Subtle(one.kind, side, contrast), (core, core), rng)
    return twins


def expect_room(setting: str, spec: DrawnSpec, core_px: int) -> None:
    """See that defects of the sizes that are asked for fit into the core of a tile.

    Parameters
    ----------
    setting
        What `spec` is called in the recipe.

    Raises
    ------
    ConfigError
        If they do not: they would be drawn smaller.
    """
    most = int(MOST_OF_FIELD * core_px)
    said = {f"{setting}.size_px": spec.size_px}
    said |= {f"{setting}.kinds.{n}.size_px": one.size_px for n, one in enumerate(spec.kinds)}
    for name, sizes in said.items():
        if sizes is not None and sizes[1] > most:
            raise ConfigError(
                f"{name} is {sizes[0]} to {sizes[1]} px, and the tiles' cores of {core_px} px "
                f"hold defects of {most} px at most; set it to sizes up to {most}, or enlarge "
                "tiles.size_px"
            )


def _side(kind: str, sizes: Sizes, core_px: int, rng: np.random.Generator) -> int:
    most = int(MOST_OF_FIELD * core_px)
    if sizes is not None:
        low, high = sizes
        return int(rng.integers(low, high + 1))
    fitting = [size for size in SIZES_PX[kind] if size <= most] or [most]
    return int(rng.choice(fitting))


def _cut_paste(core: U8, sizes: Sizes, rng: np.random.Generator) -> None:
    """A piece of the core once more, at another place of it.

    References
    ----------
    Li et al., CutPaste, CVPR 2021 (arXiv:2104.04015), 2.1; without their changes of colour.
    """
    side = min(core.shape[:2])
    if sizes is None:
        low, high = (max(2, int(share * side)) for share in CUT_SHARE)
    else:
        low, high = sizes
    height, width = (int(n) for n in rng.integers(low, high + 1, 2))
    room = core.shape[0] - height + 1, core.shape[1] - width + 1
    (top, left), (to, at) = (rng.integers(room) for _ in range(2))
    core[to : to + height, at : at + width] = core[top : top + height, left : left + width].copy()
