"""The part of a verdict message that is about a web: lines, lanes, defects, gates."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from kenpin.runtime.judging.verdict import Outcome

__all__ = ["WebDefect", "WebGap", "WebGate", "WebLane", "WebPart"]

_Line = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
_Count = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
_Pixel = Annotated[int, Field(ge=0, le=2**31 - 1)]
_Name = Annotated[str, StringConstraints(max_length=64)]


def _whole(value: object) -> object:
    if isinstance(value, bool | float):
        raise ValueError(f"found {value!r}, expected the integer 1 (OK) or 2 (NG)")
    return value


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False, extra="ignore")


class WebLane(_Part):
    """One lane, on the lines that the verdict covers."""

    name: _Name
    verdict: Annotated[Outcome, BeforeValidator(_whole)] = Field(description="1 OK, 2 NG")
    reason: _Name | None = Field(description="why NG, null when OK")
    score: float | None = Field(description="dimensionless; null if nothing was inspected")
    thr: float = Field(description="OK at or below, this lane's own")
    thr_ng: float = Field(description="a defect above")
    ng_runs: tuple[tuple[_Line, _Line], ...] = Field(
        max_length=32, description="[first, end) lines with anything over thr"
    )


class WebDefect(_Part):
    """A connected region over threshold, however many frames it crosses."""

    number: int = Field(ge=1, description="1, 2, 3, … along the web")
    first_line: _Line
    end_line: _Line = Field(description="not included")
    left_px: _Pixel
    right_px: _Pixel = Field(description="not included")
    area_px: int = Field(ge=0, description="pixels over threshold")
    peak: float = Field(description="highest score")
    mean: float = Field(description="mean score over its area")
    peak_line: _Line
    peak_px: _Pixel
    lane: _Name = Field(description="of the peak")
    lanes: tuple[_Name, ...] = Field(max_length=16, description="all that it touches")
    open: bool = Field(description="it goes on; the rest follows under the same number")
    cut: bool = Field(description="it may go on, but was ended here")
    continues: int | None = Field(description="the defect that was cut just before")
    absorbed: tuple[int, ...] = Field(max_length=16, description="numbers that turned out as this")
    web_mm: float | None = Field(description="where it begins along the web")
    length_mm: float | None
    left_mm: float | None
    width_mm: float | None
    area_mm2: float | None


class WebGap(_Part):
    """Lines that nobody inspected; they are never OK."""

    first_line: _Line
    end_line: _Line = Field(description="not included")
    cause: _Name = Field(description="lost, context, image_quality, edge, nonfinite or failed")
    known: bool = Field(description="false where the number of lines is a guess")


class WebGate(_Part):
    """From where to where a reject gate must act."""

    lane: _Name
    from_mm: float
    to_mm: float
    from_count: _Count | None = Field(description="encoder, unwrapped")
    to_count: _Count | None
    from_raw: _Count | None = Field(description="the same as the counter shows it")
    to_raw: _Count | None
    late: bool = Field(description="the web is past it already")


class WebPart(_Part):
    """What a verdict covers of a web, and what was found there."""

    first_line: _Line = Field(description="scan lines since the start, this one included")
    end_line: _Line = Field(description="not included; equal to first_line: no line is covered")
    first_mm: float | None = Field(
        description="along the web; null if nobody said how long a line is"
    )
    end_mm: float | None
    first_count: float | None = Field(description="encoder, unwrapped; null without one")
    end_count: float | None
    rescanned: bool = Field(description="the web had backed up: seen before")
    lanes: tuple[WebLane, ...] = Field(max_length=16, description="left to right")
    defects: tuple[WebDefect, ...] = Field(
        max_length=64, description="that ended here or go on, the highest of them"
    )
    n_defects: int = Field(ge=0, description="how many there were")
    gaps: tuple[WebGap, ...] = Field(max_length=64, description="lines not inspected")
    gates: tuple[WebGate, ...] = Field(max_length=256, description="when which gate must act")
    open_since: _Line | None = Field(description="first line of the oldest defect that goes on")

    def plain(self) -> dict[str, Any]:
        """The same as a map."""
        return self.model_dump(mode="json")
