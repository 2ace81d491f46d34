"""What is said of messages that nobody can read or send."""

from __future__ import annotations

from pydantic import ValidationError

from kenpin.config.text import brief

__all__ = ["WireError", "explain", "explain_command"]

# Of the name of a place in an error message.
_PLACE_CHARS = 80
# Further faults of a message are rarely news.
_MOST_FAULTS = 3


class WireError(ValueError):
    """A message that must not be sent or cannot be trusted."""


def explain(error: ValidationError, skip: int = 0) -> str:
    """The first faults of a message in one line: where, what was expected, what was found.

    skip  names of the place that say nothing new
    """
    faults = error.errors(include_url=False, include_context=False)[:_MOST_FAULTS]
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'][skip:]))[:_PLACE_CHARS]}: {fault['msg']} "
        f"(found {brief(fault['input'])})"
        if fault["loc"][skip:]
        else fault["msg"]
        for fault in faults
    )


def explain_command(error: ValidationError) -> str:
    """As `explain`; the field comes first, because a struct shows 48 bytes of it.

    Its type is what the error is about, and is told beside it.
    """
    return explain(error, skip=1)
