"""Data sets inside zip and tar archives: unpacked once, and nothing but images and lists."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from kenpin.camera.files.listing import is_image, printable
from kenpin.config.errors import ConfigError

__all__ = ["is_archive", "unpack"]

_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_LISTS = frozenset({".csv", ".tsv", ".json", ".xml"})
# Of the disk that takes them, so much stays free.
_SPARE_BYTES = 1 << 30

# A member's name, its size, and what opens it.
Member = tuple[str, int, IO[bytes]]


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive."""
    return path.is_file() and path.name.lower().endswith(_SUFFIXES)


def unpack(archive: Path, folder: Path) -> None:
    """Write the images and lists of an archive into a folder that is made whole or not at all.

    Raises
    ------
    ConfigError
        If the archive is damaged, or encrypted, names a place outside of itself, holds
        another archive, or is larger than the disk.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        with tarfile.open(archive) if _is_tar(archive) else zipfile.ZipFile(archive) as opened:
            members = _of_tar(opened) if isinstance(opened, tarfile.TarFile) else _of_zip(opened)
            for name, size, content in members:
                _write(archive, staging, name, size, content)
        staging.replace(folder)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, RuntimeError, OSError) as error:
        raise ConfigError(
            f"{printable(archive)}: cannot be unpacked ({type(error).__name__}: {error}); copy it "
            "again, or unpack it and name the folder"
        ) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _is_tar(archive: Path) -> bool:
    return not archive.name.lower().endswith(".zip")


def _of_tar(opened: tarfile.TarFile) -> Iterator[Member]:
    for member in opened:
        # Of a second name for one file there is a link; folders and devices are no images.
        linked = member.islnk() or member.issym()
        if not _wanted(member.name) or not (member.isfile() or linked):
            continue
        try:
            content = opened.extractfile(member)
        except KeyError:
            raise ConfigError(
                f"{printable(member.name)}: is a link to {printable(member.linkname)}, which the "
                "archive does not hold; pack the files themselves (tar --dereference)"
            ) from None
        if content is not None:
            size = content.seek(0, os.SEEK_END)
            content.seek(0)
            yield member.name, size, content


def _of_zip(opened: zipfile.ZipFile) -> Iterator[Member]:
    for member in opened.infolist():
        if not member.is_dir() and _wanted(member.filename):
            with opened.open(member) as content:
                yield member.filename, member.file_size, content


def _wanted(name: str) -> bool:
    path = PurePosixPath(name)
    # macOS puts a shadow of each file beside it.
    hidden = any(part.startswith((".", "__MACOSX")) and part != "." for part in path.parts)
    if not hidden and name.lower().endswith(_SUFFIXES):
        raise ConfigError(
            f"{printable(name)}: is an archive within the archive, which may hold images, too; "
            "unpack both, and name the folder"
        )
    return (is_image(Path(name)) or path.suffix.lower() in _LISTS) and (
        not hidden or ".." in path.parts
    )


def _write(archive: Path, folder: Path, name: str, size: int, content: IO[bytes]) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ConfigError(
            f"{printable(archive)}: names the place {name!r} outside of itself; refused"
        )
    if size > shutil.disk_usage(folder).free - _SPARE_BYTES:
        raise ConfigError(
            f"{printable(archive)}: has no room to be unpacked in {printable(folder.parent)}; make "
            "room, or set XDG_CACHE_HOME to a folder on another disk"
        )
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        shutil.copyfileobj(content, file)
