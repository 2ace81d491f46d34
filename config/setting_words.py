"""What a setting takes, and its default, in plain words: read off pydantic's JSON Schema."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["default_of", "takes"]

_PLAIN = {
    "boolean": "true or false",
    "integer": "whole number",
    "number": "number",
    "object": "table of names and values",
}
_MANY = {"whole number": "whole numbers", "number": "numbers", "path": "paths", "text": "texts"}
_COUNTS = {2: "two", 3: "three"}
# One set of characters, after a first of another perhaps, so many times.
_CHARACTERS = re.compile(r"\^(\[[^]]+\])?\[([^]]+)\]\{(\d+),(\d+)\}\$")


def takes(schema: Mapping[str, Any]) -> str:
    """What may be written, with its limits."""
    ways = [way for way in schema.get("anyOf", [schema]) if way.get("type") != "null"]
    choices = [choice for way in ways for choice in _choices(way)]
    words = [_words(way) for way in ways if not _choices(way)]
    if choices:
        words.insert(0, _either([f"`{json.dumps(choice)}`" for choice in choices]))
    return _either(words)


def default_of(schema: Mapping[str, Any], *, required: bool) -> str:
    """What holds where nothing is written, as TOML; empty for a table, whose keys say theirs."""
    if required:
        return "must be given"
    default = schema.get("default")
    if default is None:
        return "not set"
    return "" if isinstance(default, dict) else f"`{_toml(default)}`"


def _choices(way: Mapping[str, Any]) -> list[Any]:
    return [way["const"]] if "const" in way else list(way.get("enum", []))


def _words(way: Mapping[str, Any]) -> str:
    kind = way["type"]
    if kind == "array":
        return _list(way)
    if kind == "string":
        return _text(way)
    return _limited(_PLAIN[kind], way)


def _text(way: Mapping[str, Any]) -> str:
    if way.get("format") == "path":
        return "path"
    if (found := _CHARACTERS.fullmatch(way.get("pattern", ""))) is not None:
        first, characters, _, most = found.groups()
        # The hyphen last in a set is one of its characters.
        shown = " ".join(re.findall(r"\w-\w|.", characters))
        return f"text of {shown}, up to {int(most) + (first is not None)} long"
    most_long = way.get("maxLength")
    return f"text, up to {most_long} long" if most_long else "text"


def _list(way: Mapping[str, Any]) -> str:
    if "prefixItems" in way:
        first = _words(way["prefixItems"][0])
        return f"{_COUNTS[len(way['prefixItems'])]} {_MANY.get(first, first)}"
    one = takes(way["items"])
    word = next((word for word in _MANY if one.startswith(word)), "")
    text = f"list of {_MANY.get(word, '')}{one[len(word) :]}"
    if (least := way.get("minItems")) is not None:
        text += f"; at least {least}"
    return text + (f"; at most {way['maxItems']}" if "maxItems" in way else "")


def _limited(word: str, way: Mapping[str, Any]) -> str:
    low, high = way.get("minimum"), way.get("maximum")
    above, below = way.get("exclusiveMinimum"), way.get("exclusiveMaximum")
    limits = []
    if low is not None and high is not None:
        limits.append(f"{_number(low)} to {_number(high)}")
    elif low is not None:
        limits.append(f"{_number(low)} or more")
    if above is not None:
        limits.append(f"more than {_number(above)}")
    if high is not None and low is None:
        limits.append(f"at most {_number(high)}")
    if below is not None:
        limits.append(f"less than {_number(below)}")
    if "multipleOf" in way:
        limits.append(f"a multiple of {way['multipleOf']}")
    return ", ".join([word, *limits])


def _either(words: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _number(value: float) -> str:
    whole = float(value).is_integer()
    return f"{int(value):_}" if whole and abs(value) >= 10_000 else f"{value:g}"


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10_000:
        return f"{value:_}"
    return json.dumps(value)
