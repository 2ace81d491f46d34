"""What may be changed in a recipe, and a recipe with some of it changed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

from kenpin.compile.backbones import BACKBONES, build_backbone
from kenpin.config.backbone import BackboneSpec
from kenpin.config.errors import ConfigError
from kenpin.config.methods import METHODS
from kenpin.config.recipe import Recipe
from kenpin.config.toml import toml_of
from kenpin.config.trained import TrainedSpec

__all__ = ["Option", "Space", "usable_backbones"]

# What a setting may be; None: left out of the recipe, so that its default holds.
Option = str | int | float | None
Tree = dict[str, Any]

SEARCHED = ("padim", "patchcore")
# Pixels of a tile and of its halo.
TILES = ((192, 32), (256, 16), (256, 32), (320, 32), (512, 32), (512, 64))
# Tiles of a frame may hold so many times its pixels: more is waste.
MOST_PIXELS = 4.0
GRIDS = (4, 8, 16)
SMOOTH = (2.0, 4.0, 8.0, 12.0)
BATCHES = (1, 4, 8, 16)
DIMENSIONS = (20, 40, 80, 120)
ROWS = (250, 1000, 2000, 4000, 8000)
# What a recipe may say in its place, but not beside it.
RIVALS = {"method.dimensions": "feature_ratio", "method.coreset_rows": "coreset_ratio"}
PLACES = (0.0, 2.0, 4.0)
PARTS_GRANULARITY = ("dense", "1/4", "1/16", "single")
WEBS_GRANULARITY = ("columns", "single")


class Space:
    """The settings that are searched, around a recipe whose own values are among them.

    recipe     the user's, its paths absolute
    backbones  name, and weights file where it needs one that no package brings

    Raises ConfigError if one of them cannot be had with the weights that it is given.
    """

    def __init__(self, recipe: Recipe, backbones: Mapping[str, Path | None]) -> None:
        self._tree: Tree = recipe.model_dump(mode="json")
        self._web = recipe.web is not None
        self._recipe = recipe
        own = recipe.backbone
        self._backbones = {own.name: own.weights, **backbones}
        # Half an hour of attempts is too late to learn that weights cannot be read.
        self._layers = {name: self._readable(name) for name in self._backbones}

    def suggest(self, choose: Callable[[str, tuple[Option, ...]], Any]) -> dict[str, Option]:
        """A value for each setting, by its key; method's and backbone's own come after them."""
        own = self.own()
        chosen: dict[str, Option] = {}

        def ask(key: str, options: tuple[Option, ...], where: str = "") -> Option:
            # Some keys mean the same under any method or backbone, others do not.
            mine = own.get(key)
            same = key in own and where == _where(own, key)
            every = (*options, mine) if same and mine not in options else options
            chosen[key] = choose(f"{key} {where}".strip(), every)
            return chosen[key]

        method = ask("method.name", self._methods())
        backbone = str(ask("backbone.name", tuple(self._backbones)))
        ask("backbone.layers", self._tapped(backbone), backbone)
        ask("backbone.grid_px", (None, *GRIDS))
        ask("tiles", self._tiles())
        ask("score.smooth_sigma_px", () if self._keeps_its_blur() else SMOOTH)
        ask("engine.batch", BATCHES)
        if method == "padim":
            ask("method.dimensions", DIMENSIONS, "padim")
            fine = WEBS_GRANULARITY if self._web else PARTS_GRANULARITY
            ask("method.granularity", fine, "padim")
        if method == "patchcore":
            ask("method.coreset_rows", ROWS, "patchcore")
            if not self._web:
                ask("method.position_weight", PLACES, "patchcore")
        return chosen

    def own(self) -> dict[str, Option]:
        """What the user's recipe says, in the same words."""
        recipe = self._recipe
        method, backbone = recipe.method, recipe.backbone
        found: dict[str, Option] = {
            "method.name": method.name,
            "backbone.name": backbone.name,
            "backbone.layers": "+".join(backbone.layers) if backbone.layers else None,
            "backbone.grid_px": backbone.grid_px,
            "tiles": f"{recipe.tiles.size_px}/{recipe.tiles.halo_px}",
            "score.smooth_sigma_px": recipe.score.smooth_sigma_px,
            "engine.batch": recipe.engine.batch,
        }
        table = method.model_dump()
        for key in ("dimensions", "granularity", "coreset_rows", "position_weight"):
            if key in table:
                found[f"method.{key}"] = table[key]
        return found

    def first(self) -> dict[str, Option]:
        """The user's own recipe, as Optuna names what it suggests."""
        own = self.own()
        if own["method.name"] not in self._methods():
            return {}
        return {f"{key} {_where(own, key)}".strip(): value for key, value in own.items()}

    def text(self, chosen: Mapping[str, Option]) -> str:
        """The recipe with these values, as TOML; its paths are absolute."""
        tree, own = copy.deepcopy(self._tree), self.own()
        for table in ("method", "backbone", "tiles", "score", "engine"):
            tree.setdefault(table, {})
        if tree["method"]["name"] != chosen["method.name"]:
            kept = {key: tree["method"][key] for key in ("share",) if key in tree["method"]}
            tree["method"] = {"name": chosen["method.name"], **kept}
        for key, value in chosen.items():
            if key == "tiles" and value == own["tiles"]:
                # With all that the user says of them.
                continue
            if key == "tiles":
                size, halo = str(value).split("/")
                tree["tiles"] = {"size_px": int(size), "halo_px": int(halo)}
                continue
            table, name = key.split(".")
            if value != own.get(key):
                # Two words for one thing: the user's own may be the other.
                tree[table].pop(RIVALS.get(key, ""), None)
            if value is None:
                tree[table].pop(name, None)
            else:
                tree[table][name] = str(value).split("+") if name == "layers" else value
        weights = self._backbones[str(chosen["backbone.name"])]
        tree["backbone"].pop("weights", None)
        if weights is not None:
            tree["backbone"]["weights"] = str(weights)
        return toml_of(tree) + "\n"

    def _keeps_its_blur(self) -> bool:
        """Whether the map's highest place is the score itself, as the method's defaults say."""
        method = self._recipe.method
        if not isinstance(method, TrainedSpec):
            return False
        return "smooth_sigma_px" in method.defaults_with(method.model_dump()).get("score", {})

    def _methods(self) -> tuple[Option, ...]:
        own = self._recipe.method.name
        # A method of somebody else's has settings that nobody here knows.
        return SEARCHED if own in SEARCHED else (own,)

    def _tapped(self, backbone: str) -> tuple[Option, ...]:
        """Runs of the layers that its weights reach; None: what each method taps by itself."""
        family, reached = BACKBONES.find(backbone), self._layers[backbone]
        asked = (METHODS.find(str(name)).settings.tap_strides for name in self._methods())
        all_there = all(set(family.default_layers(s)) <= set(reached) for s in asked)
        return (None, *_runs(reached)) if all_there else tuple(_runs(reached))

    def _readable(self, backbone: str) -> tuple[str, ...]:
        """The layers that its weights reach: a file may end before the network does."""
        weights, found = self._backbones[backbone], []
        refused: ConfigError | None = None
        for layer in BACKBONES.find(backbone).layers:
            spec = BackboneSpec(name=backbone, layers=(layer,), weights=weights)
            try:
                build_backbone(spec, (), self._recipe.frame.channels)
                found.append(layer)
            except ConfigError as error:
                refused = refused or error
        if not found and refused:
            raise refused
        return tuple(found)

    def _tiles(self) -> tuple[Option, ...]:
        frame = self._recipe.frame
        sides = [px for px in (frame.height_px, frame.width_px) if px]
        found = []
        for size, halo in TILES:
            cover, pixels = 1.0, 1.0
            for px in sides:
                cover *= -(-px // (size - 2 * halo)) * size
                pixels *= px
            if len(sides) == 1:
                cover, pixels = cover * size, pixels * (size - 2 * halo)
            if cover <= MOST_PIXELS * pixels:
                found.append(f"{size}/{halo}")
        return tuple(found)


def usable_backbones(asked: Mapping[str, Path | None]) -> dict[str, Path | None]:
    """The backbones that were asked for; or all that need no file nobody gave.

    Raises
    ------
    ConfigError
        If one is unknown.
    """
    if asked:
        for name in asked:
            BACKBONES.find(name)
        return dict(asked)
    found: dict[str, Path | None] = {"gabor": None}
    for name in ("efficientnet_lite0",):
        weights = BACKBONES.find(name).weights
        if weights and weights.packaged and find_spec(weights.packaged.package):
            found[name] = None
    return found


def _where(own: Mapping[str, Option], key: str) -> str:
    """Under which method or backbone a setting is meant; empty: under any."""
    if key == "backbone.layers":
        return str(own["backbone.name"])
    if key.startswith("method.") and key != "method.name":
        return str(own["method.name"])
    return ""


def _runs(layers: tuple[str, ...]) -> list[str]:
    """One layer, or two or three that follow each other."""
    twos = [f"{a}+{b}" for a, b in pairwise(layers)]
    threes = ["+".join(layers[k : k + 3]) for k in range(len(layers) - 2)]
    return [*layers, *twos, *threes]
