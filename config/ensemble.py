"""Ensembles: several methods as one network, with one map and one threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from kenpin.config.backbone import BackboneSpec
from kenpin.config.methods import MethodSettings, MethodSpec, for_webs, tables_of
from kenpin.config.settings import Settings
from kenpin.config.trained import DrawnSpec, TrainedSpec, trained

__all__ = ["ENSEMBLE", "EnsembleSpec", "MemberSpec"]


class MemberSpec(Settings):
    """A method of an ensemble: its table, and in it a backbone of its own, where it has one.

    method    not a key: the member's own table is that of a method, `name` and all
    backbone  that this member looks at; by default the recipe's
    """

    method: MethodSpec
    backbone: BackboneSpec | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_one_table(cls, table: Any) -> Any:
        if not isinstance(table, Mapping) or "method" in table:
            return table
        own = {name: value for name, value in table.items() if name != "backbone"}
        return {"method": own, "backbone": table.get("backbone")}

    @model_serializer(mode="wrap")
    def _as_one_table(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        tree: dict[str, Any] = handler(self)
        table: dict[str, Any] = tree["method"]
        return table if self.backbone is None else table | {"backbone": tree["backbone"]}

    def without_files(self) -> Self:
        """See `TrainedSpec`."""
        own = self.backbone and self.backbone.model_copy(update={"weights": None})
        return self.model_copy(update={"backbone": own})

    @field_validator("backbone")
    @classmethod
    def _on_one_grid(cls, own: BackboneSpec | None) -> BackboneSpec | None:
        if own is not None and own.grid_px is not None:
            raise ValueError(
                f"grid_px {own.grid_px} is said of one member, but the maps of all lie on one "
                "grid; move it to backbone.grid_px"
            )
        return own

    @field_validator("method")
    @classmethod
    def _gives_a_map(cls, method: MethodSettings) -> MethodSettings:
        if method.name in _KEPT:
            return _as_a_member(method)
        if not isinstance(method, TrainedSpec) or isinstance(method, EnsembleSpec):
            raise ValueError(
                f"is {method.name}; expected patchcore, padim, dfm or a method that is trained: "
                "stfpm, fastflow, reverse_distillation, cflow, efficientad, ganomaly, metric"
            )
        for name in ("minutes", "steps", "folds", "batch", "patience", "every"):
            if getattr(method, name) != TrainedSpec.model_fields[name].default:
                raise ValueError(
                    f"{name} is said for all members at once; move it to method.{name}"
                )
        return method


# What members have whose statistics lie within the network.
_KEPT = {
    "patchcore": "a member keeps coreset_rows patches for all places",
    "padim": "a member has the same Gaussians for all tiles",
    "dfm": "a member has the same directions for all tiles",
}
# What such statistics cannot do: they are the same for all tiles, a memory is one for all places,
# and its map has the last word.
_ALONE = ("share", "coreset", "coreset_ratio", "reweight_neighbours", "position_weight")


def _as_a_member(method: MethodSettings) -> MethodSettings:
    for name in _ALONE:
        if name not in type(method).model_fields:
            continue
        found, usual = getattr(method, name), type(method).model_fields[name].default
        if found != usual:
            raise ValueError(
                f"{name} is {found!r}, which {method.name} can only be alone: "
                f"{_KEPT[method.name]}; remove {name}"
            )
    return method


class EnsembleSpec(TrainedSpec):
    """Two or more methods, on one backbone or several: one network, one map, one threshold.

    members  the tables of the methods, each with a `backbone` of its own if it has one; how
             long and by what they are trained is said here
    join     "max" of their maps or their "sum", each divided by the level that its highest
             places in good tiles usually end at

    A member is `patchcore`, `padim`, `dfm` or a method that is trained. A member's defaults of
    other tables are the ensemble's: with `metric` or `ganomaly` among them
    `score.smooth_sigma_px = 0.0`, unless the recipe says otherwise; on a web each has those of its
    own method there.
    """

    name: Literal["ensemble"]
    members: tuple[MemberSpec, ...] = Field(min_length=2, max_length=4)
    join: Literal["max", "sum"] = "max"

    @model_validator(mode="after")
    def _learns_something(self) -> Self:
        for one in self.members:
            first = getattr(one.method, "distill_steps", 0)
            if self.steps <= first:
                raise ValueError(
                    f"steps {self.steps} end with the teacher's of {one.method.name}, {first}; "
                    "expected more"
                )
        return self

    @classmethod
    def in_a_web(cls, table: Mapping[str, Any]) -> dict[str, Any]:
        """See `MethodSettings`: each member's own defaults."""
        found, members = super().in_a_web(table), table.get("members")
        if isinstance(members, list | tuple):
            found["members"] = [
                for_webs(one) if isinstance(one, Mapping) else one for one in members
            ]
        return found

    @classmethod
    def defaults_with(cls, table: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
        """See `MethodSettings`: those of all members."""
        members = table.get("members")
        found: dict[str, Mapping[str, Any]] = {}
        for one in members if isinstance(members, Sequence) else ():
            for name, keys in tables_of(one if isinstance(one, Mapping) else {}).items():
                found[name] = {**found.get(name, {}), **keys}
        return found

    def unfit_for_webs(self) -> str:
        """See `MethodSettings`."""
        for number, one in enumerate(self.members):
            if why := one.method.unfit_for_webs():
                return why.replace("method.", f"method.members.{number}.")
        return ""

    def looks_at(self, backbone: BackboneSpec) -> tuple[tuple[BackboneSpec, tuple[int, ...]], ...]:
        """See `TrainedSpec`: one of each member."""
        return tuple((one.backbone or backbone, one.method.tap_strides) for one in self.members)

    def all_twins(self) -> dict[str, DrawnSpec]:
        """See `TrainedSpec`: its own, and those that members learn from."""
        members = {
            f"method.members.{number}.twins": one.method.twins
            for number, one in enumerate(self.members)
            if isinstance(one.method, TrainedSpec)
        }
        return super().all_twins() | members

    def without_files(self) -> Self:
        """See `TrainedSpec`."""
        return self.model_copy(
            update={"members": tuple(one.without_files() for one in self.members)}
        )


# The method of the name `ensemble`.
ENSEMBLE = trained(EnsembleSpec, "kenpin.compile.training.ensemble:ENSEMBLE")
