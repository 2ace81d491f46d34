"""What clients of a bridge command, checked as the line itself would. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from kenpin.runtime.wire.commands import COMMANDS, KINDS
from kenpin.runtime.wire.errors import explain_command
from kenpin.runtime.wire.map_encoding import MAX_COMMAND_BYTES

__all__ = ["checked", "parsed"]


def parsed(kind: str, payload: bytes) -> tuple[dict[str, Any] | None, str]:
    """The fields of a command told as JSON, or why there are none."""
    if len(payload) > MAX_COMMAND_BYTES:
        return None, f"{len(payload)} bytes, at most {MAX_COMMAND_BYTES} are allowed"
    try:
        found = json.loads(payload or b"{}")
    except (ValueError, RecursionError):
        return None, "not readable; expected a JSON object"
    if not isinstance(found, dict):
        return None, f"found a {type(found).__name__}, expected a JSON object"
    return checked(kind, found)


def checked(kind: str, found: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The fields of a command as the line takes them, or why it does not."""
    if kind not in KINDS:
        return None, f"{kind!r} is no command; expected one of: {', '.join(sorted(KINDS))}"
    try:
        command = COMMANDS.validate_python({**found, "v": 1, "type": kind})
    except ValidationError as error:
        return None, explain_command(error)
    fields = command.model_dump(exclude={"v", "type"}, exclude_none=True)
    if kind in ("hello", "trigger") and "session" not in fields:
        # The broker hides whether a program has started anew and counts from 1 again.
        return None, f"{kind} without a session; name one that is new at each start"
    return fields, ""
