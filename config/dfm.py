"""DFM: what may be set of it. It learns nothing by steps: one pass over the features is all."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from kenpin.config.methods import Method, MethodSettings

__all__ = ["DFM", "DfmSpec"]


class DfmSpec(MethodSettings):
    """Deep feature modelling (Ahuja et al., arXiv:1909.11786; Ndiour et al., arXiv:2203.10422).

    variance       of good features that the kept directions hold
    score          "reconstruction": how far a feature lies beside them; "likelihood": how
                   unlikely it is within them
    granularity    one model for all places, or one for each pixel column of the map
    neighbourhood  patches that are averaged, along a side
    """

    tap_strides: ClassVar[tuple[int, ...]] = (16,)

    name: Literal["dfm"]
    variance: float = Field(default=0.97, gt=0, lt=1)
    score: Literal["reconstruction", "likelihood"] = "reconstruction"
    granularity: Literal["single", "columns"] = "single"
    neighbourhood: Literal[1, 3, 5] = 1


# The method of the name `dfm`.
DFM = Method(DfmSpec, "kenpin.runtime.judging.padim:load_padim", "kenpin.compile.methods.dfm:DFM")
