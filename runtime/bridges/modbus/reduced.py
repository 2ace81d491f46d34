"""A published verdict, cut to what the registers of a result can say: for whoever compares both."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from kenpin.runtime.bridges.line_watch import hash_number
from kenpin.runtime.bridges.results import defects_found

__all__ = ["reduced"]

_U16, _U32 = 2**16 - 1, 2**32 - 1


def reduced(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """As `ModbusPlc` tells it of a result that is right."""
    trig, _, _part = (verdict["trig"] or "").partition("-")
    session = (verdict.get("session") or "").removeprefix("plc-")
    total_us = min(verdict["lat_us"].get("total", 0), _U32)
    deadline_us = verdict["deadline_us"]
    return {
        "type": "verdict",
        "box": verdict["box"],
        "line": verdict["line"],
        "boot": verdict["boot"][:8],
        "seq": verdict["seq"],
        "trig": trig or None,
        "session": session or None,
        "frame": verdict["frame"] & _U32,
        "verdict": verdict["verdict"],
        "code": verdict["code"],
        "reason": verdict["reason"],
        "score": _short(verdict["score"]),
        "thr": _short(verdict["thr"]),
        "sim": verdict["sim"],
        "n_defects": min(defects_found(verdict), _U16),
        "peak": tuple(verdict["peak"]) if verdict["peak"] else None,
        "bundle": f"{hash_number(verdict['bundle']):012x}",
        "t_mono_ns": verdict["t_mono_ns"],
        "t_acq_ns": verdict["t_mono_ns"] - total_us * 1000,
        "lat_us": {"total": total_us},
        "deadline_us": None if deadline_us is None else min(deadline_us, _U32),
    }


def _short(value: float | None) -> float | None:
    """As a number of 32 bits."""
    if value is None:
        return None
    found: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return found
