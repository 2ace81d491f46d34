"""A network and its statistics at work: in a build, and in a worker that takes a part of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.compile.good_images.images import load
from kenpin.compile.good_images.places import InspectedPlaces
from kenpin.compile.methods.feature_reader import FeatureReader
from kenpin.config.errors import ConfigError
from kenpin.config.recipe import Recipe
from kenpin.runtime.bundles.manifest import FeatureRecord, GreyRange
from kenpin.runtime.judging.blend import Look
from kenpin.runtime.judging.engine import Engine
from kenpin.runtime.judging.inferred import Inferred, infer
from kenpin.runtime.judging.join import Joiner
from kenpin.runtime.judging.lamp import Lamp
from kenpin.runtime.judging.network import load_mask
from kenpin.runtime.judging.pipeline import Stages
from kenpin.runtime.judging.scoring import Scorer, load_scorer
from kenpin.runtime.judging.tile_network import TileNetwork
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.web.stages import WebStages

__all__ = ["NETWORK", "Workbench"]

F32 = NDArray[np.float32]

# In the folder of a bundle.
NETWORK = "features.xml"


@dataclass(frozen=True)
class Workbench:
    """What reads and judges images as a bundle in the making would.

    recipe    with what only the network could tell
    features  what the network gives for one tile
    engine    runs the network that goes into the bundle
    folder    of the bundle in the making: its statistics, as far as they are fitted
    """

    recipe: Recipe
    features: FeatureRecord
    grey: GreyRange
    engine: Engine
    folder: Path

    @property
    def grid(self) -> TileGrid:
        """How a frame is cut."""
        return TileGrid.of(self.recipe.frame, self.recipe.tiles)

    @property
    def lamp(self) -> Lamp:
        """Brings frames to the brightness of the good images."""
        return Lamp(self.grey.even_to)

    def load(self, file: Path) -> NDArray[Any]:
        """An image as the recipe's frame."""
        return load(file, self.recipe.frame, self.recipe.images.turn_deg)

    def reader(self) -> FeatureReader:
        """Gives features of image files."""
        return FeatureReader(
            self.engine, self.grid, self.recipe.frame, self.recipe.images, self.lamp, self.places
        )

    @property
    def places(self) -> InspectedPlaces | None:
        """What of the good images statistics are made of; None: of all."""
        joiner = Joiner(self.grid, self.features.patch_stride_px)
        return InspectedPlaces.of(joiner, self.recipe.web, self._mask())

    def scorer(self, arrays: Mapping[str, F32]) -> Scorer:
        """The recipe's method with its statistics."""
        return load_scorer(arrays, self.recipe.method, self.features, self.grid)

    def infer(self, pixels: NDArray[Any], engine: Engine | None = None) -> Inferred:
        """A part's image through the network; `engine`: what makes features, if not its own."""
        return infer(engine or self.engine, self.grid, self.lamp, pixels)

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
        recipe, stride = self.recipe, self.features.patch_stride_px
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
        return Stages(network, self._mask())

    def _mask(self) -> F32 | None:
        # Asked for every image: the statistics beside it may be large, and are not looked at.
        file = self.folder / "mask.npy"
        found = {"mask": np.load(file)} if file.exists() else {}
        return load_mask(found, self.grid, self.features.patch_stride_px)
