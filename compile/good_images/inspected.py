"""What of a frame is inspected: masks and zones, read, drawn and told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kenpin.camera.files.images import read_pixels, write_png
from kenpin.camera.files.listing import printable
from kenpin.compile.good_images.clusters import Cluster
from kenpin.compile.good_images.images import load
from kenpin.compile.good_images.places import squares_with_any
from kenpin.config.errors import ConfigError
from kenpin.config.recipe import Recipe
from kenpin.config.web import WebSpec
from kenpin.runtime.judging.join import Joiner, ScoreMap
from kenpin.runtime.judging.overlay import folded, on_canvas, striped
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.web.lanes import EdgeTracker, LaneMap, RowChecks
from kenpin.runtime.web.strip_ends import StripEnds

__all__ = ["draw_inspected", "inspected_columns", "read_mask", "share_in_words"]

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

CLUSTER_COLOUR = (255, 60, 60)


def read_mask(file: Path, joiner: Joiner) -> F32:
    """Where parts are inspected, at the map's resolution: 1 where any pixel is white.

    White is a promise: no pixel of it lies where nothing counts; see docs/decisions/0070.

    Raises
    ------
    ImageError
        If the file cannot be read.
    ConfigError
        If the image is not of the frame's size, or would leave nothing.
    """
    pixels: NDArray[Any] = read_pixels(file)
    white = (pixels if pixels.ndim == 2 else pixels.min(axis=2)) >= 128
    size = (joiner.grid.height, joiner.grid.width)
    if white.shape != size:
        raise ConfigError(
            f"{printable(file)}: mask of {white.shape[0]} x {white.shape[1]} px, expected the "
            f"frame's {size[0]} x {size[1]}"
        )
    if not white.any():
        raise ConfigError(
            f"{printable(file)}: its highest value is {int(pixels.max())}, so nothing would be "
            "inspected; draw it anew, 255 where parts are inspected"
        )
    mask: F32 = squares_with_any(white, joiner).astype(np.float32)
    return mask


def inspected_columns(recipe: Recipe, joiner: Joiner) -> F32 | None:
    """(rows, cols) of the map, 1 where it counts; of webs one row. None if it counts everywhere.

    Raises
    ------
    ConfigError
        If the lanes do not fit the web, or the mask the frame.
    """
    if recipe.web is not None:
        try:
            lanes = LaneMap.of(recipe.web, recipe.frame.width_px, joiner.patch_stride)
        except ValueError as error:
            raise ConfigError(f"web: {error}") from None
        columns: F32 = lanes.inspected.astype(np.float32)[None]
        return None if columns.all() else columns
    if recipe.images.mask is None:
        return None
    return read_mask(recipe.images.mask, joiner)


def share_in_words(inspected: F32 | None, web: WebSpec | None = None) -> str:
    """How much of a frame is inspected, for people."""
    said = "the whole frame is inspected"
    if inspected is not None:
        said = f"{float(inspected.mean()):.0%} of the frame is inspected"
    if web is None or not (web.has_ends or web.edges):
        return said
    return f"{said}, less what each web's ends and edges leave out"


def draw_inspected(
    file: Path,
    recipe: Recipe,
    inspected: F32 | None,
    stride_px: int,
    picture: Path,
    clusters: Sequence[Cluster] = (),
) -> U8:
    """Write a good image with stripes over what is not inspected, and boxes around clusters.

    Returns
    -------
    (H, W, 3): what was written, folded to fit a screen.
    """
    pixels = load(file, recipe.frame, recipe.images.turn_deg)
    canvas = on_canvas(pixels)
    height, width = canvas.shape[:2]
    if recipe.web is not None and (recipe.web.has_ends or recipe.web.edges):
        cells = _cells_of(recipe, recipe.web, pixels, stride_px)
        if inspected is not None:
            cells = cells * inspected
        striped(canvas, ScoreMap(cells, stride_px, (height, width)))
    elif inspected is not None:
        rows = -(-height // stride_px)
        values = np.broadcast_to(inspected, (rows, inspected.shape[1])).copy()
        striped(canvas, ScoreMap(values, stride_px, (height, width)))
    for one in clusters:
        # Of webs the whole height counts, whatever the image's is.
        top, bottom = (0, height) if recipe.web is not None else (one.top_px, one.bottom_px)
        corners = (one.left_px, top), (one.right_px - 1, bottom - 1)
        cv2.rectangle(canvas, *corners, CLUSTER_COLOUR, 2)
    drawn = folded(canvas)
    write_png(picture, drawn)
    return drawn


def _cells_of(recipe: Recipe, web: WebSpec, pixels: NDArray[Any], stride_px: int) -> F32:
    """(rows, cols) of a web's map, or of its first block, 1 inside its ends and its edges."""
    grid = TileGrid.of(recipe.frame, recipe.tiles)
    ends = StripEnds(web, grid.width, stride_px, 0)
    tracker = None if web.edges is None else EdgeTracker(web.edges, grid.width, stride_px)
    checks = RowChecks(None, tracker, ends)
    if not recipe.images.joined:
        ends.ended([pixels[max(0, len(pixels) - ends.held_lines) :]], len(pixels))
    short = -len(pixels) % grid.core
    padding = ((0, short), *((0, 0),) * (pixels.ndim - 1))
    longer = np.pad(pixels, padding, mode="edge")
    shape = grid.core // stride_px, -(-grid.width // stride_px)
    rows = []
    for line in range(0, len(longer), grid.core):
        cause, weights = checks(longer[line : line + grid.core], line)
        own = np.ones(1, np.float32) if weights is None else weights
        rows.append(np.broadcast_to(own if cause is None else np.float32(0), shape))
    cells: F32 = np.concatenate(rows)[: -(-len(pixels) // stride_px)]
    return cells
