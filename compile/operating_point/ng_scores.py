"""Scores of the NG images that a recipe names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.camera.files.listing import list_images, name_in
from kenpin.compile.build_task import BuildTask
from kenpin.compile.progress import OnProgress
from kenpin.runtime.judging.pipeline import Stages
from kenpin.runtime.web.stages import WebStages

__all__ = ["ng_scores"]


def ng_scores(task: BuildTask, stages: Stages | WebStages) -> dict[str, float]:
    """Image scores by name in the folder; of a web's file, that of its highest line.

    Most of an NG recording is good: a score for each of its strips would call those defects.
    A file of which nothing is inspected has none. Empty if the recipe names no NG images.
    """
    folder = task.recipe.images.ng
    if folder is None:
        return {}
    files = list_images(folder)
    with task.steps.step("score NG images") as progress:
        if isinstance(stages, WebStages):
            return _of_webs(task, stages, files, folder, progress)
        scores = {}
        for number, file in enumerate(files):
            scores[name_in(folder, file)] = stages.measure(task.bench.load(file)).score
            progress(number + 1, len(files))
        return scores


def _of_webs(
    task: BuildTask, stages: WebStages, files: list[Path], folder: Path, progress: OnProgress
) -> dict[str, float]:
    scores: dict[str, float] = {}
    done = 0
    for web in [files] if task.recipe.images.joined else [[file] for file in files]:
        ends: list[int] = []

        def blocks(web: list[Path] = web, ends: list[int] = ends) -> Iterator[NDArray[Any]]:
            for file in web:
                pixels = task.bench.load(file)
                ends.append(len(pixels) + (ends[-1] if ends else 0))
                yield pixels

        for _, strip, _ in stages.strips(blocks()):
            peaks = (strip.values / stages.lanes.times).max(axis=1)
            # What is said of lines is said after they came: their file's end is known.
            lines = strip.first_line + np.arange(len(peaks)) * stages.patch_stride_px
            of = np.searchsorted(ends, lines, "right")
            for row in np.flatnonzero(strip.inspected.any(axis=1)):
                name = name_in(folder, web[of[row]])
                scores[name] = max(scores.get(name, 0.0), float(peaks[row]))
        done += len(web)
        progress(done, len(files))
    return scores
