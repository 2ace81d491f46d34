"""A method of the simplest kind: by how many standard deviations a patch is off the mean.

One file holds all of it. The box imports it, too, so torch is imported by the functions of
the workstation's half alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from kenpin.config.methods import Method, MethodSettings
from kenpin.runtime.bundles.manifest import FeatureRecord
from kenpin.runtime.judging.scoring import TileDistances, array_of
from kenpin.runtime.judging.sharing import model_count, model_of_tile
from kenpin.runtime.judging.tiling import TileGrid

F32 = NDArray[np.float32]
Index = NDArray[np.intp]


class ZScoreSettings(MethodSettings):
    """What a recipe may say: `[method]` with name = "zscore".

    least_deviation  of a feature; keeps one that never changes from deciding alone
    """

    name: Literal["zscore"]
    least_deviation: float = Field(default=1e-3, gt=0)


# -- on the box --------------------------------------------------------------------------------


@dataclass(frozen=True)
class ZScoreScorer:
    """K models, one for all tiles or one for each tile or column, as `share` says.

    mean, deviation  (K, D) float32
    model_of_tile    (tiles,) which of the models judges each tile
    """

    mean: F32
    deviation: F32
    model_of_tile: Index

    @property
    def search(self) -> None:
        """There is no bank of rows that the network could search."""

    def distances(self, features: F32, rows: Index | None = None) -> TileDistances:
        """(tiles, cells, cells, D) features to (tiles, cells, cells) distances."""
        model = self.model_of_tile
        off = (features - self.mean[model, None, None]) / self.deviation[model, None, None]
        return TileDistances(np.sqrt(np.mean(off * off, axis=-1)))


def load_zscore(
    arrays: Mapping[str, F32],
    method: ZScoreSettings,
    features: FeatureRecord,
    grid: TileGrid,
    threads: int | None = None,
    *,
    exhaustive: bool = False,
) -> ZScoreScorer:
    """The scorer that a bundle's arrays make; `array_of` refuses those that do not fit."""
    shape = (model_count(grid, method.share), features.dimensions)
    return ZScoreScorer(
        array_of(arrays, "mean", shape),
        array_of(arrays, "deviation", shape),
        model_of_tile(grid, method.share),
    )


# -- where bundles are compiled ----------------------------------------------------------------


class ZScoreFitting:
    """See `kenpin.compile.methods.fitting.Fitting`."""

    def embedding(
        self, taps: Sequence[Any], grid_px: int, spec: ZScoreSettings, margin: int
    ) -> Any:
        """All layers side by side: what PatchCore takes, without its neighbourhoods."""
        from kenpin.compile.methods.extractor import PatchCoreEmbedding
        from kenpin.config.methods import PatchCoreSpec

        alone = PatchCoreSpec(name="patchcore", neighbourhood=1)
        return PatchCoreEmbedding(taps, grid_px, alone, margin)

    def fit(self, spec: ZScoreSettings, task: Any) -> dict[str, int]:
        """Means and deviations of all good images, in one pass: memory does not grow."""
        models = model_count(task.grid, spec.share)
        members = model_of_tile(task.grid, spec.share)
        sums = np.zeros((2, models, task.reader.dimensions))
        count = np.zeros((models, 1))
        with task.steps.step("fit z-scores") as progress:
            for features in task.reader.read(task.files, progress=progress):
                for k in range(models):
                    patches = features[members == k].reshape(-1, features.shape[-1])
                    sums[0, k] += patches.sum(axis=0)
                    sums[1, k] += np.square(patches, dtype=np.float64).sum(axis=0)
                    count[k] += len(patches)
        mean = sums[0] / count
        variance = np.maximum(sums[1] / count - mean**2, spec.least_deviation**2)
        np.save(task.folder / "mean.npy", mean.astype(np.float32))
        np.save(task.folder / "deviation.npy", np.sqrt(variance).astype(np.float32))
        return {"patches": int(count.sum())}

    def probe(self, spec: ZScoreSettings, features: F32, rng: np.random.Generator) -> ZScoreScorer:
        """A scorer of one tile, by which FP32 and INT8 are compared."""
        patches = features.reshape(1, -1, features.shape[-1])
        deviation = np.maximum(patches.std(axis=1), spec.least_deviation)
        return ZScoreScorer(patches.mean(axis=1), deviation, np.zeros(1, np.intp))


FITTING = ZScoreFitting()
ZSCORE = Method(
    ZScoreSettings, "kenpin_example.method:load_zscore", "kenpin_example.method:FITTING"
)
