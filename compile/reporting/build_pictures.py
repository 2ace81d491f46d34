"""The pictures of a build's report, drawn while its maps are still there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kenpin.compile.build_task import BuildTask
from kenpin.compile.operating_point.good_scores import GoodScores
from kenpin.compile.operating_point.joined import Joined
from kenpin.compile.operating_point.map_store import MapStore
from kenpin.compile.operating_point.twin_scores import Twin
from kenpin.compile.progress import OnProgress
from kenpin.compile.reporting.measure import picture_measure
from kenpin.compile.reporting.page import Galleries
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

__all__ = ["Pictured", "picture_build"]


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


def _measures(plan: HeadPlan, head: TrainedHead) -> Iterator[tuple[HeadPlan, MetricHead]]:
    """Each learned measure: the head itself, or those of an ensemble's members."""
    if isinstance(head, MetricHead):
        yield plan, head
    if isinstance(head, EnsembleHead):
        for own, member in zip(plan.members, head.members, strict=True):
            if isinstance(member, MetricHead):
                yield own.plan, member
