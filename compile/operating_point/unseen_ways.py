"""What judges good images as if their parts had never been seen, made of fitted statistics."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from kenpin.compile.methods.fitting import FitTask, fitting_of, leave_outs
from kenpin.compile.methods.leave_out import Unseen
from kenpin.compile.workbench import Workbench
from kenpin.runtime.judging.blend import Look
from kenpin.runtime.judging.engine import Engine

__all__ = ["unseen_ways"]


def unseen_ways(
    bench: Workbench,
    fitted: FitTask,
    webs: Sequence[Sequence[Path]],
    look: Look,
    engine: Engine | None = None,
) -> list[Unseen]:
    """For each of the ways to leave parts out; called after the fit.

    `engine` runs what judges good images as if never seen, where that is another network.
    """
    method = bench.recipe.method
    leaves = leave_outs(fitting_of(method), method, fitted, bench.scorer)
    stages_of = partial(bench.stages, look=look, engine=engine)
    infer = None if bench.recipe.web else partial(bench.infer, engine=engine)
    return [
        Unseen(stages_of, leave, way, webs, bench.load, infer)
        for leave, way in zip(leaves, fitted.ways, strict=True)
    ]
