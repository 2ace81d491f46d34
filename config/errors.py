"""The errors that stop a program at its start, and what a library's error says in one line."""

from __future__ import annotations

import re

__all__ = ["ConfigError", "OutputError", "in_one_line", "kind_and_words"]

# Where in its own source OpenVINO found it, a line each.
_PLACES = re.compile(r"Exception from |Check '.*' failed at \S+:\d+:?$")


class ConfigError(Exception):
    """A setting cannot be used: says what was found, what was expected, what to do."""


class OutputError(Exception):
    """A place cannot be written to: says which, why, and what to do."""


def in_one_line(error: BaseException) -> str:
    """What a library raised, without the places in its source; its kind where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not _PLACES.match(line)]
    return "; ".join(said or lines) or type(error).__name__


def kind_and_words(error: BaseException) -> str:
    """The same after its kind, for whoever knows what that means."""
    return f"{type(error).__name__}: {in_one_line(error)}"
