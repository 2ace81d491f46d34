"""The pictures of a build's report, drawn while its maps are still there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kenpin.camera.files.listing import name_in
from kenpin.compile.build_task import BuildTask
from kenpin.compile.good_images.clusters import Cluster
from kenpin.compile.good_images.inspected import draw_inspected, share_in_words
from kenpin.compile.operating_point.good_scores import GoodScores
from kenpin.compile.operating_point.joined import Joined
from kenpin.compile.operating_point.map_store import MapStore
from kenpin.compile.operating_point.twin_scores import Twin
from kenpin.compile.progress import OnProgress
from kenpin.compile.reporting.measure import picture_measure
from kenpin.compile.reporting.page import Galleries
from kenpin.compile.reporting.pictures import Picture, jpeg, shrunk
from kenpin.compile.reporting.seen import (
    Seen,
    look_again,
    look_at_ng,
    look_at_twins,
    samples,
)
from kenpin.compile.training.ensemble import EnsembleHead
from kenpin.compile.training.head import HeadPlan, TrainedHead
from kenpin.compile.training.metric import MetricHead
from kenpin.compile.training.network import TrainedNetwork
from kenpin.runtime.bundles.manifest import Manifest
from kenpin.runtime.judging.pipeline import Stages
from kenpin.runtime.web.stages import WebStages

__all__ = ["Pictured", "picture_build", "picture_inspected"]


@dataclass(frozen=True)
class Pictured:
    """The good images by position, and the galleries by their names."""

    good: Seen
    galleries: Galleries


def picture_build(
    task: BuildTask,
    joined: Joined,
    good: GoodScores,
    twins: MapStore[Twin],
    stages: Stages | WebStages,
    manifest: Manifest,
    progress: OnProgress,
) -> Pictured:
    """Everything that a report shows of a build.

    Parameters
    ----------
    joined, good
        The good images, each without its own part.
    stages
        The steps of the box, for NG images.
    """
    limit, stride = manifest.threshold.ok, task.stride_px
    seen = look_again(joined, good, limit, stride, progress, web=task.strips)
    drawn = look_at_twins(joined, twins, limit, stride)
    folder, images = task.recipe.images.ng, task.images
    low, high = (
        ([], [])
        if folder is None
        else look_at_ng(stages, folder, manifest.ng_scores, task.bench.load, limit, stride)
    )
    galleries = {
        "highest": seen.highest,
        "missed": drawn.missed,
        "faintest": drawn.found,
        "ng_low": low,
        "ng_high": high,
        "usual": seen.usual,
        "samples": samples(images.files, images.folder, task.bench.load),
    }
    network = task.prepared.network
    if isinstance(network, TrainedNetwork):
        head, pool = network.learned
        measures = [
            picture for plan, own in _measures(network.plan, head)
            for picture in picture_measure(task, plan, own, pool)
        ]  # fmt: skip
        if measures:
            galleries["embedding"] = measures
    return Pictured(seen, galleries)


def picture_inspected(
    task: BuildTask, inspected: NDArray[np.float32] | None, clusters: list[Cluster], file: Path
) -> Picture:
    """A good image with what is not inspected, and where scores crowd; also written to `file`."""
    first, recipe = task.images.files[0], task.recipe
    drawn = draw_inspected(first, recipe, inspected, task.stride_px, file, clusters)
    name, note = name_in(task.images.folder, first), share_in_words(inspected, recipe.web)
    return Picture(name, None, jpeg(shrunk(drawn)), note=note)


def _measures(plan: HeadPlan, head: TrainedHead) -> Iterator[tuple[HeadPlan, MetricHead]]:
    """Each learned measure: the head itself, or those of an ensemble's members."""
    if isinstance(head, MetricHead):
        yield plan, head
    if isinstance(head, EnsembleHead):
        for own, member in zip(plan.members, head.members, strict=True):
            if isinstance(member, MetricHead):
                yield own.plan, member
