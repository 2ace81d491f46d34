"""What a settings class says of itself: its docstring's table of keys, and the prose around it.

A row of that table is one key or several, two spaces, and what they mean; what goes on in
further lines is indented. Keys that leave no room beside them have their meaning below.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

from kenpin.config.settings import Settings

__all__ = ["meanings_of", "own_meanings", "prose_of"]

_ROW = re.compile(r"(\w+(?:, \w+)*)(?: {2,}(\S.*))?")


def prose_of(kind: type[Settings]) -> list[str]:
    """The paragraphs of a class's docstring that are no rows, each as one line."""
    return [" ".join(lines) for lines in _paragraphs(kind) if not _is_table(lines)]


def own_meanings(kind: type[Settings]) -> dict[str, str]:
    """What the class's own docstring says of keys."""
    rows: dict[str, str] = {}
    for lines in _paragraphs(kind):
        if _is_table(lines):
            rows |= _rows(lines)
    return rows


def meanings_of(kind: type[Settings]) -> dict[str, str]:
    """What the class and those that it comes from say of keys, the nearest first."""
    found: dict[str, str] = {}
    for one in kind.__mro__:
        if issubclass(one, Settings):
            found = own_meanings(one) | found
    return found


def _paragraphs(kind: type[Settings]) -> Iterator[list[str]]:
    # Of the class itself: `inspect.getdoc` would take a parent's.
    text = inspect.cleandoc(kind.__doc__ or "")
    yield from (lines for part in text.split("\n\n") if (lines := part.splitlines()))


def _is_table(lines: list[str]) -> bool:
    row = _ROW.fullmatch(lines[0])
    return row is not None and (row[2] is not None or (lines[1:2] != [] and lines[1][0] == " "))


def _rows(lines: list[str]) -> dict[str, str]:
    rows: dict[str, str] = {}
    keys: list[str] = []
    for line in lines:
        row = _ROW.fullmatch(line)
        if row is not None:
            keys = row[1].split(", ")
            rows |= dict.fromkeys(keys, row[2] or "")
        else:
            rows |= {key: f"{rows[key]} {line.strip()}".strip() for key in keys}
    return rows
