"""Who shares statistics with whom: tiles with tiles, positions with positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kenpin.config.methods import Granularity, Share
from kenpin.runtime.judging.tiling import TileGrid

__all__ = [
    "PatchStrip",
    "group_count",
    "group_patches",
    "model_count",
    "model_of_tile",
    "patch_positions",
    "strips",
    "ungroup_patches",
]

F32 = NDArray[np.float32]
Index = NDArray[np.intp]

# Positions along the side of the square that shares one Gaussian.
BLOCK: dict[str, int] = {"dense": 1, "1/4": 2, "1/16": 4}


def model_of_tile(grid: TileGrid, share: Share) -> Index:
    """(tiles,) number of the model that judges each tile of the grid."""
    number = np.arange(len(grid), dtype=np.intp)
    if share == "tile":
        return number
    return number % grid.cols if share == "column" else np.zeros_like(number)


def model_count(grid: TileGrid, share: Share) -> int:
    """How many models a frame needs."""
    return {"tile": len(grid), "column": grid.cols, "frame": 1}[share]


def patch_positions(grid: TileGrid, cells: int) -> F32:
    """(tiles, cells, cells, 2) place of each patch in the frame: (y, x), -1 to 1 across it.

    Patches past the frame's end, where it was extended, lie past 1.
    """
    step = grid.core / cells
    inside = (np.arange(cells) + 0.5) * step
    y = (np.arange(grid.rows)[:, None] * grid.stride + inside) / grid.height * 2 - 1
    x = (np.arange(grid.cols)[:, None] * grid.stride + inside) / grid.width * 2 - 1
    place = np.empty((grid.rows, grid.cols, cells, cells, 2), np.float32)
    place[..., 0] = y[:, None, :, None]
    place[..., 1] = x[None, :, None, :]
    return place.reshape(len(grid), cells, cells, 2)


def group_count(cells: int, granularity: Granularity) -> int:
    """Gaussians for a tile of cells x cells patch positions.

    Raises
    ------
    ValueError
        If the tile does not divide into whole squares of that granularity.
    """
    if granularity == "single":
        return 1
    if granularity == "columns":
        return cells
    block = BLOCK[granularity]
    if cells % block:
        raise ValueError(
            f'granularity "{granularity}" needs squares of {block} x {block} positions, but a '
            f"tile has {cells} x {cells}; change the tile's core or the granularity"
        )
    return (cells // block) ** 2


def group_patches(features: F32, granularity: Granularity) -> F32:
    """(tiles, h, w, D) features as (G, N, D): the patches of each Gaussian together."""
    t, h, w, d = features.shape
    if granularity == "single":
        return features.reshape(1, t * h * w, d)
    if granularity == "columns":
        return features.transpose(2, 0, 1, 3).reshape(w, t * h, d)
    b = BLOCK[granularity]
    squares = features.reshape(t, h // b, b, w // b, b, d).transpose(1, 3, 0, 2, 4, 5)
    return squares.reshape((h // b) * (w // b), t * b * b, d)


def ungroup_patches(values: F32, shape: tuple[int, int, int], granularity: Granularity) -> F32:
    """(G, N) values back to (tiles, h, w): undoes `group_patches`."""
    t, h, w = shape
    if granularity == "single":
        return values.reshape(t, h, w)
    if granularity == "columns":
        return values.reshape(w, t, h).transpose(1, 2, 0)
    b = BLOCK[granularity]
    squares = values.reshape(h // b, w // b, t, b, b).transpose(2, 0, 3, 1, 4)
    return squares.reshape(t, h, w)


@dataclass(frozen=True, slots=True)
class PatchStrip:
    """A part of every tile whose patches can be judged without the rest of it.

    rows, columns  which patch positions
    groups         the Gaussians that judge them
    """

    rows: slice
    columns: slice
    groups: slice


def strips(cells: int, granularity: Granularity) -> list[PatchStrip]:
    """Strips that make up a tile of cells x cells positions.

    Small enough for a core's cache with the patches of all tiles of a frame:
    gathering, whitening and squaring then meet memory once, not three times.
    """
    every = slice(0, cells)
    if granularity == "columns":
        return [PatchStrip(every, slice(c, c + 1), slice(c, c + 1)) for c in range(cells)]
    if granularity == "single":
        return [PatchStrip(slice(r, r + 1), every, slice(0, 1)) for r in range(cells)]
    b = BLOCK[granularity]
    n = cells // b
    return [
        PatchStrip(slice(r * b, (r + 1) * b), every, slice(r * n, (r + 1) * n)) for r in range(n)
    ]
