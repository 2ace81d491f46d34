"""The method of a network that somebody else made: all that it knows was learned elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kenpin.compile.backbones import Tap
from kenpin.compile.fitting import Embedding, FitTask, LoadArrays
from kenpin.compile.leave_out import LeaveOut
from kenpin.config.errors import ConfigError
from kenpin.config.imported import ImportedSpec
from kenpin.runtime.judging.imported import ImportedScorer
from kenpin.runtime.judging.scoring import Scorer

__all__ = ["IMPORTED"]

F32 = NDArray[np.float32]


class _SameFeatures:
    """A network that is as it is forgets nothing; see `LeaveOut`."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def without(self, part: int) -> Scorer:  # noqa: ARG002
        """See `LeaveOut`."""
        return self._scorer


class _ImportedFitting:
    """See `Forgetting`: nothing is learned here."""

    def embedding(
        self,
        taps: Sequence[Tap],  # noqa: ARG002
        grid_px: int,  # noqa: ARG002
        spec: ImportedSpec,  # noqa: ARG002
        margin: int,  # noqa: ARG002
    ) -> Embedding:
        """See `Fitting`."""
        raise ConfigError("method imported judges by a network of your own: name it in [model]")

    def fit(self, spec: ImportedSpec, task: FitTask) -> dict[str, int]:  # noqa: ARG002
        """See `Fitting`: only what was learned elsewhere counts."""
        return {}

    def probe(
        self,
        spec: ImportedSpec,
        features: F32,  # noqa: ARG002
        rng: np.random.Generator,  # noqa: ARG002
    ) -> ImportedScorer:
        """See `Fitting`."""
        return ImportedScorer(spec)

    def leave_outs(self, spec: ImportedSpec, task: FitTask, load: LoadArrays) -> list[LeaveOut]:  # noqa: ARG002
        """See `Forgetting`."""
        return [_SameFeatures(load({})) for _ in task.ways]


IMPORTED = _ImportedFitting()
