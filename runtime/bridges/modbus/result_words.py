"""A verdict of the line as the registers of a result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kenpin.runtime.bridges.line_watch import hash_number
from kenpin.runtime.bridges.modbus.registers import RESULT, RESULT_BITS, word_of
from kenpin.runtime.bridges.results import defects_found

__all__ = ["result_words"]

_U32 = 2**32


def result_words(
    number: int,
    verdict: Mapping[str, Any],
    trigger_id: int,
    part_id: int,
    session: int,
    low_first: bool,
) -> list[int]:
    """The words of a result that may be acted on."""
    peak, web = verdict["peak"], verdict.get("web")
    lanes = web["lanes"] if web else ()
    return RESULT.encode(
        {
            "verdict": verdict["verdict"],
            "number": number,
            "valid": 1,
            "code": verdict["code"],
            "trigger_id": trigger_id,
            "part_id": part_id,
            "seq": verdict["seq"],
            "frame": verdict["frame"] % _U32,
            "score": verdict["score"],
            "thr": verdict["thr"],
            "flags": _flags(verdict),
            "n_defects": defects_found(verdict),
            "peak_x": peak[0] if peak else 0,
            "peak_y": peak[1] if peak else 0,
            "bundle": hash_number(verdict["bundle"]),
            "lat_us": verdict["lat_us"].get("total", 0),
            "deadline_us": verdict["deadline_us"] or 0,
            "now_ns": verdict["t_mono_ns"],
            "enc": verdict["enc"] or 0,
            "first_line": web["first_line"] if web else 0,
            "lines": web["end_line"] - web["first_line"] if web else 0,
            "lanes": len(lanes),
            "lanes_ng": _not_ok(lanes),
            "session": session,
        },
        low_first=low_first,
    )


def _flags(verdict: Mapping[str, Any]) -> int:
    return word_of(
        RESULT_BITS,
        unsure=verdict["unsure"],
        partial=verdict["partial"],
        late=verdict["late"],
        sim=verdict["sim"],
        has_enc=verdict["enc"] is not None,
        has_web=verdict.get("web") is not None,
        has_peak=verdict["peak"] is not None,
        has_deadline=verdict["deadline_us"] is not None,
        judged=verdict["score"] is not None,
    )


def _not_ok(lanes: tuple[Mapping[str, Any], ...]) -> int:
    return sum({1 << min(n, 15) for n, lane in enumerate(lanes) if lane["verdict"] != 1})
