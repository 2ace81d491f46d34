"""A console for people that shows text as it is."""

from __future__ import annotations

from rich.console import Console

__all__ = ["plain_console"]


def plain_console() -> Console:
    """A console without markup: paths and camera names may hold `[brackets]` and `:colons:`."""
    return Console(markup=False, emoji=False, highlight=False)
