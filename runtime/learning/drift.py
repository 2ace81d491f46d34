"""The range of good pictures, widened by frames that were falsely rejected."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kenpin.camera.frame import Pixels
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.manifest import DriftRecord
from kenpin.runtime.drift.look import QUANTITIES, PictureLook, look_at, mean_features
from kenpin.runtime.drift.reference import Reference
from kenpin.runtime.judging.fitting import fitted, in_grey_levels
from kenpin.runtime.judging.tiling import TileGrid

__all__ = ["DriftLearner"]

F32 = NDArray[np.float32]


class DriftLearner:
    """What whoever watches for drift compares with; nothing, of bundles from before.

    Good material that the good images did not show would go on to be told as drift. As how
    many independent images the range counts stays as it was: a few frames more change little.
    """

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        self._frame = manifest.frame
        web = manifest.frame.geometry == "continuous"
        self._block = TileGrid.of(manifest.frame, manifest.tiles).core if web else None
        self._reference = Reference.of(bundle)
        self._record = manifest.drift
        self._looks: list[PictureLook] = []
        self._distances: list[float] = []
        # Of the frame that is being judged: it may not count.
        self._heard: list[float] = []

    def begin(self) -> None:
        """Another frame is going to be heard."""
        self._heard = []

    def hear(self, features: F32) -> None:
        """Of a frame, or of a web's tile row: (tiles, cells, cells, D)."""
        if self._reference is not None:
            self._heard.append(self._reference.material.distance(mean_features(features)))

    def see(self, pixels: Pixels) -> None:
        """The frame that was just heard counts."""
        if self._reference is None:
            return
        self._distances += self._heard
        grey = in_grey_levels(pixels, self._frame)
        if self._block is None:
            grey = fitted(grey, self._frame)
        height = self._block or len(grey)
        for first in range(0, len(grey) - height + 1, height):
            self._looks.append(look_at(grey[first : first + height]))

    def widened(self) -> tuple[DriftRecord | None, dict[str, F32]]:
        """The record, and the arrays that are others now."""
        if self._record is None or self._reference is None or not self._looks:
            return self._record, {}
        values = np.array([look.values for look in self._looks])
        columns = np.array([look.columns for look in self._looks])
        low = np.minimum(self._reference.low, values.min(axis=0)).tolist()
        high = np.maximum(self._reference.high, values.max(axis=0)).tolist()
        middle = self._reference.middle.tolist()
        record = self._record.model_copy(
            update={
                "looks": self._record.looks + len(self._looks),
                "limits": dict(zip(QUANTITIES, zip(low, middle, high, strict=True), strict=True)),
                "material": max(self._record.material, *self._distances),
            }
        )
        lowest, highest = self._reference.columns
        wider = [np.minimum(lowest, columns.min(axis=0)), np.maximum(highest, columns.max(axis=0))]
        return record, {"drift_columns": np.array(wider, np.float32)}
