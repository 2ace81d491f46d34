"""A console for people that shows text as it is."""

from __future__ import annotations

from rich.console import Console

__all__ = ["plain_console"]


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to whoever ends the command: rich would end it by the code of an error."""
        raise


def plain_console() -> Console:
    """A console without markup: paths and camera names may hold `[brackets]` and `:colons:`."""
    return _Console(markup=False, emoji=False, highlight=False)
