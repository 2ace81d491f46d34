"""Every setting of recipes and of lines as two pages of the documentation, from the classes.

python -m kenpin.config.settings_pages recipe > docs/reference/recipe.md
python -m kenpin.config.settings_pages line > docs/reference/line.md
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from kenpin.config.bridge_mqtt import BrokerSettings
from kenpin.config.bridges import BRIDGES, BridgeSettings
from kenpin.config.camera import SOURCES, CameraSettings
from kenpin.config.line import Line
from kenpin.config.meanings import meanings_of, own_meanings, prose_of
from kenpin.config.methods import METHODS, MethodSettings
from kenpin.config.recipe import Recipe
from kenpin.config.registry import Registry
from kenpin.config.setting_words import default_of, takes
from kenpin.config.settings import Settings
from kenpin.config.sides import SIDES, SideSettings
from kenpin.config.trained import TrainedSpec
from kenpin.config.web import WebSpec

__all__ = ["UnsaidError", "as_line_page", "as_recipe_page"]

# Of each class that a registry chooses from, the key that chooses.
_CHOSEN: dict[type[Settings], tuple[str, Registry[Any]]] = {
    MethodSettings: ("name", METHODS),
    CameraSettings: ("kind", SOURCES),
    BridgeSettings: ("kind", BRIDGES),
    SideSettings: ("kind", SIDES),
}
# What several of one registry share, in the words of a heading.
_SHARED: dict[type[Settings], str] = {
    TrainedSpec: "of all that are trained",
    BrokerSettings: "of all with a broker",
}

_RECIPE_HEAD = """# Every setting of a recipe

A recipe is the TOML file that `edge-compile build` reads. Below is each of its tables with every
key: what it takes, what holds where it is left out, what it means. `--set table.key=value` changes
one for once, `edge-compile check RECIPE` says what is wrong. Relative paths start at the recipe's
folder. Printed by `python -m kenpin.config.settings_pages recipe`.
"""
_LINE_HEAD = """# Every setting of a line

A line's TOML file is what `edge-run` reads. Below is each of its tables with every key: what it
takes, what holds where it is left out, what it means. `--set table.key=value` changes one for once,
`edge-run check LINE.toml` shows them all and says what is wrong. Relative paths start at the file's
folder. Printed by `python -m kenpin.config.settings_pages line`.
"""


class UnsaidError(Exception):
    """A docstring leaves out a key, or explains one that there is not."""


def as_recipe_page() -> str:
    """The page about recipes.

    Raises
    ------
    UnsaidError
        If a class's docstring and its keys are not the same.
    """
    return _Page(_RECIPE_HEAD).of(Recipe)


def as_line_page() -> str:
    """The page about lines; what both may have is explained on the other one.

    Raises
    ------
    UnsaidError
        If a class's docstring and its keys are not the same.
    """
    return _Page(_LINE_HEAD, {WebSpec: "[as in a recipe](recipe.md#web)"}).of(Line)


@dataclass
class _Page:
    """A page while it is written.

    head   what it begins with
    known  where a class is explained, as a link
    """

    head: str
    known: dict[type[Settings], str] = field(default_factory=dict)

    def of(self, root: type[Settings]) -> str:
        """All that a file may hold, beginning with what stands before its first table."""
        return "\n".join([self.head, *self._section("At the top", root, "")]) + "\n"

    def _section(
        self, title: str, kind: type[Settings], path: str, above: type[Settings] | None = None
    ) -> Iterator[str]:
        """A heading, the keys, and a section for each table within."""
        self.known.setdefault(kind, f"[{title}](#{_anchor(title)})")
        yield f"## {title}\n"
        yield from (f"{_linked(text)}\n" for text in prose_of(kind))
        within: list[tuple[str, type[Settings]]] = []
        rows = list(self._rows(kind, path, above, within))
        if rows:
            yield "| key | takes | default | meaning |\n| --- | --- | --- | --- |"
            yield from rows
            yield ""
        yield from _elsewhere(kind)
        if above is not None:
            yield f"Besides these keys: those of {self.known[above]}.\n"
        for inner, table in within:
            yield from self._table(inner, table)

    def _table(self, path: str, kind: type[Settings]) -> Iterator[str]:
        """The section of a table; of one that is chosen by a key, a section for each choice."""
        title = f"`{path}`"
        yield from self._section(title, kind, _bare(path))
        for shared, words in _SHARED.items():
            if issubclass(shared, kind):
                yield from self._section(f"{title} {words}", shared, _bare(path), kind)
        for name, settings in _choices(kind).items():
            above = next((one for one in settings.__mro__[1:] if one in _SHARED), kind)
            yield from self._section(f"{title} {name}", settings, _bare(path), above)

    def _rows(
        self,
        kind: type[Settings],
        path: str,
        above: type[Settings] | None,
        within: list[tuple[str, type[Settings]]],
    ) -> Iterator[str]:
        schema, meanings, own = kind.model_json_schema(), meanings_of(kind), own_meanings(kind)
        _check(kind, meanings)
        inherited = above.model_json_schema()["properties"] if above else {}
        for key, info in kind.model_fields.items():
            shape = schema["properties"][key]
            if _chosen_by(kind) == key and "const" in shape:
                continue
            if key not in own and inherited.get(key) == shape:
                continue
            default = default_of(shape, required=info.is_required())
            table, many = _table_in(info.annotation)
            if table is not None:
                words = self._at(table, f"{path}.{key}".lstrip("."), within, many=many)
                default = default.replace("`[]`", "not set")
            elif _chosen_by(kind) == key and (names := _choices(kind)):
                before = _anchor(f"[{path}]")
                words = ", ".join(f'[`"{one}"`](#{before}-{one})' for one in names)
            else:
                words = takes(shape)
            meaning = meanings.get(key) or (prose_of(table)[0] if table else "")
            yield f"| `{key}` | {words} | {default} | {_linked(meaning)} |"

    def _at(
        self,
        table: type[Settings],
        path: str,
        within: list[tuple[str, type[Settings]]],
        *,
        many: bool,
    ) -> str:
        """Where a table is explained; one that is not yet, is next."""
        if table not in self.known:
            title = f"[[{path}]]" if many else f"[{path}]"
            self.known[table] = f"[`{title}`](#{_anchor(title)})"
            within.append((title, table))
        return f"{'tables' if many else 'table'} {self.known[table]}"


def _chosen_by(kind: type[Settings]) -> str | None:
    """The key that chooses the class of a table; None where nothing does."""
    return next((key for base, (key, _) in _CHOSEN.items() if issubclass(kind, base)), None)


def _choices(kind: type[Settings]) -> dict[str, type[Settings]]:
    """The classes that a table may be of, by name; empty where it is of its own."""
    if kind not in _CHOSEN:
        return {}
    registry = _CHOSEN[kind][1]
    found = {name: registry.find(name).settings for name in registry.builtin}
    return {name: settings for name, settings in found.items() if issubclass(settings, kind)}


def _elsewhere(settings: type[Settings]) -> Iterator[str]:
    """Defaults that a method changes: its own on webs, and those of other tables."""
    if not issubclass(settings, MethodSettings):
        return
    if webs := settings.web_defaults():
        yield f"On a web: {_written(webs)}, unless the recipe says otherwise.\n"
    others = {
        f"{table}.{key}": value
        for table, keys in settings.table_defaults.items()
        for key, value in keys.items()
    }
    if others:
        yield f"With it: {_written(others)}, unless the recipe says otherwise.\n"


def _written(values: Mapping[str, Any]) -> str:
    return ", ".join(f"`{key} = {json.dumps(value)}`" for key, value in values.items())


def _check(kind: type[Settings], meanings: Mapping[str, str]) -> None:
    """See that each key has its meaning; a table that has none means what its class does."""
    fields = kind.model_fields
    unsaid = [
        key
        for key, info in fields.items()
        if not meanings.get(key) and _table_in(info.annotation)[0] is None
    ]
    stale = [key for key in meanings if key not in fields]
    if unsaid or stale:
        raise UnsaidError(
            f"{kind.__name__}: its docstring does not explain {unsaid or 'nothing'}, and explains "
            f"{stale or 'nothing'} that it does not have; add or remove their rows"
        )


def _table_in(annotation: Any) -> tuple[type[Settings] | None, bool]:
    """The class of a table that a key holds, and whether it may hold several."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation, False
    for inner in get_args(annotation):
        table, _ = _table_in(inner)
        if table is not None:
            return table, getattr(annotation, "__origin__", None) is tuple
    return None, False


def _bare(path: str) -> str:
    return path.strip("[]")


def _anchor(title: str) -> str:
    """A heading's anchor, on a site and on GitHub alike."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def _linked(text: str) -> str:
    """Pages that a docstring names, as links from where these pages lie."""
    return re.sub(r"docs/([\w/-]+\.md)", r"[\1](../\1)", text)


_PAGES: dict[str, Callable[[], str]] = {"recipe": as_recipe_page, "line": as_line_page}

if __name__ == "__main__":
    sys.stdout.write(_PAGES[sys.argv[1]]())
