"""Where OK ends: the table [threshold] of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from kenpin.config.settings import Settings, as_before

__all__ = ["Each", "Rate", "ReportSpec", "ThresholdSpec", "read_rate"]

# What settings of earlier recipes are called or done by now.
_GONE = {
    "false_reject_rate": "is called false_rejects now",
    "margin": "is no more: a threshold keeps its promise without; ask for fewer false_rejects",
}


def read_rate(value: Any) -> Any:
    """A share, also written as "2%"."""
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            # Exact for what people write: 0.1 % is 0.001.
            return float(f"{float(value.strip()[:-1]) / 100:.12g}")
        except ValueError:
            raise ValueError(f'{value!r}: expected a share such as 0.02 or "2%"') from None
    return value


# What has a threshold of its own: `column` is one of the map, `tile` a tile's core.
Each = Literal["frame", "tile", "lane", "column"]
Rate = Annotated[float, Field(gt=0, lt=1), BeforeValidator(read_rate)]


class ThresholdSpec(Settings):
    """Where OK ends.

    method         false_rejects: so many good parts are rejected. f1: the best F1 over the
                   good images and those in `images.ng`. cost: the cheapest over the same.
                   fixed: `ok` (and `ng`), as given
    false_rejects  so many of all good parts are rejected, 0.01 or "1%": told from the good
                   images' scores, each judged without its own part
    each           what has a threshold of its own: the whole frame, each tile (of a web,
                   each column of tiles), each lane of a web, or each column of the map. The
                   promise is still about frames or strips as a whole
    escape_cost    for cost: so many rejected good parts are as bad as one escaped defect
    ng_share       for cost: so many of all parts are NG, 0.01 or "1%"
    unsure_band    scores above `ok` and up to `ok` x (1 + unsure_band) are NG `unsure`
                   instead of `defect`; not for fixed, which has `ng`
    ok             for fixed: the largest score that is good
    ng             for fixed: scores above `ok` and up to here are NG `unsure`; by default
                   `ok`, so that none is
    """

    method: Literal["false_rejects", "f1", "cost", "fixed"] = "false_rejects"
    false_rejects: Rate = 0.01
    each: Each = "frame"
    escape_cost: float | None = Field(default=None, gt=0)
    ng_share: Rate = 0.01
    unsure_band: float = Field(default=0.0, ge=0)
    ok: float | None = Field(default=None, ge=0)
    ng: float | None = Field(default=None, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _as_it_is_called(cls, tree: Any) -> Any:
        for name, now in _GONE.items():
            if isinstance(tree, Mapping) and name in tree:
                raise ValueError(f"{name} {now}")
        if isinstance(tree, Mapping) and tree.get("method") == "held_out":
            raise ValueError(
                'method "held_out" is called "false_rejects" now, the default; nothing is held out'
            )
        return tree

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return as_before(self, handler(self), "each")

    @model_validator(mode="after")
    def _has_what_its_method_needs(self) -> Self:
        if self.method == "fixed" and self.ok is None:
            raise ValueError('method "fixed" needs `ok`: the largest score that is still good')
        if self.method != "fixed" and (self.ok is not None or self.ng is not None):
            raise ValueError(f'`ok` and `ng` belong to method "fixed", not to "{self.method}"')
        if self.ok is not None and self.ng is not None and self.ng < self.ok:
            raise ValueError(f"ng {self.ng} is below ok {self.ok}; expected ok <= ng")
        if (self.method == "cost") != (self.escape_cost is not None):
            raise ValueError(
                'method "cost" and `escape_cost` belong together: how many rejected good parts '
                "one escaped defect is worth; give both or neither"
            )
        return self


class ReportSpec(Settings):
    """What a build measures beside the bundle.

    twins_each  twins of each kind, size and contrast that say what is still found; 0: none
    speed_s     so long frames are judged to see how fast this machine is
    """

    twins_each: int = Field(default=10, ge=0, le=200)
    speed_s: float = Field(default=2.0, ge=0, le=60)
