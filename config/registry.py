"""Things that are found by name: built-in ones, and those that installed packages bring."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pkgutil import resolve_name
from typing import Any, Generic, TypeVar

from pydantic import BeforeValidator

from kenpin.config.errors import ConfigError

__all__ = ["Registry", "load_object", "settings_by"]

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """Everything of one kind by name.

    A name leads to an object: a built-in one, or what an installed package names in
    the group of entry points. None is imported before it is asked for, so a line
    loads what its settings name, and a package that is broken harms nobody else.
    A built-in name stays built in: a package cannot put itself in its place.
    """

    def __init__(
        self, group: str, what: str, kind: type[Entry], builtin: Mapping[str, str]
    ) -> None:
        """Know the built-in ones.

        Parameters
        ----------
        group
            Of entry points, such as "kenpin.methods".
        what
            One of them, in an error's words: "method".
        kind
            What a name must lead to.
        builtin
            Each as "package.module:object".
        """
        self.group = group
        self._what = what
        self._kind = kind
        self._builtin = dict(builtin)

    @property
    def builtin(self) -> list[str]:
        """The names that are kenpin's own, sorted; the same whatever is installed."""
        return sorted(self._builtin)

    def names(self) -> list[str]:
        """All names, built-in or installed, sorted."""
        return sorted({*self._builtin, *(point.name for point in entry_points(group=self.group))})

    def find(self, name: str) -> Entry:
        """What a name stands for.

        Raises
        ------
        ConfigError
            If nothing has the name, two packages claim it, or what the package
            names cannot be imported or is not of the kind.
        """
        builtin = self._builtin.get(name)
        if builtin is not None:
            return self._checked(load_object(builtin), builtin)
        points = tuple(entry_points(group=self.group, name=name))
        if not points:
            raise ConfigError(
                f"{self._what} {name!r} is not known; expected one of: {', '.join(self.names())}, "
                "or install the package that brings it"
            )
        if len({point.value for point in points}) > 1:
            claims = " and ".join(sorted(map(_origin, points)))
            raise ConfigError(
                f"{self._what} {name!r} is claimed by {claims}; uninstall all but one of them"
            )
        try:
            found = points[0].load()
        except Exception as error:
            raise ConfigError(
                f"{self._what} {name!r}: {_origin(points[0])} cannot be loaded "
                f"({type(error).__name__}: {error}); mend or uninstall it"
            ) from error
        return self._checked(found, _origin(points[0]))

    def _checked(self, found: object, origin: str) -> Entry:
        if not isinstance(found, self._kind):
            raise ConfigError(
                f"{self._what}: {origin} is a {type(found).__name__}, expected a "
                f"{self._kind.__name__} for the entry points {self.group}"
            )
        return found


def load_object(path: str) -> Any:
    """What "package.module:object" names.

    Raises
    ------
    ConfigError
        If it cannot be imported, for whatever reason.
    """
    try:
        return resolve_name(path)
    except Exception as error:
        raise ConfigError(
            f"{path} cannot be loaded ({type(error).__name__}: {error}); mend or uninstall the "
            "package that names it"
        ) from error


def _origin(point: EntryPoint) -> str:
    package = f" of the package {point.dist.name}" if point.dist else ""
    return f"{point.value}{package}"


def settings_by(key: str, registry: Registry[Any]) -> BeforeValidator:
    """Reads a table as the `settings` of the entry that one of its keys names."""

    def read(table: Any) -> Any:
        if not isinstance(table, Mapping):
            return table
        name = table.get(key)
        if not isinstance(name, str):
            raise ValueError(
                f"{key} is {'missing' if name is None else repr(name)}; "
                f"expected one of: {', '.join(registry.names())}"
            )
        try:
            entry = registry.find(name)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return entry.settings.model_validate(table)

    return BeforeValidator(read)
