"""What a learned measure looks like: good tiles, twins and NG images in a plane, and neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from kenpin.camera.files.listing import list_images, name_in
from kenpin.compile.build_task import BuildTask
from kenpin.compile.reporting.pictures import Picture, jpeg
from kenpin.compile.training.drawn import drawn_into
from kenpin.compile.training.head import HeadPlan
from kenpin.compile.training.metric import MetricHead
from kenpin.compile.training.pool import Pool
from kenpin.config.trained import MetricSpec

__all__ = ["in_a_plane", "picture_measure"]

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

# Points of each kind in the plane, and pairs of a found tile and the nearest good one.
POINTS, PAIRS = 200, 8
SIDE_PX, BORDER_PX, DOT_PX = 560, 24, 4
# Red, green, blue; good ones last, so that they hide nothing.
COLOURS = {"good": (40, 90, 200), "twins": (235, 150, 30), "NG": (200, 30, 40)}
GAP_PX = 6
BATCH = 32


def picture_measure(task: BuildTask, plan: HeadPlan, head: MetricHead, pool: Pool) -> list[Picture]:
    """A picture of all embeddings in a plane, then what lies farthest beside its nearest good tile.

    Parameters
    ----------
    pool
        The good tiles that were learned from.
    """
    spec = task.recipe.method
    assert isinstance(spec, MetricSpec), "a MetricHead belongs to a MetricSpec"
    rng = np.random.default_rng(spec.seed)
    good = pool.tiles[np.sort(rng.permutation(len(pool.tiles))[:POINTS])]
    twins = drawn_into(good, spec.twins, plan.halo_px, rng)
    ng, names = _ng_tiles(task)
    embedded = {
        kind: _embedded(plan, head, tiles)
        for kind, tiles in (("good", good), ("twins", twins), ("NG", ng))
        if len(tiles)
    }
    found, labels = (ng, names) if len(ng) else (twins, [f"twin {n}" for n in range(len(twins))])
    rows = embedded["NG" if len(ng) else "twins"]
    return [_plane(embedded), *_pairs(found, labels, rows, good, embedded["good"])]


def in_a_plane(rows: F32) -> F32:
    """(N, E) to (N, 2): the two directions in which they vary most.

    References
    ----------
    Principal components: Pearson, On Lines and Planes of Closest Fit, 1901.
    """
    centred = rows - rows.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    plane: F32 = centred @ directions[:2].T
    return plane


def _embedded(plan: HeadPlan, head: MetricHead, tiles: U8) -> F32:
    found = []
    with torch.no_grad():
        for start in range(0, len(tiles), BATCH):
            part = torch.from_numpy(np.ascontiguousarray(tiles[start : start + BATCH]))
            found.append(head.embedded(plan.backbone(part)).numpy())
    return np.concatenate(found)


def _ng_tiles(task: BuildTask) -> tuple[U8, list[str]]:
    """All tiles of some NG images, and the image of each."""
    folder, grid = task.recipe.images.ng, task.grid
    shape = (len(grid), task.recipe.frame.channels, grid.size, grid.size)
    if folder is None:
        return np.empty((0, *shape[1:]), np.uint8), []
    files: Sequence[Path] = list_images(folder)
    chosen = files[:: max(1, len(files) * len(grid) // POINTS)]
    tiles = np.empty((len(chosen), *shape), np.uint8)
    for file, own in zip(chosen, tiles, strict=True):
        grid.fill(task.bench.lamp.even(task.bench.load(file)), range(len(grid)), own)
    names = [name_in(folder, file) for file in chosen for _ in range(len(grid))]
    return tiles.reshape(-1, *shape[1:]), names


def _plane(embedded: dict[str, F32]) -> Picture:
    places = in_a_plane(np.concatenate(list(embedded.values())))
    low, high = places.min(axis=0), places.max(axis=0)
    room = SIDE_PX - 2 * BORDER_PX
    at = BORDER_PX + (places - low) / np.maximum(high - low, 1e-9) * room
    canvas = np.full((SIDE_PX, SIDE_PX, 3), 255, np.uint8)
    kinds = np.repeat(list(embedded), [len(rows) for rows in embedded.values()])
    for number, kind in enumerate(sorted(embedded, key=lambda one: one == "good")):
        for x, y in at[kinds == kind]:
            cv2.circle(canvas, (round(x), round(y)), DOT_PX, COLOURS[kind], -1, cv2.LINE_AA)
        text = f"{kind} ({len(embedded[kind])})"
        place = (8, SIDE_PX - 8 - 16 * number)
        cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, COLOURS[kind], 1)
    return Picture("all tiles in a plane", None, jpeg(canvas), note="two principal components")


def _pairs(found: U8, names: list[str], rows: F32, good: U8, known: F32) -> list[Picture]:
    """What is farthest from everything good, each beside what it is nearest to."""
    likeness = rows @ known.T
    nearest = likeness.argmax(axis=1)
    distance = 1 - likeness.max(axis=1)
    return [
        Picture(
            names[number],
            float(distance[number]),
            jpeg(_side_by_side(found[number], good[nearest[number]])),
            note="on the right the nearest good tile",
        )
        for number in np.argsort(-distance)[:PAIRS]
    ]


def _side_by_side(one: U8, other: U8) -> U8:
    """(C, S, S) each, to (S, 2 S + gap, 3)."""
    parts: list[NDArray[Any]] = [
        np.broadcast_to(tile, (3, *tile.shape[1:])).transpose(1, 2, 0) for tile in (one, other)
    ]
    gap = np.full((parts[0].shape[0], GAP_PX, 3), 255, np.uint8)
    return np.concatenate([parts[0], gap, parts[1]], axis=1)
