"""Texts from elsewhere, as much of them as a message or a log line can hold."""

from __future__ import annotations

__all__ = ["brief", "shorten"]

# Of a value in an error message.
_VALUE_CHARS = 80


def brief(value: object) -> str:
    """The value as Python writes it, cut to what an error message can hold."""
    return repr(value)[:_VALUE_CHARS]


def shorten(text: str, limit: int, *, keep_end: bool = False) -> str:
    """At most `limit` characters of a text, as UTF-8 can carry them."""
    # File names may hold bytes that are not UTF-8. Python keeps them as lone
    # surrogates, which neither encoding can carry.
    clean = text.encode("utf-8", "backslashreplace").decode("utf-8")
    if len(clean) <= limit:
        return clean
    return "…" + clean[1 - limit :] if keep_end else clean[: limit - 1] + "…"
