"""Folders in which bundles are made: gone when one is done, and when its maker has died."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kenpin.config.errors import ConfigError
from kenpin.runtime.bundles.layout import MANIFEST

__all__ = ["expect_store", "staging_folder", "sweep"]

_STAGING = ".staging-"


@contextmanager
def staging_folder(store: Path) -> Iterator[Path]:
    """An empty folder inside the store, gone afterwards unless it was sealed.

    What makers that were killed have left there goes, too.

    Raises
    ------
    ConfigError
        If the store is itself a bundle, which would be one no more.
    """
    expect_store(store)
    store.mkdir(parents=True, exist_ok=True)
    sweep(store)
    folder, handle = _held(store)
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        os.close(handle)
        shutil.rmtree(folder, ignore_errors=True)


def expect_store(folder: Path) -> None:
    """See that a folder may hold bundles.

    Raises
    ------
    ConfigError
        If it is a bundle.
    """
    if (folder / MANIFEST).is_file():
        real = folder.resolve()
        raise ConfigError(
            f"{folder} is one bundle; expected a folder that holds bundles, such as {real.parent}"
        )


def sweep(store: Path) -> None:
    """Remove the staging folders that nobody holds any more."""
    for folder in store.glob(f"{_STAGING}*"):
        # Somebody works there, or another sweeps it; some shared folders know no such lock.
        with contextlib.suppress(OSError), _opened(folder) as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)


def _held(store: Path) -> tuple[Path, int]:
    """A new folder, and the handle that says that somebody works there."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_STAGING, dir=store))
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_SH)
            # It may have been swept before it was held.
            if folder.exists():
                return folder, handle
            os.close(handle)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)
