"""Where the highest scores of good images lie: a table beside the cloth, a clamp, a shadow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cluster", "crowded_tiles", "describe"]

# Fewer peaks crowd by chance.
FEWEST = 12
# The peaks looked at: the highest quarter of the scores, which a threshold rests on.
TOP_SHARE = 0.25
# A web is divided across into so many strips, a part each way into so many tiles.
STRIPS, TILES = 32, 8
# Peaks that lie anywhere fall into the two best pairs of strips, or the four best
# tiles, 13 to 25 % of the time; two thirds of 12 by chance once in some hundred webs.
CROWDED = 2 / 3
PAIRS_OF_STRIPS, BEST_TILES = 2, 4


@dataclass(frozen=True, slots=True)
class Cluster:
    """A place of the frame where many good images score highest.

    left_px, right_px, top_px, bottom_px
             pixels of the frame, the ends exclusive; of webs only left and right count
    peaks    of all `of`
    """

    left_px: int
    right_px: int
    top_px: int
    bottom_px: int
    peaks: int
    of: int


def crowded_tiles(
    scores: Sequence[float],
    peaks: Sequence[tuple[float, float] | None],
    size: tuple[int, int],
    *,
    web: bool,
) -> list[Cluster]:
    """Where two thirds and more of the highest good scores crowd together; none if nowhere.

    Parameters
    ----------
    scores
        Of the good images, or of the strips of good webs.
    peaks
        (x, y) of each one's highest place, as shares of the frame in [0, 1); None: it has
        no such place, and crowds nowhere.
    size
        (H, W) of the frame in pixels; of a web, any height.
    """
    count = min(len(scores), max(FEWEST, round(TOP_SHARE * len(scores))))
    if count < FEWEST:
        return []
    top = _highest(scores, count)
    count = len(top)
    if count < FEWEST:
        return []
    chosen = np.array([peak for n in top if (peak := peaks[n]) is not None]).reshape(-1, 2)
    places = _best_strips(chosen) if web else _best_tiles(chosen)
    if sum(count for _, count in places) < CROWDED * count:
        return []
    height, width = size
    return [
        Cluster(
            round(left * width), round(right * width), round(upper * height), round(lower * height),
            peaks=own, of=count,
        )
        for (left, right, upper, lower), own in places
        if own
    ]  # fmt: skip


def _highest(scores: Sequence[float], count: int) -> list[int]:
    """Numbers of so many scores at most, none of them equal to one that is left out.

    None where all are equal: which came first says nothing of where defects would be.
    """
    order = np.argsort(-np.asarray(scores), kind="stable").tolist()
    left_out = [scores[n] for n in order[count:]]
    if scores[order[0]] == scores[order[-1]]:
        return []
    return [n for n in order[:count] if not left_out or scores[n] > left_out[0]]


Place = tuple[tuple[float, float, float, float], int]


def _best_strips(peaks: NDArray[np.float64]) -> list[Place]:
    """Pairs of neighbouring strips, the fullest first."""
    counts = np.bincount((peaks[:, 0] * STRIPS).astype(int), minlength=STRIPS)
    found: list[Place] = []
    for _ in range(PAIRS_OF_STRIPS):
        pairs = counts[:-1] + counts[1:]
        first = int(pairs.argmax())
        found.append(((first / STRIPS, (first + 2) / STRIPS, 0.0, 1.0), int(pairs[first])))
        counts[first : first + 2] = 0
    return found


def _best_tiles(peaks: NDArray[np.float64]) -> list[Place]:
    """Single tiles, the fullest first."""
    numbers = (peaks[:, 1] * TILES).astype(int) * TILES + (peaks[:, 0] * TILES).astype(int)
    counts = np.bincount(numbers, minlength=TILES * TILES)
    found: list[Place] = []
    for number in np.argsort(-counts, kind="stable")[:BEST_TILES]:
        row, col = divmod(int(number), TILES)
        box = (col / TILES, (col + 1) / TILES, row / TILES, (row + 1) / TILES)
        found.append((box, int(counts[number])))
    return found


def describe(found: Sequence[Cluster], *, web: bool) -> str:
    """What a person is told of clusters, and what to do."""
    total, of = sum(one.peaks for one in found), found[0].of
    places = " and ".join(
        f"at {one.left_px} to {one.right_px} px across"
        + ("" if web else f", {one.top_px} to {one.bottom_px} px down")
        for one in sorted(found, key=lambda one: (one.top_px, one.left_px))
    )
    setting = "web.ignore or web.edges" if web else "images.mask"
    return (
        f"{total} of the {of} highest scores of good images lie {places}: if that is no "
        f"material, a table, a hem or a clamp, leave it out by {setting} (at the frame's border "
        "texture is mirrored, and that may score high, too)"
    )
