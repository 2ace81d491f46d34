"""Maps of good images and of twins, each by a model without its part, and how they are joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kenpin.compile.build_task import BuildTask
from kenpin.compile.good_images.web_middle import middle_of
from kenpin.compile.methods.fitting import arrays_in
from kenpin.compile.methods.leave_out import LeftOut, Unseen
from kenpin.compile.operating_point.blending import Blender, Ways
from kenpin.compile.operating_point.good_scores import typical_webs
from kenpin.compile.operating_point.joined import Joined, keep_images, keep_twins
from kenpin.compile.operating_point.map_store import MapStore
from kenpin.compile.operating_point.sections import Sectioned, section_of
from kenpin.compile.operating_point.twin_scores import Twin, TwinTask, draw_twins
from kenpin.config.web import WebSpec
from kenpin.runtime.bundles.manifest import BlendRecord
from kenpin.runtime.bundles.operating_point import odd_ones, operating_point
from kenpin.runtime.judging.network import load_mask
from kenpin.runtime.web.lanes import EdgeTracker, LaneMap

__all__ = ["UnseenMaps", "join_maps", "look_at"]

# Of what a build draws at random: see `BuildTask.random`.
TWIN_STREAM = 4


@dataclass(frozen=True)
class UnseenMaps:
    """Maps of the good images and of faint defects drawn into them, not joined yet."""

    good: MapStore[LeftOut]
    twins: MapStore[Twin]

    @property
    def seen(self) -> list[LeftOut]:
        """The good images, with the network's own scores and without maps."""
        return [item.what for item in self.good.items]


def look_at(task: BuildTask, unseen: Unseen) -> UnseenMaps:
    """Maps of the good images, each without its own part, and of faint defects drawn into them."""
    recipe, scratch, steps = task.recipe, task.scratch, task.steps
    looked = UnseenMaps(MapStore(scratch / "good.maps"), MapStore(scratch / "twins.maps"))
    with steps.step("look at good images without their own part") as progress:
        keep_images(unseen, looked.good, progress)
    if not recipe.report.twins_each:
        return looked
    grid, stride = task.grid, task.stride_px
    lines = edges = heights = None
    if recipe.web is not None:
        tall = task.images.heights
        heights = [tall] if task.images.joined else [[height] for height in tall]
        inspected = LaneMap.of(recipe.web, grid.width, stride).inspected[None]
        lines = _lines(recipe.web, unseen) if recipe.web.has_ends else None
        if recipe.web.edges is not None:
            edges = EdgeTracker(recipe.web.edges, grid.width, stride)
    else:
        mask = load_mask(arrays_in(task.folder), grid, stride)
        inspected = np.ones(task.shape, bool) if mask is None else mask > 0
    # Odd images are left alone.
    typical = typical_webs(looked.seen, len(unseen.webs))
    reach_px = recipe.score.smooth_sigma_px + stride
    one_each = recipe.method.scores_images
    twins = TwinTask(
        unseen, typical, grid, stride, reach_px, inspected, lines, edges, one_each, heights
    )
    rng = task.random(TWIN_STREAM)
    with steps.step("draw faint defects into good images") as progress:
        keep_twins(draw_twins(twins, recipe.report.twins_each, rng, progress), looked.twins)
    return looked


def _lines(web: WebSpec, unseen: Unseen) -> list[list[tuple[int, int, int]]]:
    """See `TwinTask.lines`."""
    found = []
    for files in unseen.webs:
        heights = [len(unseen.load(file)) for file in files]
        first, end = middle_of(web, map(unseen.load, files))
        starts = np.cumsum([0, *heights[:-1]]).tolist()
        found.append(
            [
                (max(0, first - start), min(height, end - start), height)
                for start, height in zip(starts, heights, strict=True)
            ]
        )
    return found


def join_maps(
    task: BuildTask, ways: Ways, unseen: Unseen, looked: UnseenMaps
) -> tuple[Joined, BlendRecord | None]:
    """The good images with their maps joined, and what goes into the bundle for it."""

    def threshold(scores: Sequence[float], parts: Sequence[str]) -> float:
        odd = set(odd_ones(scores, parts))
        typical = [n for n in range(len(scores)) if n not in odd]
        own = [scores[n] for n in typical], [parts[n] for n in typical]
        return operating_point(*own, task.recipe.threshold.false_rejects).threshold

    section = section_of(task)
    given = unseen.stages, unseen.leave, unseen.parts, unseen.webs, unseen.load, unseen.infer
    if task.recipe.method.joins_nothing:
        return Joined(*given, looked.good, None, None), None
    blender = Blender(looked.good, looked.twins, ways, task.shape, task.stride_px, threshold)
    with task.steps.step("join the network's map with bands of brightness"):
        choice = blender.choose()
    record, arrays = blender.fitted(choice)
    for name, array in arrays.items():
        np.save(task.folder / f"{name}.npy", array)
    if section is None:
        return Joined(*given, looked.good, blender, choice.way), record
    rate = task.recipe.threshold.false_rejects
    sectioned = Sectioned(blender, choice.way, section, rate)
    np.save(task.folder / "section_gain.npy", sectioned.gain())
    record = record.model_copy(update={"each": task.recipe.threshold.each})
    return Joined(*given, looked.good, sectioned, choice.way), record
