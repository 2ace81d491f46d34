"""The small types that messages are made of, and what they have in common."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

__all__ = [
    "KEPT_STRINGS",
    "MAX_DETAIL_CHARS",
    "MAX_NAME_CHARS",
    "MAX_TRIG_CHARS",
    "U64",
    "U64_MAX",
    "Frozen",
    "Label",
    "Pixel",
    "ReasonName",
    "SessionId",
    "Token",
    "TrigId",
    "Uuid",
    "unsaid",
    "whole",
]

# Of JSON pydantic remembers 16,384 strings, 1 MiB, which ids that never come again fill within
# half an hour: a process looks as if it leaked. Keys do come again.
KEPT_STRINGS: Literal["keys"] = "keys"

# Limits of what a message holds.
MAX_NAME_CHARS = 250
MAX_DETAIL_CHARS = 500
MAX_TRIG_CHARS = 128
U64_MAX = 2**64 - 1

# A line is a part of its topic: a slash in it would make another topic.
Token = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Uuid = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
ReasonName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Label = Annotated[str, StringConstraints(max_length=MAX_NAME_CHARS)]
TrigId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TRIG_CHARS)]
SessionId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
U64 = Annotated[int, Field(ge=0, le=U64_MAX)]
Pixel = Annotated[int, Field(ge=0, le=2**31 - 1)]


def unsaid(value: object) -> bool:
    """Whether a field that was added later is left out: older messages keep their bytes."""
    return value is None


class Frozen(BaseModel):
    """A message of the line: keys that a later version added are ignored."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        extra="ignore",
        cache_strings=KEPT_STRINGS,
    )


def whole(value: object) -> object:
    """The value, if it may stand for a verdict; a validator."""
    # A bare enum takes `true` for 1, and 1 is OK.
    if isinstance(value, bool | float):
        raise ValueError(f"found {value!r}, expected the integer 1 (OK) or 2 (NG)")
    return value
