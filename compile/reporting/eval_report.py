"""The report of an evaluation: how well a bundle does on labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from kenpin.camera.files.listing import printable
from kenpin.camera.frame import Frame
from kenpin.compile.evaluation.dataset import GOOD, Dataset, Labelled
from kenpin.compile.evaluation.evaluate import Evaluation
from kenpin.compile.evaluation.trade import Row
from kenpin.compile.reporting.figures import bundle_tree
from kenpin.compile.reporting.page import Galleries
from kenpin.compile.reporting.pictures import Picture, pictured
from kenpin.compile.reporting.seen import MOST
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.fitting import in_grey_levels
from kenpin.runtime.judging.pipeline import Pipeline
from kenpin.runtime.web.pipeline import WebPipeline

__all__ = ["evaluation_figures", "evaluation_pictures", "evaluation_tree"]


def evaluation_tree(
    bundle: Bundle, name: str, dataset: Dataset, found: Evaluation, rows: Sequence[Row]
) -> dict[str, Any]:
    """All figures, as the page and the JSON file hold them.

    Parameters
    ----------
    name
        Of the dataset, for people.
    """
    kinds = {item.name: item.kind for item in dataset.images}
    return {
        **bundle_tree(bundle),
        "kind": "evaluation",
        "bundle": found.bundle,
        "folder": printable(bundle.folder),
        "labelled": [
            {"name": item, "kind": kinds[item], "score": score}
            for item, score in found.scores.items()
            if score is not None
        ],
        "dataset": {"name": name, **evaluation_figures(found, rows)},
    }


def evaluation_figures(found: Evaluation, rows: Sequence[Row]) -> dict[str, Any]:
    """How good a bundle is on a data set, for the page and for scripts."""
    return {
        "images": found.images,
        "pixels": found.pixels,
        "tiles": found.tiles,
        "refused": [asdict(one) for one in found.refused],
        "notes": found.notes,
        "trade": [row.tree() for row in rows],
    }


def evaluation_pictures(
    pipeline: Pipeline | WebPipeline, dataset: Dataset, found: Evaluation
) -> Galleries:
    """The best and the worst of the good and the NG images, each with its map."""
    scored = [
        (score, item)
        for item in dataset.images
        if (score := found.scores.get(item.name)) is not None
    ]
    scored.sort(key=lambda one: one[0])
    good = [item for _, item in scored if item.kind == GOOD]
    ng = [item for _, item in scored if item.kind != GOOD]
    chosen = {
        "ng_low": ng[:MOST],
        "good_high": good[: -MOST - 1 : -1],
        "ng_high": ng[MOST:][: -MOST - 1 : -1],
        "good_low": good[: max(0, len(good) - MOST)][: MOST // 2],
    }
    return {name: [_shown(pipeline, item) for item in items] for name, items in chosen.items()}


def _shown(pipeline: Pipeline | WebPipeline, item: Labelled) -> Picture:
    pixels = item.pixels()
    frame = Frame(pixels.copy(), 0, 0, item.name)
    judged = pipeline.in_one_measure(pipeline.judge_single(frame))
    score = judged.verdict.score
    values, limit = judged.score_map, pipeline.thresholds.ok
    grey = in_grey_levels(pixels, pipeline.bundle.manifest.frame)
    return pictured(item.name, score, grey, values, limit)
