"""Whether files are what they were: by their places, sizes and times, without reading them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["fingerprint", "paths_in"]


def fingerprint(path: Path) -> list[str]:
    """A line for a file, or for each below a folder, that changes with it; one if nothing is there.

    A link counts as what it leads to.
    """
    if path.is_dir():
        return [line for file in sorted(path.iterdir()) for line in fingerprint(file)]
    if not path.exists():
        return [f"{path}: nothing"]
    state = path.stat()
    return [f"{path.resolve()} {state.st_size} {state.st_mtime_ns}"]


def paths_in(tree: Any) -> Iterator[Path]:
    """Every path in settings, however deep."""
    if isinstance(tree, Path):
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from paths_in(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from paths_in(value)
