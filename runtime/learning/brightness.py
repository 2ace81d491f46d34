"""Bands of brightness told of more good frames: what is usual where, and how it varies."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kenpin.camera.frame import Pixels
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.brightness import contrasts
from kenpin.runtime.judging.fitting import fitted, in_grey_levels
from kenpin.runtime.judging.network import load_mask
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.selftest import golden_pixels
from kenpin.runtime.web.stages import WebStages

__all__ = ["BandLearner"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

# Deviations of neighbouring places are alike, and a few frames say little about one place.
BLUR_CELLS = 4.0
# A deviation that good golden frames do not show at all would be divided by.
LEAST = 1e-6


@dataclass(frozen=True)
class _Sums:
    """Of one frame, in the bundle's own measure: each (bands, rows or 1, cols or 1).

    seen   of the squares that count together, the share that is inspected
    count  how many those are
    """

    seen: F64
    count: F64
    first: F64
    second: F64


class BandLearner:
    """Means and deviations of the bands that a bundle's map is joined with.

    A bundle holds them as mean and gain, in a measure of its own: how large a usual deviation
    is in it, its good golden frames say. It holds no count; what was fitted, by file, is one.
    """

    def __init__(self, bundle: Bundle, earlier: int, stages: WebStages | None) -> None:
        """Look at what is usual.

        Parameters
        ----------
        earlier
            Frames that the bundle was told of since it was compiled.
        stages
            Of a web, with the recipe's lanes: what they do not inspect, a table beside the
            edges for one, says nothing of the material. None where frames show parts.
        """
        manifest = bundle.manifest
        self._frame = manifest.frame
        self._px = manifest.features.patch_stride_px
        self._count = len(manifest.data.fitted) + earlier
        self._sums: dict[int, _Sums] = {}
        blend = manifest.blend
        self._sigmas = () if blend is None else blend.sigmas_px
        if not self._sigmas:
            return
        self._stages = stages
        grid = TileGrid.of(manifest.frame, manifest.tiles)
        self._mask = None if stages else load_mask(bundle.arrays, grid, self._px)
        self._mean, self._gain = bundle.arrays["band_mean"], bundle.arrays["band_gain"]
        good = [
            self._summed(golden_pixels(bundle, golden.file))
            for golden in manifest.golden
            if golden.kind == "good"
        ]
        self._usual = _usual(good, len(self._sigmas))

    def take(self, frame: int, pixels: Pixels) -> None:
        """Hear of a frame as the camera gave it."""
        if self._sigmas:
            grey = in_grey_levels(pixels, self._frame)
            whole = grey if self._frame.geometry == "continuous" else fitted(grey, self._frame)
            self._sums[frame] = self._summed(whole)

    def arrays(self, left_out: Collection[int] = ()) -> dict[str, F32]:
        """The bundle's arrays that are others now; `left_out` as in `Learner`."""
        heard = [sums for frame, sums in self._sums.items() if frame not in left_out]
        if not heard:
            return {}
        # By place: a square beside an edge that wanders was seen in fewer frames, or in none.
        seen = sum(one.seen for one in heard)
        share = seen / np.maximum(self._count + seen, LEAST)
        count = np.maximum(sum(one.count for one in heard), 1.0)
        first = sum(one.first for one in heard) / count
        second = sum(one.second for one in heard) / count
        # Of old and new together, about the old mean: each image counts once.
        usual = self._usual[:, None, None]
        moved = share * first
        variance = (1 - share) * usual + share * second - moved**2
        ratio = np.stack([_smooth(band) for band in variance / usual])
        return {
            "band_mean": (self._mean + moved / self._gain).astype(np.float32),
            "band_gain": (self._gain / np.sqrt(np.maximum(ratio, LEAST))).astype(np.float32),
        }

    def _summed(self, pixels: Pixels) -> _Sums:
        found, inside = self._looked(pixels)
        measured = np.where(inside, (found - self._mean) * self._gain, 0.0)
        rows, cols = self._mean.shape[1:]
        axes = tuple(axis for axis, size in ((1, rows), (2, cols)) if size == 1)

        def together(values: F64) -> F64:
            total: F64 = values.sum(axis=axes, keepdims=True) if axes else values
            return total

        count = together(np.broadcast_to(inside, found.shape).astype(np.float64))
        every = found[0].size / (rows * cols)
        return _Sums(count / every, count, together(measured), together(measured**2))

    def _looked(self, pixels: Pixels) -> tuple[F32, NDArray[np.bool_]]:
        """(bands, rows, cols) contrasts, and (rows, cols) what is inspected, as it is judged."""
        if self._stages is not None:
            _, found, inside = self._stages.whole_maps(pixels)
            return found, inside
        found = contrasts(pixels, self._px, self._sigmas, self._mask)
        inside = np.ones(found.shape[1:], bool) if self._mask is None else self._mask > 0
        return found, inside


def _usual(good: Sequence[_Sums], bands: int) -> F64:
    """(bands,) usual squared deviation, in the bundle's measure."""
    if not good:
        return np.ones(bands)
    count = sum(one.count.sum(axis=(1, 2)) for one in good)
    second = sum(one.second.sum(axis=(1, 2)) for one in good)
    # Golden frames of which nothing is inspected say nothing.
    found: F64 = np.where(count > 0, np.maximum(second / np.maximum(count, 1), LEAST), 1.0)
    return found


def _smooth(ratio: F64) -> F64:
    found = cv2.GaussianBlur(ratio, (0, 0), BLUR_CELLS, borderType=cv2.BORDER_REFLECT)
    return found.astype(np.float64, copy=False)
