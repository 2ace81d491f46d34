"""Trees of settings as TOML, for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["toml_of"]


def toml_of(tree: Mapping[str, Any]) -> str:
    """A tree of what JSON knows as TOML; what is not set is a comment."""
    return "\n".join(_lines(tree, ()))


def _lines(tree: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    tables = {key: value for key, value in tree.items() if isinstance(value, dict)}
    if path:
        yield f"\n[{'.'.join(path)}]"
    for key, value in tree.items():
        if value is None:
            yield f"# {key}: not set"
        elif key not in tables:
            yield f"{key} = {_value(value)}"
    for key, value in tables.items():
        yield from _lines(value, (*path, key))


def _value(value: Any) -> str:
    if isinstance(value, dict):
        pairs = (f"{key} = {_value(inner)}" for key, inner in value.items() if inner is not None)
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    # A JSON string, number or boolean is a TOML one.
    return json.dumps(value, ensure_ascii=False)
