"""The part of a verdict message that is about a web: lines, lanes, defects, gates."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from kenpin.runtime.judging.verdict import (
    Gap,
    LaneName,
    LaneVerdict,
    LineNumber,
    Outcome,
    WebDefect,
    WebFindings,
    WebGate,
)
from kenpin.runtime.wire.field_types import unsaid, whole
from kenpin.runtime.wire.web_limits import MOST_GAPS, MOST_RUNS, fitted

__all__ = ["WebGap", "WebLane", "WebPart", "web_part"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False, extra="ignore")


class WebLane(_Part):
    """One lane, on the lines that the verdict covers."""

    name: LaneName
    verdict: Annotated[Outcome, BeforeValidator(whole)] = Field(description="1 OK, 2 NG")
    reason: LaneName | None = Field(description="why NG, null when OK")
    score: float | None = Field(description="dimensionless; null if nothing was inspected")
    thr: float = Field(description="OK at or below, this lane's own")
    thr_ng: float = Field(description="a defect above")
    ng_runs: tuple[tuple[LineNumber, LineNumber], ...] = Field(
        max_length=MOST_RUNS, description="[first, end) lines with anything over thr"
    )


class WebGap(_Part):
    """Lines that nobody inspected; they are never OK."""

    first_line: LineNumber
    end_line: LineNumber = Field(description="not included")
    cause: LaneName = Field(description="lost, context, image_quality, edge, nonfinite or failed")
    known: bool = Field(description="false where the number of lines is a guess")


class WebPart(_Part):
    """What a verdict covers of a web, and what was found there."""

    first_line: LineNumber = Field(description="scan lines since the start, this one included")
    end_line: LineNumber = Field(
        description="not included; equal to first_line: no line is covered"
    )
    first_mm: float | None = Field(
        description="along the web; null if nobody said how long a line is"
    )
    end_mm: float | None
    within_mm: float | None = Field(
        default=None,
        exclude_if=unsaid,
        description="mm by which lines may lie outside of first_mm to end_mm; left out "
        "without encoder counts",
    )
    first_count: float | None = Field(description="encoder, unwrapped; null without one")
    end_count: float | None
    rescanned: bool = Field(description="the web had backed up: seen before")
    lanes: tuple[WebLane, ...] = Field(max_length=16, description="left to right")
    defects: tuple[WebDefect, ...] = Field(
        max_length=64, description="that ended here or go on, the highest of them"
    )
    n_defects: int = Field(ge=0, description="how many there were")
    gaps: tuple[WebGap, ...] = Field(max_length=MOST_GAPS, description="lines not inspected")
    gates: tuple[WebGate, ...] = Field(max_length=256, description="when which gate must act")
    open_since: LineNumber | None = Field(
        description="first line of the oldest defect that goes on"
    )


def web_part(findings: WebFindings) -> WebPart:
    """What is told of a web, see `web_limits.py` for how much of it."""
    fit = fitted(findings)
    return WebPart(
        first_line=fit.first_line,
        end_line=fit.end_line,
        first_mm=fit.first_mm,
        end_mm=fit.end_mm,
        within_mm=fit.within_mm,
        first_count=fit.first_count,
        end_count=fit.end_count,
        rescanned=fit.rescanned,
        lanes=tuple(_lane(lane) for lane in fit.lanes),
        defects=fit.defects,
        n_defects=fit.n_defects,
        gaps=tuple(_gap(gap) for gap in fit.gaps),
        gates=fit.gates,
        open_since=fit.open_since,
    )


def _lane(lane: LaneVerdict) -> WebLane:
    return WebLane(
        name=lane.name,
        verdict=lane.outcome,
        reason=lane.reason,
        score=lane.score,
        thr=lane.thresholds.ok,
        thr_ng=lane.thresholds.ng,
        ng_runs=lane.ng_runs,
    )


def _gap(gap: Gap) -> WebGap:
    return WebGap(
        first_line=gap.first_line, end_line=gap.end_line, cause=gap.cause.word, known=gap.known
    )
