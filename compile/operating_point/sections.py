"""Thresholds of their own for tiles, lanes or columns, as one threshold on a map that is scaled.

A map divided by its sections' levels (see `kenpin.compile.methods.levels`) has one threshold again,
and each section's own is that times its level.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.compile.build_task import BuildTask
from kenpin.compile.methods.levels import gains
from kenpin.compile.operating_point.blending import Blender, Way
from kenpin.compile.operating_point.map_store import MapStore
from kenpin.runtime.web.lanes import LaneMap

__all__ = ["Sectioned", "section_of"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


def section_of(task: BuildTask) -> NDArray[np.intp] | None:
    """(rows or 1, cols) number of the section that each place of the map belongs to.

    None where the whole frame shares one threshold; -1 where no lane is.
    """
    each, (rows, cols) = task.recipe.threshold.each, task.shape
    if each == "frame":
        return None
    if each == "column":
        return np.arange(cols)[None]
    if each == "lane":
        web = task.recipe.web
        assert web is not None
        return LaneMap.of(web, task.grid.width, task.stride_px).lane_of[None].astype(np.intp)
    step = task.grid.stride // task.stride_px
    down, across = (
        np.minimum(np.arange(count) // step, tiles - 1)
        for count, tiles in ((rows, task.grid.rows), (cols, task.grid.cols))
    )
    return down[:, None] * task.grid.cols + across


@dataclass(frozen=True)
class Sectioned:
    """A blender whose joined maps are divided by the levels of their sections.

    section        (rows or 1, cols), as `section_of` gives it
    false_rejects  share of good images that is meant to be rejected
    """

    blender: Blender
    way: Way
    section: NDArray[np.intp]
    false_rejects: float

    def joined(self, store: MapStore[Any], way: Way) -> Iterator[tuple[int, F32]]:
        """See `Blender.joined`; the levels, too, are of other parts only."""
        for number, values in self.blender.joined(store, way):
            item = store.items[number]
            rows, cols = item.area
            own = self.gain(item.part)[rows if len(self.section) > 1 else slice(None), cols]
            yield number, values * own

    def gain(self, without: int | None = None) -> F32:
        """(rows or 1, cols) what the map is multiplied by, 1 in a section of the usual level."""
        gain = gains(self._peaks, self._part != without, self.false_rejects)
        own: F32 = np.where(self.section < 0, 1, gain[self.section]).astype(np.float32)
        return own

    @cached_property
    def _part(self) -> NDArray[np.intp]:
        return np.array([item.part for item in self.blender.good.items], np.intp)

    @cached_property
    def _peaks(self) -> F64:
        """(images, sections) the highest value of each good image in each section."""
        good = self.blender.good
        peaks = np.zeros((len(good), int(self.section.max()) + 1))
        for number, values in self.blender.joined(good, self.way):
            # Not over `times`: levels even sections out, and would take back what a lane was given.
            where = np.broadcast_to(self.section, values.shape)
            inside = where >= 0
            np.maximum.at(peaks[number], where[inside], values[inside])
        return peaks
