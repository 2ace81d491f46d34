"""What is trained beside which backbone: the recipe's, or one of each member's own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kenpin.compile.backbones import BACKBONES, Backbone, Built, build_backbone
from kenpin.compile.backbones.several import SideBySide, SomeTaps
from kenpin.compile.training.head import HeadPlan, MemberPlan
from kenpin.compile.training.plain import PlainNetwork
from kenpin.config.backbone import BackboneSpec
from kenpin.config.errors import ConfigError
from kenpin.config.recipe import Recipe
from kenpin.config.trained import TrainedSpec

__all__ = ["Planned", "plan_for"]

# Of the map of a method that looks at no backbone.
GRID_PX = 8


@dataclass(frozen=True)
class Planned:
    """What a head is made for, and what the manifest says about it.

    name            of the backbone, or of all of them; "none" where nothing looks at one
    layers          that are tapped
    weights_sha256  of what they were given; None if none needs any
    """

    plan: HeadPlan
    name: str
    layers: tuple[str, ...]
    weights_sha256: str | None


@dataclass(frozen=True)
class _LookedAt:
    """A backbone that one or more methods look at.

    first  number of its first tap among those of all backbones
    """

    spec: BackboneSpec
    built: Built
    channels: int
    first: int

    def fresh(self, taps: Backbone) -> Backbone:
        """Another network with these taps, its weights drawn at random."""
        family = BACKBONES.find(self.spec.name)
        if family.weights is None:
            return PlainNetwork(taps.taps, self.channels)
        return family.make(tuple(tap.layer for tap in taps.taps), self.channels)

    def tapped(self, strides: Sequence[int]) -> SomeTaps:
        """What a method taps that asks for these strides."""
        layers = self.spec.layers or BACKBONES.find(self.spec.name).default_layers(strides)
        if not layers:
            raise ConfigError(
                f"backbone {self.spec.name} has no layer of the strides "
                f"{', '.join(map(str, strides))} that a member taps; give its backbone layers"
            )
        network = self.built.network
        return SomeTaps(network, [n for n, tap in enumerate(network.taps) if tap.layer in layers])


def plan_for(recipe: Recipe, method: TrainedSpec, weights: Path | None) -> Planned:
    """Each backbone once, however many methods look at it, and what each of these looks at.

    Parameters
    ----------
    weights
        Of the recipe's own backbone, instead of its file.

    Raises
    ------
    ConfigError
        If tiles, layers and method do not fit each other, or the weights cannot be had.
    """
    own, channels = recipe.backbone, recipe.frame.channels
    # Where nothing looks at it, its name is at least one that there is.
    BACKBONES.find(own.name)
    looks = [(_on_grid(spec, own), strides) for spec, strides in method.looks_at(own)]
    web = recipe.frame.geometry == "continuous"
    found = _backbones([look for look in looks if look[1]], own, channels, weights, web=web)
    networks = [one.built.network for one in found.values()]
    backbone = networks[0] if len(networks) == 1 else SideBySide(networks)
    grids = [one.built.grid_px for one in found.values()] or [own.grid_px or GRID_PX]
    grid = min(grids)
    _fits(recipe, backbone, grid)

    def plan(seen: Backbone, fresh: partial[Backbone], *members: MemberPlan) -> HeadPlan:
        size, halo = recipe.tiles.size_px, recipe.tiles.halo_px
        return HeadPlan(seen, fresh, channels, size, grid, halo, members)

    members = []
    for spec, strides in looks if len(looks) > 1 else []:
        if not strides:
            members.append(MemberPlan(plan(SideBySide([]), partial(_all_fresh, [])), ()))
            continue
        one = found[spec]
        seen = one.tapped(strides)
        numbers = tuple(one.first + number for number in seen.numbers)
        members.append(MemberPlan(plan(seen, partial(one.fresh, seen)), numbers))
    return Planned(
        plan(backbone, partial(_all_fresh, list(found.values())), *members),
        " and ".join(spec.name for spec in found) or "none",
        _layers(list(found.values())),
        _digest([one.built.weights_sha256 for one in found.values()]),
    )


def _on_grid(spec: BackboneSpec, own: BackboneSpec) -> BackboneSpec:
    """With the recipe's grid, which the maps of all members lie on."""
    return spec.model_copy(update={"grid_px": own.grid_px})


def _backbones(
    looks: Sequence[tuple[BackboneSpec, tuple[int, ...]]],
    own: BackboneSpec,
    channels: int,
    weights: Path | None,
    *,
    web: bool,
) -> dict[BackboneSpec, _LookedAt]:
    """Each that is looked at, with all layers that anybody taps."""
    strides: dict[BackboneSpec, set[int]] = {}
    for spec, asked in looks:
        strides.setdefault(spec, set()).update(asked)
    found: dict[BackboneSpec, _LookedAt] = {}
    first = 0
    for spec, every in strides.items():
        file = weights if spec == own else None
        built = build_backbone(spec, sorted(every), channels, file, web=web)
        built.network.requires_grad_(requires_grad=False)
        found[spec] = _LookedAt(spec, built, channels, first)
        first += len(built.network.taps)
    return found


def _fits(recipe: Recipe, backbone: Backbone, grid_px: int) -> None:
    size, halo = recipe.tiles.size_px, recipe.tiles.halo_px
    units = {tap.stride_px: f"the stride of {tap.layer}" for tap in backbone.taps}
    unit = max([grid_px, *units])
    if size % unit:
        what = units.get(unit, "the distance of its places")
        raise ConfigError(
            f"tiles.size_px {size} is not a multiple of {unit}, {what}, and the map would be "
            "stretched; use a multiple of it"
        )
    if halo % grid_px:
        raise ConfigError(
            f"tiles.halo_px {halo} is not a multiple of {grid_px}, the distance of the places of "
            "the map (`backbone.grid_px`); use a multiple of it"
        )


def _all_fresh(found: Sequence[_LookedAt]) -> Backbone:
    fresh = [one.fresh(one.built.network) for one in found]
    return fresh[0] if len(fresh) == 1 else SideBySide(fresh)


def _layers(found: Sequence[_LookedAt]) -> tuple[str, ...]:
    several = len(found) > 1
    return tuple(
        f"{one.spec.name}.{tap.layer}" if several else tap.layer
        for one in found
        for tap in one.built.network.taps
    )


def _digest(digests: Sequence[str | None]) -> str | None:
    """The only one, or one of all."""
    known = [one for one in digests if one is not None]
    if len(known) < 2:
        return known[0] if known else None
    return hashlib.sha256("".join(known).encode()).hexdigest()
