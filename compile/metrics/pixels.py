"""How well maps show where defects are.

Everything here is exact: equal scores count half, and a threshold moves all pixels of
one score together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest

import cv2
import numpy as np
from numpy.typing import NDArray

from kenpin.compile.metrics.ranks import CHUNK, F64, Ints, Mask, area, expect_finite, good_below

__all__ = ["MAX_FPR", "aupro", "pixel_auroc", "pro_curve"]

F32 = NDArray[np.float32]

# Bergmann et al., IJCV 2021: beyond this rate a segmentation means nothing.
MAX_FPR = 0.3


def pixel_auroc(maps: Iterable[F32], masks: Iterable[Mask]) -> float:
    """Chance that an anomalous pixel scores higher than a defect-free one.

    Large defects outweigh small ones; `aupro` counts each region the same.

    Parameters
    ----------
    maps : (H, W) float32 each, images may differ in size
    masks : (H, W) bool each, True where the pixel is anomalous

    Raises
    ------
    ValueError
        If maps and masks do not fit each other, a value is not finite, or there
        is no anomalous or no defect-free pixel.
    """
    good_parts: list[F32] = []
    bad_parts: list[F32] = []
    for scores, mask in _pairs(maps, masks):
        good_parts.append(scores[~mask])
        bad_parts.append(scores[mask])
    good, bad = _joined(good_parts, "defect-free"), _joined(bad_parts, "anomalous")
    good.sort()
    return area(good, bad)


def aupro(maps: Iterable[F32], masks: Iterable[Mask], max_fpr: float = MAX_FPR) -> float:
    """Area under the per-region overlap curve, up to a false-positive rate.

    The overlap of a region is the share of its pixels above the threshold. It is
    averaged over all 8-connected regions of all masks, drawn over the share of
    defect-free pixels above the threshold, integrated by trapezoids from 0 to
    `max_fpr` (linear in between), and divided by `max_fpr`.

    The curve is never built. It is a sum of ramps, one per anomalous pixel: each
    rises from 0 to 1 while the threshold passes the defect-free pixels of the
    same score. The areas of the ramps, averaged, are the area of the curve.

    Parameters
    ----------
    maps : (H, W) float32 each, images may differ in size
    masks : (H, W) bool each, True where the pixel is anomalous
    max_fpr : in (0, 1]

    Returns
    -------
    float in [0, 1].

    Raises
    ------
    ValueError
        As `pixel_auroc`, and if `max_fpr` is out of range.

    References
    ----------
    Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 129, 2021.
    """
    if not 0 < max_fpr <= 1:
        raise ValueError(f"max_fpr is {max_fpr}, expected 0 < max_fpr <= 1")
    good, bad, region, regions = _regions(maps, masks)
    limit = max_fpr * good.size
    covered = np.zeros(regions)
    for start in range(0, bad.size, CHUNK):
        chunk = bad[start : start + CHUNK]
        order = np.argsort(chunk)
        below, upto = good_below(good, chunk[order])
        share = _ramp_area(good.size - upto, good.size - below, limit) / limit
        covered += np.bincount(
            region[start : start + CHUNK][order], weights=share, minlength=regions
        )
    return float(np.mean(covered / np.bincount(region, minlength=regions)))


def pro_curve(
    maps: Iterable[F32], masks: Iterable[Mask], max_fpr: float = MAX_FPR, points: int = 61
) -> list[tuple[float, float]]:
    """The per-region overlap curve whose area `aupro` is, at evenly spaced rates, for drawing.

    Parameters and errors as `aupro`; (share of defect-free pixels, mean overlap) each.
    """
    good, bad, region, regions = _regions(maps, masks)
    sizes = np.bincount(region, minlength=regions)
    curve = []
    for rate in np.linspace(0, max_fpr, points):
        # So many defect-free pixels lie above.
        at = good[max(0, good.size - 1 - int(rate * good.size))]
        covered = np.bincount(region[bad > at], minlength=regions) / sizes
        curve.append((float(rate), float(covered.mean())))
    return curve


def _regions(maps: Iterable[F32], masks: Iterable[Mask]) -> tuple[F32, F32, NDArray[np.int32], int]:
    """Sorted defect-free pixels, anomalous ones, the region of each, and how many there are."""
    good_parts: list[F32] = []
    bad_parts: list[F32] = []
    region_parts: list[NDArray[np.int32]] = []
    regions = 0
    for scores, mask in _pairs(maps, masks):
        good_parts.append(scores[~mask])
        if not mask.any():
            continue
        bad_parts.append(scores[mask])
        found, labels = cv2.connectedComponents(
            np.ascontiguousarray(mask).view(np.uint8), connectivity=8
        )
        # Label 0 is the background.
        region_parts.append(np.asarray(labels[mask] + (regions - 1), dtype=np.int32))
        regions += found - 1
    good, bad = _joined(good_parts, "defect-free"), _joined(bad_parts, "anomalous")
    good.sort()
    return good, bad, np.concatenate(region_parts), regions


def _ramp_area(first: Ints, last: Ints, limit: float) -> F64:
    """Area, from 0 to `limit`, under ramps from 0 at `first` to 1 at `last`."""
    climbed = np.clip(limit - first, 0, last - first)
    # A step has climbed nothing: the divisor only has to be other than zero.
    slope = climbed * climbed / (2 * np.maximum(last - first, 1))
    return np.asarray(np.maximum(limit - last, 0) + slope, dtype=np.float64)


def _pairs(maps: Iterable[F32], masks: Iterable[Mask]) -> Iterator[tuple[F32, Mask]]:
    """Each map with its mask, checked."""
    for index, (scores, mask) in enumerate(zip_longest(maps, masks)):
        if scores is None or mask is None:
            missing = "map" if scores is None else "mask"
            raise ValueError(f"image {index} has no {missing}; expected one mask for each map")
        if scores.dtype != np.float32 or mask.dtype != np.bool_:
            raise ValueError(
                f"image {index}: map is {scores.dtype} and mask is {mask.dtype}, "
                "expected float32 and bool"
            )
        if scores.ndim != 2 or scores.shape != mask.shape:
            raise ValueError(
                f"image {index}: map {scores.shape} and mask {mask.shape}, expected one (H, W)"
            )
        expect_finite(scores, f"map {index}")
        yield scores, mask


def _joined(parts: list[F32], kind: str) -> F32:
    """All pixels of one kind; empties the list, to hold them only once."""
    pixels: F32 = np.concatenate(parts or [np.empty(0, np.float32)])
    parts.clear()
    if not pixels.size:
        raise ValueError(f"no {kind} pixel in any image; add images that have some")
    return pixels
