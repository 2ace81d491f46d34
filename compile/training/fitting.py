"""The half of every trained method that stands where statistics are fitted: there are none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.compile.backbones import Tap
from kenpin.compile.methods.fitting import Embedding, FitTask, LoadArrays
from kenpin.compile.methods.leave_out import LeaveOut
from kenpin.compile.training.head import HeadPlan, TrainedHead
from kenpin.compile.training.pool import fold_of
from kenpin.config.errors import ConfigError
from kenpin.config.trained import TrainedSpec
from kenpin.runtime.judging.scoring import Scorer
from kenpin.runtime.judging.trained import MapScorer

__all__ = ["MapFitting"]

F32 = NDArray[np.float32]
Index = NDArray[np.intp]


@dataclass(frozen=True)
class _Folds:
    """Each part is judged by the network that was trained without it; see `LeaveOut`.

    of_part  (parts,) the fold of each, which is the number of the network's map
    """

    of_part: Index

    def without(self, part: int) -> Scorer:
        """See `LeaveOut`."""
        return MapScorer(int(self.of_part[part]))


@dataclass(frozen=True)
class MapFitting:
    """See `Forgetting`; what `Method.fitting` of a trained method names.

    head  makes what is trained: all that tells one method from another
    """

    head: Callable[[HeadPlan, Any], TrainedHead]

    def embedding(
        self,
        taps: Sequence[Tap],  # noqa: ARG002
        grid_px: int,  # noqa: ARG002
        spec: TrainedSpec,
        margin: int,  # noqa: ARG002
    ) -> Embedding:
        """See `Fitting`."""
        raise ConfigError(
            f"method {spec.name} trains a network of its own and judges by nobody else's features; "
            "remove the table [model]"
        )

    def fit(self, spec: TrainedSpec, task: FitTask) -> dict[str, int]:
        """See `Fitting`: all is in the networks by now."""
        return {"trainings": min(spec.folds, len(task.ways[0])) + 1}

    def probe(
        self,
        spec: TrainedSpec,  # noqa: ARG002
        features: F32,  # noqa: ARG002
        rng: np.random.Generator,  # noqa: ARG002
    ) -> MapScorer:
        """See `Fitting`."""
        return MapScorer()

    def leave_outs(self, spec: TrainedSpec, task: FitTask, load: LoadArrays) -> list[LeaveOut]:  # noqa: ARG002
        """See `Forgetting`: whichever way images are divided, each keeps to its own network."""
        parts = task.ways[0]
        folds = fold_of(len(parts), spec.folds)
        by_image = folds[parts.of_web]
        return [_Folds(folds if way is parts else by_image) for way in task.ways]
