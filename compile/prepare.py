"""A recipe and its images looked through before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kenpin.compile.good_images.doubts import doubts_about
from kenpin.compile.good_images.images import GoodImages, check_ng
from kenpin.compile.good_images.inspected import inspected_columns
from kenpin.compile.good_images.places import InspectedPlaces
from kenpin.compile.good_images.walk import GoodWalk
from kenpin.compile.importing.imported_network import ImportedNetwork
from kenpin.compile.importing.own_tiles import recipe_with_own_tiles
from kenpin.compile.layouts import recipe_with_images
from kenpin.compile.methods.fitting import fitting_of
from kenpin.compile.networks.network import FeatureNetwork, OwnNetwork
from kenpin.compile.networks.tiles_apart import tiles_apart
from kenpin.compile.progress import Steps
from kenpin.compile.training.fitting import MapFitting
from kenpin.compile.training.network import TrainedNetwork
from kenpin.config.backbone import BackboneSpec
from kenpin.config.errors import ConfigError
from kenpin.config.recipe import Recipe
from kenpin.config.web import WebSpec
from kenpin.runtime.judging.join import Joiner
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.web.lanes import EdgeTracker

__all__ = ["Prepared", "look_through", "prepare"]


@dataclass(frozen=True)
class Prepared:
    """A recipe whose settings were found to fit each other, before any image is read."""

    recipe: Recipe
    grid: TileGrid
    network: FeatureNetwork
    joiner: Joiner

    @property
    def web(self) -> WebSpec | None:
        """The recipe's web; None where frames show parts."""
        return self.recipe.web

    @cached_property
    def batch(self) -> int:
        """Tiles that go through the network at once: a frame of a web holds any number of rows."""
        asked = self.recipe.engine.batch
        return self.network.fitting_batch(
            asked if self.web is not None else min(asked, len(self.grid))
        )

    def walk(self, inspected: NDArray[np.float32] | None) -> GoodWalk:
        """Through the good images, of which so much is inspected; see `look_through`."""
        recipe = self.recipe
        places = InspectedPlaces.of(self.joiner, recipe.web, inspected)
        return GoodWalk(recipe.frame, recipe.images, self.grid, places)

    @property
    def edges(self) -> EdgeTracker | None:
        """What finds the edges of the recipe's web; None if it names none."""
        edges = self.web.edges if self.web else None
        if edges is None:
            return None
        return EdgeTracker(edges, self.grid.width, self.joiner.patch_stride)


def prepare(recipe: Recipe, weights: Path | None = None) -> Prepared:
    """Build the network, or import it, and check that tiles, layers and method fit.

    Raises
    ------
    ConfigError
        If they do not, or the weights cannot be had.
    """
    recipe = recipe_with_own_tiles(recipe_with_images(recipe))
    grid = TileGrid.of(recipe.frame, recipe.tiles)
    network = _network(recipe, weights)
    try:
        joiner = Joiner(grid, network.patch_stride_px)
    except ValueError as error:
        raise ConfigError(f"tiles: {error}") from None
    return Prepared(recipe.model_copy(update={"method": network.method}), grid, network, joiner)


def _network(recipe: Recipe, weights: Path | None) -> FeatureNetwork:
    if recipe.model is not None:
        _expect_no_other(recipe, weights)
        return ImportedNetwork(recipe)
    fitting = fitting_of(recipe.method)
    if isinstance(fitting, MapFitting):
        return TrainedNetwork(recipe, weights, fitting)
    return OwnNetwork(recipe, weights)


def _expect_no_other(recipe: Recipe, weights: Path | None) -> None:
    """A recipe with a network of its own names no second one, which would not be used."""
    usual = BackboneSpec()
    said = [
        f"backbone.{name}"
        for name in ("name", "layers", "weights")
        if getattr(recipe.backbone, name) != getattr(usual, name)
    ]
    said += ["--weights"] if weights else []
    if said:
        raise ConfigError(
            f"{', '.join(said)}: the recipe's table [model] names the network, and this would not "
            "be used; remove one of them"
        )


def look_through(prepared: Prepared, steps: Steps) -> tuple[GoodImages, NDArray[np.float32] | None]:
    """Read all that a build will read, and say what is odd about it.

    Returns
    -------
    The good images, and the map of what is inspected; None where all of the frame is.

    Raises
    ------
    ConfigError, ImageError
        If an image, the mask or a folder cannot be used.
    """
    recipe = prepared.recipe
    if isinstance(prepared.network, ImportedNetwork):
        steps.say(str(prepared.network))
        if prepared.network.input.twice:
            steps.say(f"warning: {prepared.network.input.twice}")
    inspected = inspected_columns(recipe, prepared.joiner)
    spec = recipe.images
    with steps.step("check images") as progress:
        images = GoodImages.check(spec, recipe.frame, prepared.grid, progress, prepared.edges)
    if isinstance(prepared.network, ImportedNetwork) and (
        apart := tiles_apart(prepared.network.file.name, prepared.network, recipe, images.files)
    ):
        whole = "; or let it see the frame as a whole, as it was trained: docs/import.md"
        steps.say(f"warning: {apart}{'' if recipe.web else whole}")
    if spec.ng is not None:
        with steps.step("check NG images") as progress:
            check_ng(spec.ng, recipe.frame, spec.turn_deg, images, progress)
    for doubt in doubts_about(images, recipe):
        steps.say(f"warning: {doubt}")
    return images, inspected
