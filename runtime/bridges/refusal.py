"""Why a trigger was refused, in numbers: the same ones in every bridge whose PLC reads numbers."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

__all__ = ["TriggerRefusal", "refusal_of"]


class TriggerRefusal(IntEnum):
    """As in the Modbus register `refusal`; OPC UA's methods give it as a negative error."""

    STALE = 1
    DUPLICATE = 2
    DISOBEYED = 3
    AWAY = 4
    NO_SESSION = 5
    DISABLED = 6
    NO_ID = 7
    PAUSED = 8


_REASONS: Mapping[str, TriggerRefusal] = {
    "stale": TriggerRefusal.STALE,
    "duplicate": TriggerRefusal.DUPLICATE,
    "paused": TriggerRefusal.PAUSED,
}


def refusal_of(error: Mapping[str, Any]) -> TriggerRefusal:
    """Of the line's `error` about a trigger."""
    return _REASONS.get(error.get("reason") or "", TriggerRefusal.DISOBEYED)
