"""What a verdict is in the words of OPC 40100-1, as plain values. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from kenpin.runtime.bridges.line_watch import hash_number
from kenpin.runtime.bridges.results import defects_found

__all__ = [
    "PART_MARK",
    "ResultFields",
    "ResultState",
    "bundle_hash",
    "ids_of",
    "job_id",
    "result_fields",
    "result_id",
]

# Between a part's MeasId and its PartId in the line's id of it.
PART_MARK = "/"
# Nobody came to judge these; the others were judged, or could not be.
_ABORTED = frozenset({"late", "overrun", "shutdown"})


class ResultState:
    """The specification's ResultStateDataType, 12.20."""

    COMPLETED = 1
    ABORTED = 3
    FAILED = 4


@dataclass(frozen=True, slots=True)
class ResultFields:
    """Of a ResultDataType, and of a ResultReadyEvent.

    content  verdict (1 OK, 2 NG), code, reason, score, threshold, defects, and the line's message
    """

    result: str
    job: str
    meas: str
    part: str
    state: int
    simulated: bool
    recipe: str
    recipe_hash: bytes
    created: datetime
    begun: datetime
    judging_ms: float
    content: tuple[int, int, str, float, float, int, str]


def result_fields(verdict: Mapping[str, Any]) -> ResultFields:
    """From the line's verdict."""
    meas, part = ids_of(verdict["trig"])
    score, thr = verdict["score"], verdict["thr"]
    total = timedelta(microseconds=verdict["lat_us"].get("total", 0))
    created = datetime.fromtimestamp(verdict["t_wall_ns"] / 1e9, UTC)
    return ResultFields(
        result=result_id(verdict),
        job=job_id(verdict),
        meas=meas,
        part=part,
        state=_state(verdict),
        simulated=verdict["sim"],
        recipe=verdict["bundle"],
        recipe_hash=bundle_hash(verdict["bundle"]),
        created=created,
        begun=created - total,
        judging_ms=total / timedelta(milliseconds=1),
        content=(
            int(verdict["verdict"]),
            verdict["code"],
            verdict["reason"] or "ok",
            math.nan if score is None else score,
            math.nan if thr is None else thr,
            defects_found(verdict),
            json.dumps(verdict, separators=(",", ":")),
        ),
    )


def _state(verdict: Mapping[str, Any]) -> int:
    if verdict["score"] is not None:
        return ResultState.COMPLETED
    return ResultState.ABORTED if verdict["reason"] in _ABORTED else ResultState.FAILED


def result_id(verdict: Mapping[str, Any]) -> str:
    """Boot and number: no other result of any line has it."""
    return f"{verdict['boot']}:{verdict['seq']}"


def job_id(fields: Mapping[str, Any]) -> str:
    """Of what the line says about a part: boot, session and trigger; of a line that runs by
    itself, its boot.
    """
    boot = fields["boot"][:8]
    trig = fields.get("trig")
    return f"{boot}.{fields.get('session') or ''}.{ids_of(trig)[0]}" if trig else boot


def ids_of(trig: str | None) -> tuple[str, str]:
    """A part's MeasId and PartId, from the line's id of it."""
    meas, _, part = (trig or "").partition(PART_MARK)
    return meas, part


def bundle_hash(label: str) -> bytes:
    """The first 6 bytes of a bundle's SHA-256, which its label ends with; empty: it has none."""
    number = hash_number(label)
    return number.to_bytes(6, "big") if number else b""
