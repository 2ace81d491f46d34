"""The errors that stop a program at its start, before any frame is judged."""

from __future__ import annotations

__all__ = ["ConfigError", "OutputError"]


class ConfigError(Exception):
    """A setting cannot be used: says what was found, what was expected, what to do."""


class OutputError(Exception):
    """A place cannot be written to: says which, why, and what to do."""
