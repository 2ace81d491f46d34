"""Putting a finished bundle in its place so that a power cut leaves the old or the new."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

__all__ = ["adopt", "point"]


def adopt(staging: Path, target: Path) -> None:
    """Move a finished folder to its name in the same file system, durably.

    A target of that name holds the same content, because names are content
    hashes: then the staging folder is dropped.
    """
    if target.exists():
        shutil.rmtree(staging)
        return
    for file in sorted(staging.rglob("*")):
        _sync(file)
    _sync(staging)
    staging.rename(target)
    _sync(target.parent)


def point(link: Path, target: Path) -> None:
    """Make a link lead to a sibling, atomically: readers see the old or the new."""
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    fresh.symlink_to(target.name)
    fresh.rename(link)
    _sync(link.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
