"""File operations after which a power cut finds the old or the new, and nothing between."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = [
    "adopt",
    "copy_file",
    "hand_over",
    "hold",
    "lock",
    "make_folder",
    "point",
    "replace_file",
    "sync",
    "sync_tree",
]

_PIECE_BYTES = 1 << 20
_LOOK_AGAIN_S = 0.01


def lock(handle: int, patience_s: float) -> bool:
    """Lock an open file or folder for this process alone; False if others held it all the time.

    The lock ends with the handle, whatever happens to the process.
    """
    end = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(_LOOK_AGAIN_S)
        else:
            return True


def hold(folder: Path) -> int:
    """An open handle on a folder in use, for as long as nobody may remove it; see `lock`.

    Any number of processes may hold it.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    # Where somebody is removing it just now, what was read of it is in memory.
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return handle


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Wait until a folder and all that it holds are on the disk; its own name may not be."""
    # Contents first: a name must not be on the disk before what it names.
    for item in sorted(folder.rglob("*"), reverse=True):
        sync(item)
    sync(folder)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file's bytes to a new name; not yet on the disk when it returns.

    Everyone may read the copy, whatever the umask of who installs: the service
    runs as somebody else.
    """
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        with source.open("rb") as stream:
            while piece := stream.read(_PIECE_BYTES):
                rest = memoryview(piece)
                while rest:
                    rest = rest[os.write(handle, rest) :]
        os.fchmod(handle, 0o644)
    finally:
        os.close(handle)


def hand_over(handle: int, like: Path) -> None:
    """Let what root has open belong to whom `like` belongs; nobody else can give things away.

    Root sets a box up, and the service, another user, must read what it makes there. Whoever
    owns a folder could put anything into it anyway.
    """
    if os.geteuid() != 0:
        return
    wanted, found = like.stat(), os.fstat(handle)
    if (wanted.st_uid, wanted.st_gid) != (found.st_uid, found.st_gid):
        # Root of a container may lack the right to.
        with contextlib.suppress(PermissionError):
            os.fchown(handle, wanted.st_uid, wanted.st_gid)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above that are missing; of root's each belongs as the one above."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o755)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        hand_over(handle, folder.parent)
    finally:
        os.close(handle)


def replace_file(path: Path, data: bytes, *, mode: int = 0o644, alike: bool = False) -> None:
    """Give a file another content, or make it; readers see the old or the new.

    Parameters
    ----------
    alike
        What root writes belongs to whom the file belonged, or, if it is new, its folder.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    # What lies there under this name may be a link, made by whoever owns the folder.
    fresh.unlink(missing_ok=True)
    with _gone_unless_renamed(fresh):
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with open(handle, "wb", closefd=False) as stream:
                stream.write(data)
            if alike:
                hand_over(handle, path if path.is_file() else path.parent)
            os.fchmod(handle, mode)
            os.fsync(handle)
        finally:
            os.close(handle)
        fresh.rename(path)
    sync(path.parent)


def adopt(staging: Path, target: Path) -> None:
    """Move a finished folder to its name in the same file system, durably.

    A target of that name holds the same content, because names are content
    hashes: then the staging folder is dropped.
    """
    if target.exists():
        shutil.rmtree(staging)
        return
    sync_tree(staging)
    staging.rename(target)
    sync(target.parent)


def point(link: Path, target: Path) -> None:
    """Make a link lead to a sibling, atomically: readers see the old or the new."""
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    with _gone_unless_renamed(fresh):
        fresh.symlink_to(target.name)
        # A file system that does not keep the order could else rename a link it has lost.
        sync(link.parent)
        fresh.rename(link)
    sync(link.parent)


@contextlib.contextmanager
def _gone_unless_renamed(fresh: Path) -> Iterator[None]:
    """Whatever ends the writing, a full disk or Ctrl-C, leaves nothing under its first name."""
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink()
