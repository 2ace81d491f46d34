"""Golden frames: images in the bundle whose scores every box must reproduce."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.camera.files.images import write_png
from kenpin.compile.build_task import BuildTask
from kenpin.compile.good_images.places import NOTHING_INSPECTED
from kenpin.compile.good_images.web_middle import middle_of, taken_off
from kenpin.compile.networks.twins import TWIN_KINDS, twin
from kenpin.config.errors import ConfigError
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
    """Good frames and twins of them, stored with their scores.

    Raises
    ------
    ConfigError
        If nothing is inspected in any of them.
    """
    rng = task.random(GOLDEN_STREAM)
    sources = rng.permutation(len(task.images.files))
    (task.folder / "golden").mkdir()
    golden = []
    images = (found for source in sources if (found := _image(task, stages, int(source))))
    chosen = islice(images, max(GOLDEN_GOOD, GOLDEN_TWINS))
    for number, (pixels, counts) in enumerate(chosen):
        kinds = {"good": pixels} if number < GOLDEN_GOOD else {}
        if number < GOLDEN_TWINS:
            kinds["twin"] = pixels.copy()
            kinds["twin"][counts] = twin(pixels[counts], TWIN_KINDS[number], rng)
        for kind, image in kinds.items():
            name = f"golden/{kind}-{number}.png"
            write_png(task.folder / name, image)
            if isinstance(stages, WebStages):
                score = max(stages.scores([image]))
            else:
                score = stages.measure(image).score
            golden.append(
                GoldenFrame.model_validate(
                    {"file": name, "kind": kind, "score": score, "tolerance": GOLDEN_TOLERANCE}
                )
            )
    if not golden:
        raise ConfigError(NOTHING_INSPECTED)
    return golden


def _image(
    task: BuildTask, stages: Stages | WebStages, source: int
) -> tuple[NDArray[Any], slice] | None:
    """What is stored of a good file, and which of its lines count; None if none would.

    Of a web two tile rows and a part: the first, a later one, and the end of a web.
    """
    images, everything = task.images, slice(None)
    if not isinstance(stages, WebStages):
        return task.bench.load(images.files[source]), everything
    web, lines = task.recipe.web, 5 * stages.grid.core // 2
    if web is None or not web.has_ends:
        pixels = task.bench.load(images.files[source])
        return np.ascontiguousarray(pixels[:lines]), everything
    # A box judges it as a web of its own, whose ends are left out in their turn.
    (files,) = (files for files in images.webs if images.files[source] in files)
    blocks = [task.bench.load(file) for file in files]
    (first, end), (before, after) = middle_of(web, blocks), taken_off(web)
    if end - first < stages.patch_stride_px:
        return None
    whole = np.concatenate(blocks)
    low, high = max(0, first - before), min(len(whole), end + after)
    height = min(high - low, before + lines + after)
    own = sum(map(len, blocks[: files.index(images.files[source])]))
    start = min(max(own, low), high - height)
    piece = np.ascontiguousarray(whole[start : start + height])
    return (piece, slice(before, height - after)) if stages.scores([piece]) else None
