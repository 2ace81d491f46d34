"""The site's generator takes the comment above a public constant for its docstring."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import griffe

from kenpin.config.public_names import said_of_constants

__all__ = ["CommentsAbove"]


class CommentsAbove(griffe.Extension):
    """Named in zensical.toml, for mkdocstrings."""

    def on_attribute(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """See `griffe.Extension`."""
        if attr.docstring is None and attr.parent is not None and attr.parent.is_module:
            file = attr.parent.filepath
            said = _said(file).get(attr.name) if isinstance(file, Path) else None
            if said:
                attr.docstring = griffe.Docstring(said, lineno=attr.lineno, parent=attr)


@cache
def _said(file: Path) -> dict[str, str]:
    return said_of_constants(file.read_text(encoding="utf-8"))
