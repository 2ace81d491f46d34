"""Fitting the baseline: the mean and deviation of the grey of squares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kenpin.compile.backbones import Tap
from kenpin.compile.methods.fitting import Embedding, FitTask, LoadArrays
from kenpin.compile.methods.leave_out import LeaveOut
from kenpin.config.errors import ConfigError
from kenpin.config.methods import BaselineSpec
from kenpin.runtime.judging.baseline import BaselineScorer
from kenpin.runtime.judging.scoring import Scorer

__all__ = ["BASELINE"]

F32 = NDArray[np.float32]


class _Core(Embedding):
    """The one tap of the backbone `grey`, of the core alone."""

    def __init__(self, margin: int) -> None:
        super().__init__()
        self.dimensions = 1
        self._margin = margin

    def forward(self, taps: list[Tensor]) -> Tensor:
        """See `Embedding`."""
        m = self._margin
        return taps[0][:, :, m:-m, m:-m] if m else taps[0]


class _Same:
    """A scorer that has no say forgets nothing; see `LeaveOut`."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def without(self, part: int) -> Scorer:  # noqa: ARG002
        """See `LeaveOut`."""
        return self._scorer


class _BaselineFitting:
    """See `Forgetting`."""

    def embedding(
        self,
        taps: Sequence[Tap],
        grid_px: int,
        spec: BaselineSpec,  # noqa: ARG002
        margin: int,
    ) -> _Core:
        """See `Fitting`."""
        if len(taps) != 1 or taps[0].stride_px != grid_px:
            raise ConfigError(
                "method baseline looks at the grey of squares and at no other layer or grid; "
                "remove the table [backbone]"
            )
        return _Core(margin)

    def fit(self, spec: BaselineSpec, task: FitTask) -> dict[str, int]:  # noqa: ARG002
        """See `Fitting`."""
        with task.steps.step("fit the grey of squares") as progress:
            count, total, squares = 0, 0.0, 0.0
            for features in task.reader.read(task.files, progress=progress):
                grey = features.astype(np.float64)
                count += grey.size
                total += float(grey.sum())
                squares += float((grey * grey).sum())
        mean = total / count
        deviation = max(1.0, (max(0.0, squares / count - mean * mean)) ** 0.5)
        np.save(task.folder / "grey.npy", np.array([mean, deviation], np.float32))
        return {"squares": count}

    def probe(
        self,
        spec: BaselineSpec,  # noqa: ARG002
        features: F32,
        rng: np.random.Generator,  # noqa: ARG002
    ) -> BaselineScorer:
        """See `Fitting`."""
        return BaselineScorer(float(features.mean()), max(1.0, float(features.std())))

    def leave_outs(self, spec: BaselineSpec, task: FitTask, load: LoadArrays) -> list[LeaveOut]:  # noqa: ARG002
        """See `Forgetting`: the bands forget, and nothing else counts."""
        scorer = load({"grey": np.load(task.folder / "grey.npy")})
        return [_Same(scorer) for _ in task.ways]


# The workstation's half of the method `baseline`.
BASELINE = _BaselineFitting()
