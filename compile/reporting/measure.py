"""What a learned measure looks like: good tiles, twins and NG images in a plane, and neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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

__all__ = ["in_a_plane", "picture_measure"]

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

# Marks of each kind in the plane, and pairs of a found tile and the nearest good one.
MARKS, PAIRS = 200, 8
SIDE_PX, BORDER_PX, MARK_PX, LINE_PX = 600, 24, 11, 22
GAP_PX = 6
BATCH = 32
SMALLEST = 1e-9


@dataclass(frozen=True, slots=True)
class _Kind:
    """Tiles of one kind: told apart by their mark as well, for whoever sees no colours."""

    label: str
    mark: int
    colour: tuple[int, int, int]


# The last lie on top: what is worth seeing are those among the good ones.
KINDS = {
    "good": _Kind("good tiles", cv2.MARKER_SQUARE, (40, 90, 200)),
    "twins": _Kind("the same with a defect drawn in", cv2.MARKER_TRIANGLE_UP, (205, 125, 10)),
    "NG": _Kind("tiles of NG images", cv2.MARKER_TILTED_CROSS, (200, 30, 40)),
}


def picture_measure(task: BuildTask, plan: HeadPlan, head: MetricHead, pool: Pool) -> list[Picture]:
    """A picture of all embeddings in a plane, then what lies farthest beside its nearest good tile.

    Parameters
    ----------
    pool
        The good tiles that were learned from.
    """
    spec = head.spec
    rng = np.random.default_rng(spec.seed)
    good = pool.tiles[np.sort(rng.permutation(len(pool.tiles))[:MARKS])]
    twins = drawn_into(good, spec.twins, plan.halo_px, rng)
    ng, names = _ng_tiles(task)
    embedded = {
        kind: _embedded(plan, head, tiles)
        for kind, tiles in (("good", good), ("twins", twins), ("NG", ng))
        if len(tiles)
    }
    if len(ng):
        found, labels, rows = ng, names, embedded["NG"]
    else:
        kinds = spec.twins.kinds
        labels = [f"{kinds[n % len(kinds)].kind}, drawn in" for n in range(len(twins))]
        found, rows = twins, embedded["twins"]
    halo = plan.halo_px
    core = slice(halo, plan.size_px - halo), slice(halo, plan.size_px - halo)
    found, good = found[:, :, *core], good[:, :, *core]
    return [_plane(embedded), *_pairs(found, labels, rows, good, embedded["good"])]


def in_a_plane(rows: F32) -> tuple[F32, float]:
    """(N, E) to (N, 2): the two directions in which they vary most, and what share that is.

    References
    ----------
    Principal components: Pearson, On Lines and Planes of Closest Fit, 1901.
    """
    centred = rows - rows.mean(axis=0)
    _, spread, directions = np.linalg.svd(centred, full_matrices=False)
    plane: F32 = centred @ directions[:2].T
    varies = spread**2
    return plane, float(varies[:2].sum() / max(varies.sum(), SMALLEST))


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
    chosen = files[:: max(1, len(files) * len(grid) // MARKS)]
    tiles = np.empty((len(chosen), *shape), np.uint8)
    for file, own in zip(chosen, tiles, strict=True):
        grid.fill(task.bench.lamp.even(task.bench.load(file)), range(len(grid)), own)
    names = [name_in(folder, file) for file in chosen for _ in range(len(grid))]
    return tiles.reshape(-1, *shape[1:]), names


def _plane(embedded: dict[str, F32]) -> Picture:
    places, share = in_a_plane(np.concatenate(list(embedded.values())))
    low, high = places.min(axis=0), places.max(axis=0)
    room = SIDE_PX - 2 * BORDER_PX
    # One measure for both directions: what is nearer in the picture is more alike.
    step = room / max(float((high - low).max()), SMALLEST)
    at = BORDER_PX + (room - (high - low) * step) / 2 + (places - low) * step
    legend = SIDE_PX + BORDER_PX
    canvas = np.full((legend + len(embedded) * LINE_PX, SIDE_PX, 3), 255, np.uint8)
    kinds = np.repeat(list(embedded), [len(rows) for rows in embedded.values()])
    for line, (name, rows) in enumerate(embedded.items()):
        kind, below = KINDS[name], legend + line * LINE_PX
        for x, y in [*at[kinds == name], (BORDER_PX, below)]:
            _mark(canvas, round(x), round(y), kind)
        text, place = f"{kind.label}: {len(rows)}", (BORDER_PX + MARK_PX, below + MARK_PX // 2)
        cv2.putText(
            canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (30, 30, 30), 1, cv2.LINE_AA
        )
    note = (
        f"The nearer two marks lie, the more alike the tiles are to the bundle. Of all differences "
        f"{100 * share:.0f} % can be seen in this view (the two principal components)."
    )
    return Picture("all tiles in a plane", None, jpeg(canvas), note=note)


def _mark(canvas: U8, x: int, y: int, kind: _Kind) -> None:
    cv2.drawMarker(canvas, (x, y), kind.colour, kind.mark, MARK_PX, 2, cv2.LINE_AA)


def _pairs(found: U8, names: list[str], rows: F32, good: U8, known: F32) -> list[Picture]:
    """What is farthest from everything good, each beside what it is nearest to.

    Its distance is no score of the bundle: that joins maps and is told in another measure.
    """
    likeness = rows @ known.T
    nearest = likeness.argmax(axis=1)
    distance = 1 - likeness.max(axis=1)
    among = known @ known.T
    np.fill_diagonal(among, -1)
    usual = max(float(np.median(1 - among.max(axis=1))), SMALLEST)
    return [
        Picture(
            names[number],
            None,
            jpeg(_side_by_side(found[number], good[nearest[number]])),
            note=f"on the right the nearest good tile, {distance[number] / usual:.3g} times as far "
            "as good tiles usually are from each other",
            facts={"distance": float(distance[number])},
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
