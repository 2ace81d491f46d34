"""The method of a network that somebody else made: all that it knows was learned elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kenpin.compile.backbones import Tap
from kenpin.compile.methods.fitting import Embedding, FitTask, LoadArrays
from kenpin.compile.methods.leave_out import LeaveOut
from kenpin.compile.methods.levels import gains
from kenpin.config.errors import ConfigError
from kenpin.config.imported import ImportedSpec
from kenpin.runtime.judging.imported import ImportedScorer
from kenpin.runtime.judging.scoring import Scorer

__all__ = ["IMPORTED"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Index = NDArray[np.intp]

# In the scratch folder of a build.
PEAKS, IMAGES = "tile-peaks.npy", "tile-images.npy"


class _SameFeatures:
    """A network that is as it is forgets nothing; see `LeaveOut`."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def without(self, part: int) -> Scorer:  # noqa: ARG002
        """See `LeaveOut`."""
        return self._scorer


@dataclass(frozen=True)
class _OtherLevels:
    """Each tile in the measure of other parts; see `LeaveOut`.

    peaks    (images, tiles) the highest value of each good image in each tile
    of_part  (images,) the part that each shows
    """

    peaks: F64
    of_part: Index
    false_rejects: float
    load: LoadArrays

    def without(self, part: int) -> Scorer:
        """See `LeaveOut`."""
        found = gains(self.peaks, self.of_part != part, self.false_rejects)
        return self.load({"tile_gain": found.astype(np.float32)})


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

    def fit(self, spec: ImportedSpec, task: FitTask) -> dict[str, int]:
        """See `Fitting`: only what was learned elsewhere counts, and what it says of good tiles.

        Where each tile has a threshold of its own, `tile_gain.npy`, (tiles,), holds what its
        values are multiplied by; for `_OtherLevels` goes to `scratch` what they rest on.
        """
        if task.threshold.each == "frame":
            return {}
        scorer, peaks, images = ImportedScorer(spec), [], []
        with task.steps.step("levels of tiles") as progress:
            for unit in task.reader.units(task.files, progress=progress):
                peaks.append(scorer.peaks(unit.features))
                images.append(unit.web)
        np.save(task.scratch / PEAKS, np.stack(peaks))
        np.save(task.scratch / IMAGES, np.array(images, np.intp))
        every = np.ones(len(peaks), bool)
        gain = gains(np.stack(peaks), every, task.threshold.false_rejects)
        np.save(task.folder / "tile_gain.npy", gain.astype(np.float32))
        return {"images_per_tile": len(task.files)}

    def probe(
        self,
        spec: ImportedSpec,
        features: F32,  # noqa: ARG002
        rng: np.random.Generator,  # noqa: ARG002
    ) -> ImportedScorer:
        """See `Fitting`."""
        return ImportedScorer(spec)

    def leave_outs(
        self,
        spec: ImportedSpec,  # noqa: ARG002
        task: FitTask,
        load: LoadArrays,
    ) -> list[LeaveOut]:
        """See `Forgetting`."""
        if task.threshold.each == "frame":
            return [_SameFeatures(load({})) for _ in task.ways]
        peaks, images = np.load(task.scratch / PEAKS), np.load(task.scratch / IMAGES)
        return [
            _OtherLevels(
                peaks,
                np.array([way.of(int(image)) for image in images], np.intp),
                task.threshold.false_rejects,
                load,
            )
            for way in task.ways
        ]


# The workstation's half of the method `imported`.
IMPORTED = _ImportedFitting()
