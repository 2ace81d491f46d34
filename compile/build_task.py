"""What the steps of a build share, once the network is quantised."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from kenpin.compile.good_images.images import GoodImages
from kenpin.compile.prepare import Prepared
from kenpin.compile.progress import Steps
from kenpin.compile.workbench import Workbench
from kenpin.config.recipe import Recipe
from kenpin.processes.cluster import Workers
from kenpin.runtime.bundles.manifest import FeatureRecord, GreyRange
from kenpin.runtime.judging.engine import Engine
from kenpin.runtime.judging.tiling import TileGrid

__all__ = ["BuildTask"]


@dataclass(frozen=True)
class BuildTask:
    """A recipe, its images and its network at work.

    engine   runs the network that goes into the bundle
    apart    runs what judges good images as if never seen, where that is another network
    folder   of the bundle in the making
    scratch  for what no bundle holds; removed at the end
    cluster  whose workers take a part of the long steps; None: all is done here
    """

    prepared: Prepared
    images: GoodImages
    grey: GreyRange
    engine: Engine
    folder: Path
    scratch: Path
    steps: Steps
    apart: Engine | None = None
    cluster: Workers | None = None

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

    @cached_property
    def bench(self) -> Workbench:
        """Reads and judges images with the network and what is fitted."""
        return Workbench(self.recipe, self.features, self.grey, self.engine, self.folder)
