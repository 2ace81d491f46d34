"""Golden frames: images in the bundle whose scores every box must reproduce."""

from __future__ import annotations

import numpy as np

from kenpin.camera.files.images import write_png
from kenpin.compile.build_task import BuildTask
from kenpin.compile.networks.twins import TWIN_KINDS, twin
from kenpin.runtime.bundles.manifest import GoldenFrame
from kenpin.runtime.judging.pipeline import Stages
from kenpin.runtime.web.stages import WebStages

__all__ = ["golden_frames"]

# INT8 is exact on every processor, the float remainder differs in its last digits, and now
# and then PatchCore's search takes another row of two that are nearly as near.
GOLDEN_TOLERANCE = 0.005
GOLDEN_GOOD = 2
GOLDEN_TWINS = 2
# Of what a build draws at random: see `BuildTask.random`.
GOLDEN_STREAM = 3


def golden_frames(task: BuildTask, stages: Stages | WebStages) -> list[GoldenFrame]:
    """Good frames and twins of them, stored with their scores."""
    files, folder = task.images.files, task.folder
    rng = task.random(GOLDEN_STREAM)
    sources = rng.permutation(len(files))[: max(GOLDEN_GOOD, GOLDEN_TWINS)]
    (folder / "golden").mkdir()
    golden = []
    for number, source in enumerate(sources):
        pixels = task.bench.load(files[source])
        if isinstance(stages, WebStages):
            # Two tile rows and a part: the first, a later one, and the end of a web.
            pixels = np.ascontiguousarray(pixels[: 5 * stages.grid.core // 2])
        kinds = {"good": pixels} if number < GOLDEN_GOOD else {}
        if number < GOLDEN_TWINS:
            kinds["twin"] = twin(pixels, TWIN_KINDS[number], rng)
        for kind, image in kinds.items():
            name = f"golden/{kind}-{number}.png"
            write_png(folder / name, image)
            if isinstance(stages, WebStages):
                score = max(stages.scores([image]))
            else:
                score = stages.measure(image).score
            golden.append(
                GoldenFrame.model_validate(
                    {"file": name, "kind": kind, "score": score, "tolerance": GOLDEN_TOLERANCE}
                )
            )
    return golden
