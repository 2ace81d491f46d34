"""What every settings tree is: frozen pydantic, read from TOML, every problem named."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from kenpin.config.errors import ConfigError

__all__ = ["Listening", "Settings", "anchored", "as_before", "load", "problems"]


class Settings(BaseModel):
    """A branch of a settings tree: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Listening(Settings):
    """A table whose process may bind ports of its own.

    `edge-run check` compares them all. One that names them otherwise than by `address` and
    `port`, or binds more than one, says so in a `listens` of its own.
    """

    @property
    def listens(self) -> tuple[tuple[str, int], ...]:
        """Each address and port that is bound; port 0 is any free one."""
        address, port = getattr(self, "address", None), getattr(self, "port", None)
        return () if address is None or port is None else ((address, port),)


Tree = TypeVar("Tree", bound=Settings)


def as_before(settings: Settings, tree: dict[str, Any], *later: str) -> dict[str, Any]:
    """What is written of a branch, without those of the `later` keys that have their default.

    So manifests from before there were such settings keep their content hash.
    """
    fields = type(settings).model_fields
    plain = {name for name in later if getattr(settings, name) == fields[name].default}
    return {name: value for name, value in tree.items() if name not in plain}


def problems(error: ValidationError) -> str:
    """Every problem of a settings tree, one to a line, each with its key."""
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        text = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            text = "unknown key; docs/reference/recipe.md and line.md list all"
        elif item["type"] == "missing":
            text = "is missing"
        lines.append(f"{key}: {text}" if key else text)
    return "\n".join(lines)


def anchored(tree: Tree, folder: Path) -> Tree:
    """The same settings, every relative path in them starting at `folder`, however deep it lies.

    Which settings a file gave stays known, but for those that hold such a path.
    """

    def anchor(value: Any) -> Any:
        match value:
            case Path():
                return folder / value
            case BaseModel():
                fields = {name: getattr(value, name) for name in type(value).model_fields}
                after = anchor(fields)
                moved = {name: item for name, item in after.items() if item != fields[name]}
                return value.model_copy(update=moved)
            case dict():
                return {key: anchor(item) for key, item in value.items()}
            case list() | tuple() | set() | frozenset():
                return type(value)(map(anchor, value))
            case _:
                return value

    found: Tree = anchor(tree)
    return found


def load(kind: type[Tree], path: Path, changes: Sequence[str] = ()) -> Tree:
    """The settings of one kind in a TOML file.

    Parameters
    ----------
    changes
        Settings to use instead of the file's, each as `table.key=value`. The
        value is TOML; what is not TOML is taken as text.

    Raises
    ------
    ConfigError
        If the file cannot be read, is not TOML, or holds an unknown, missing
        or impossible setting; every such setting is named.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        what = kind.__name__.strip("_").removesuffix("Settings").lower()
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); give a {what} file"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    for change in changes:
        _change(tree, change)
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{path}: {problems(error)}") from None


def _change(tree: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals or not key:
        raise ConfigError(f"{change!r}: expected KEY=VALUE, such as tiles.size_px=256")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *tables, last = key.split(".")
    for table in tables:
        tree = tree.setdefault(table, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{change!r}: {table} is a value, not a table")
    tree[last] = value
