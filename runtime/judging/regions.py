"""A part's defects: connected regions of its map over threshold, in pixels of the frame."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from kenpin.runtime.judging.join import ScoreMap
from kenpin.runtime.judging.verdict import MOST_DEFECTS, Defect

__all__ = ["defects_of"]

Index = NDArray[np.intp]


def defects_of(
    score_map: ScoreMap, over: float, height: int, width: int
) -> tuple[tuple[Defect, ...], int]:
    """The regions (8 neighbours) whose scores are all above a threshold.

    Parameters
    ----------
    over
        The threshold: what is above it is not proven good.
    height, width
        Of the image that boxes and areas count in: the frame, or what it was before the
        bundle resized it.

    Returns
    -------
    The MOST_DEFECTS with the highest peaks, highest first, at a tie the upper, then the
    left one; and how many there were.
    """
    values = score_map.values
    count, labels, stats, _ = cv2.connectedComponentsWithStats((values > over).astype(np.uint8))
    if count < 2:
        return (), 0
    # All regions at once: a map full of specks must not cost the frame its deadline.
    cells: Index = np.flatnonzero(labels)
    region: Index = labels.ravel()[cells].astype(np.intp)
    scores = values.ravel()[cells]
    heights = np.zeros(count, np.float32)
    np.maximum.at(heights, region, scores)
    # Of equal peaks the first one: the last that is written here.
    highest = np.flatnonzero(scores == heights[region])[::-1]
    peaks: Index = np.zeros(count, np.intp)
    peaks[region[highest]] = cells[highest]
    means = np.bincount(region, scores) / np.maximum(1, np.bincount(region))
    xs, ys = _edges(score_map, 1, width), _edges(score_map, 0, height)
    areas = np.bincount(region, np.outer(np.diff(ys), np.diff(xs)).ravel()[cells])
    left, top, across, down = stats[:, :4].T
    found = []
    # The first label is what lies below.
    for n in 1 + np.lexsort((left[1:], top[1:], -heights[1:]))[:MOST_DEFECTS]:
        row, col = divmod(int(peaks[n]), values.shape[1])
        found.append(
            Defect(
                left_px=int(xs[left[n]]),
                top_px=int(ys[top[n]]),
                right_px=math.ceil(xs[left[n] + across[n]]),
                bottom_px=math.ceil(ys[top[n] + down[n]]),
                area_px=round(float(areas[n])),
                peak=float(heights[n]),
                mean=float(means[n]),
                peak_xy=(int((xs[col] + xs[col + 1]) / 2), int((ys[row] + ys[row + 1]) / 2)),
            )
        )
    return tuple(found), count - 1


def _edges(score_map: ScoreMap, axis: int, pixels: int) -> NDArray[np.float64]:
    """Where the map's positions begin and end in the image; the last may reach past the frame."""
    whole = score_map.frame_size[axis]
    ends = np.arange(score_map.values.shape[axis] + 1) * score_map.stride_px
    edges: NDArray[np.float64] = np.minimum(ends, whole) * (pixels / whole)
    return edges
