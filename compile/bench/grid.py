"""The grid of a bench: what is tried with what, and the recipe of each cell."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from kenpin.compile.layouts import ANY, laid_out
from kenpin.config.errors import ConfigError
from kenpin.config.methods import METHODS, own_backbone
from kenpin.config.recipe import Recipe
from kenpin.config.settings import Settings, anchored, load, problems

__all__ = ["Cell", "Grid", "cells_of", "load_grid"]

# Of a method that has no network.
NO_BACKBONE = "none"
Tree = dict[str, Any]


class GridChoice(Settings):
    """A method or a backbone: tables of a recipe under a name.

    name    in the table of results
    recipe  laid over what the grid and the data set say
    """

    name: str = Field(min_length=1)
    recipe: Tree = Field(default={})


class DataSet(GridChoice):
    """A data set: what it is read from, and what a recipe must say of it, such as [frame].

    source    a folder, an archive, or a list; relative to the grid's file
    layout    see `images.layout`
    category  one of several products in it
    """

    source: Path
    layout: str = ANY
    category: str | None = None


class Grid(Settings):
    """A file GRID.toml: every method on every backbone on every data set with every seed.

    recipe  what all have in common
    """

    sets: tuple[DataSet, ...] = Field(min_length=1)
    methods: tuple[GridChoice, ...] = Field(min_length=1)
    backbones: tuple[GridChoice, ...] = (GridChoice(name="gabor"),)
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    recipe: Tree = Field(default={})

    @model_validator(mode="after")
    def _each_has_its_name(self) -> Self:
        for what in ("sets", "methods", "backbones", "seeds"):
            names = [getattr(one, "name", one) for one in getattr(self, what)]
            if len(set(names)) < len(names):
                raise ValueError(f"{what}: two are called the same; give each a name of its own")
        return self


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One recipe to compile, and what it is measured on.

    dataset  the folder that its data set is laid out in
    tree     of the recipe, as a file would say it
    """

    set: str
    method: str
    backbone: str
    seed: int
    dataset: Path
    tree: Tree

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.set}, {self.method}, {self.backbone}, seed {self.seed}"

    @property
    def recipe(self) -> Recipe:
        """The recipe.

        Raises
        ------
        ConfigError
            If its settings do not fit each other.
        """
        try:
            return Recipe.model_validate(self.tree)
        except ValidationError as error:
            raise ConfigError(f"{self.label}: {problems(error)}") from None


def load_grid(file: Path) -> Grid:
    """The grid in a TOML file, its paths made absolute.

    Raises
    ------
    ConfigError
        If it cannot be read, or holds an unknown, missing or impossible setting.
    """
    return anchored(load(Grid, file), file.resolve().parent)


def cells_of(grid: Grid) -> Iterator[Cell]:
    """Every cell, data set by data set; each data set is laid out when its turn comes.

    A method without a network has one cell for all backbones.

    Raises
    ------
    ConfigError, ImageError
        If a data set cannot be read.
    """
    for dataset in grid.sets:
        folder = laid_out(dataset.source, dataset.layout, dataset.category)
        said = {"images": {"good": folder / "train" / "good"}}
        common = _over(_over(grid.recipe, dataset.recipe), said)
        for method, backbone in itertools.product(grid.methods, grid.backbones):
            table = method.recipe.get("method", {"name": method.name})
            alone = own_backbone(table) is not None
            if alone and backbone is not grid.backbones[0]:
                continue
            chosen = {} if alone else _over({"backbone": {"name": backbone.name}}, backbone.recipe)
            tree = _over(_over(common, chosen), _over({"method": table}, method.recipe))
            for seed in grid.seeds:
                name = NO_BACKBONE if alone else backbone.name
                yield Cell(dataset.name, method.name, name, seed, folder, _seeded(tree, seed))


def _seeded(tree: Tree, seed: int) -> Tree:
    """With the seed wherever a recipe has one."""
    method = _seeded_method(tree["method"], seed)
    return _over({"name": "bench"}, _over(tree, {"images": {"seed": seed}, "method": method}))


def _seeded_method(table: Mapping[str, Any], seed: int) -> Tree:
    method = dict(table)
    if "seed" in _fields_of(method):
        method["seed"] = seed
    members = method.get("members")
    if isinstance(members, Sequence):
        method["members"] = [
            _seeded_method(one, seed) if isinstance(one, Mapping) else one for one in members
        ]
    return method


def _fields_of(method: Mapping[str, Any]) -> Mapping[str, Any]:
    name = method.get("name")
    return METHODS.find(name).settings.model_fields if isinstance(name, str) else {}


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> Tree:
    """Tables laid over tables: what is above counts, key by key."""
    both = {name: _over(below[name], value) for name, value in above.items()
            if isinstance(value, Mapping) and isinstance(below.get(name), Mapping)}  # fmt: skip
    return {**below, **above, **both}
