"""What the steps of a build share, once the network is quantised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.compile.feature_reader import FeatureReader
from kenpin.compile.fitting import arrays_in
from kenpin.compile.images import GoodImages, load
from kenpin.compile.prepare import Prepared
from kenpin.compile.progress import Steps
from kenpin.config.errors import ConfigError
from kenpin.config.recipe import Recipe
from kenpin.runtime.bundles.manifest import FeatureRecord, GreyRange
from kenpin.runtime.judging.blend import Look
from kenpin.runtime.judging.engine import Engine
from kenpin.runtime.judging.lamp import Lamp
from kenpin.runtime.judging.network import load_mask
from kenpin.runtime.judging.pipeline import Stages
from kenpin.runtime.judging.scoring import Scorer, load_scorer
from kenpin.runtime.judging.tile_network import TileNetwork
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.web.stages import WebStages

__all__ = ["BuildTask"]

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class BuildTask:
    """A recipe, its images and its network at work.

    engine   runs the network that goes into the bundle
    apart    runs what judges good images as if never seen, where that is another network
    folder   of the bundle in the making
    scratch  for what no bundle holds; removed at the end
    """

    prepared: Prepared
    images: GoodImages
    grey: GreyRange
    engine: Engine
    folder: Path
    scratch: Path
    steps: Steps
    apart: Engine | None = None

    @property
    def recipe(self) -> Recipe:
        """What is asked for."""
        return self.prepared.recipe

    @property
    def grid(self) -> TileGrid:
        """How a frame is cut."""
        return self.prepared.grid

    @property
    def stride_px(self) -> int:
        """From one patch to the next."""
        return self.prepared.network.patch_stride_px

    @property
    def strips(self) -> bool:
        """Whether scores are of the strips of webs, not of parts."""
        return self.recipe.web is not None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the map that is joined at once: a frame's, or a web's one row."""
        rows, cols = self.prepared.joiner.shape
        return (1 if self.strips else rows), cols

    @property
    def lamp(self) -> Lamp:
        """Brings frames to the brightness of the good images."""
        return Lamp(self.grey.even_to)

    @cached_property
    def features(self) -> FeatureRecord:
        """What the network gives for one tile."""
        prepared = self.prepared
        return FeatureRecord(
            backbone=prepared.network.name,
            layers=prepared.network.layers,
            weights_sha256=prepared.network.weights_sha256,
            patch_stride_px=self.stride_px,
            cells=prepared.joiner.cells,
            dimensions=prepared.network.dimensions,
            batch=self.engine.batch,
            inference_precision="f32",
        )

    def random(self, stream: int) -> np.random.Generator:
        """For one kind of what is drawn at random, by the recipe's seed."""
        return np.random.default_rng([self.recipe.images.seed, stream])

    def load(self, file: Path) -> NDArray[Any]:
        """An image as the recipe's frame."""
        return load(file, self.recipe.frame, self.recipe.images.turn_deg)

    def reader(self) -> FeatureReader:
        """Gives features of image files."""
        return FeatureReader(
            self.engine, self.grid, self.recipe.frame, self.recipe.images, self.lamp
        )

    def scorer(self, arrays: Mapping[str, F32]) -> Scorer:
        """The recipe's method with its statistics."""
        return load_scorer(arrays, self.recipe.method, self.features, self.grid)

    def stages(
        self, scorer: Scorer, look: Look, engine: Engine | None = None
    ) -> Stages | WebStages:
        """The steps of the box, for parts or for webs.

        Parameters
        ----------
        engine
            What makes features, if not the bundle's network.

        Raises
        ------
        ConfigError
            If the web's lanes do not fit.
        """
        recipe, stride = self.recipe, self.stride_px
        score = recipe.score
        network = TileNetwork(
            self.grid, engine or self.engine, scorer, stride, score.smooth_sigma_px,
            look, self.lamp, score.seam_sigma_px,
        )  # fmt: skip
        if recipe.web is not None:
            try:
                return WebStages(network, recipe.web)
            except ValueError as error:
                raise ConfigError(f"web: {error}") from None
        mask = load_mask(arrays_in(self.folder), self.grid, stride)
        return Stages(network, mask)
