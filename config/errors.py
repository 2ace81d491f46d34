"""The errors that stop a program at its start, before any frame is judged."""

from __future__ import annotations

__all__ = ["ConfigError"]


class ConfigError(Exception):
    """A setting cannot be used: says what was found, what was expected, what to do."""
