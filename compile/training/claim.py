"""The folder of interrupted trainings: for one build at a time."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from kenpin.config.errors import ConfigError
from kenpin.runtime.bundles.durable import lock

__all__ = ["claim", "remove"]

# A build that fails has no last word, and its process may build again: what it held is its own.
_HELD: dict[Path, int] = {}


def claim(folder: Path) -> None:
    """Make a folder, and hold it until it is removed or this process ends.

    Raises
    ------
    ConfigError
        If another process holds it: each would write over what the other goes on from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _let_go(folder)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if not lock(handle, 0.0):
        os.close(handle)
        raise ConfigError(
            f"{folder}: another build of the same recipe is training in it; let it end, or name "
            "another folder with -o"
        )
    _HELD[folder.resolve()] = handle


def remove(folder: Path) -> None:
    """Remove a folder that is held, and all that is in it."""
    shutil.rmtree(folder, ignore_errors=True)
    _let_go(folder)


def _let_go(folder: Path) -> None:
    handle = _HELD.pop(folder.resolve(), None)
    if handle is not None:
        os.close(handle)
