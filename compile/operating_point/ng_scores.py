"""Scores of the NG images that a recipe names."""

from __future__ import annotations

from pathlib import Path

from kenpin.camera.files.listing import list_images, name_in
from kenpin.compile.build_task import BuildTask
from kenpin.compile.progress import OnProgress
from kenpin.runtime.judging.pipeline import Stages
from kenpin.runtime.web.stages import WebStages

__all__ = ["ng_scores"]


def ng_scores(task: BuildTask, stages: Stages | WebStages) -> dict[str, float]:
    """Image scores by name in the folder; of webs, that of each strip, by name and number.

    Empty if the recipe names no NG images.
    """
    folder = task.recipe.images.ng
    if folder is None:
        return {}
    files = list_images(folder)
    with task.steps.step("score NG images") as progress:
        if isinstance(stages, WebStages):
            return _of_strips(task, stages, files, folder, progress)
        scores = {}
        for number, file in enumerate(files):
            scores[name_in(folder, file)] = stages.measure(task.bench.load(file)).score
            progress(number + 1, len(files))
        return scores


def _of_strips(
    task: BuildTask, stages: WebStages, files: list[Path], folder: Path, progress: OnProgress
) -> dict[str, float]:
    webs = [files] if task.recipe.images.joined else [[file] for file in files]
    scores = {}
    for number, web in enumerate(webs):
        for strip, score in enumerate(stages.scores(map(task.bench.load, web))):
            scores[f"{name_in(folder, web[0])}#{strip}"] = score
        progress(number + 1, len(webs))
    return scores
