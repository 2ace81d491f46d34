"""The archive's folder: whole entries only, so many bytes and files, the least wanted go first."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kenpin.config.line import ArchiveSpec
from kenpin.runtime.service.reviews import last_reviewed

__all__ = ["ArchiveStore", "Kind", "NoRoomError"]

# What a frame was judged to be: each has a folder of its own.
Kind = Literal["ng", "ok"]
KINDS: tuple[Kind, ...] = ("ng", "ok")

# An entry's name, and what belongs to it. Nothing else in the folder is touched.
_PIECE = re.compile(r"^(\d{12})\.(png|npy|json)(\.part)?$")
# Entries in a folder: few enough for any file manager.
_FOLDER_ENTRIES = 1000
# What a file takes on the disk is rounded up to blocks of this size.
_BLOCK = 4096
# Files that the disk must have room for beyond an entry's own.
_SPARE_FILES = 8
# For one new entry so many old ones may go: a disk whose space does not come back
# (snapshots, somebody else who fills it) must not empty the archive in one go.
_EVICTIONS_AT_ONCE = 8


class NoRoomError(Exception):
    """The entry was not kept, because something worthier holds the room."""


@dataclass(frozen=True, slots=True)
class _Kept:
    number: int
    bytes: int
    files: int


class ArchiveStore:
    """Entries under `ng/` and `ok/`, in the order of their numbers. Use it from one process.

    Quotas count what the store wrote; the floor of free space looks at the disk.

    Raises
    ------
    OSError
        If the folder is missing, cannot be read, or another process writes to it.
    """

    def __init__(self, spec: ArchiveSpec) -> None:
        self._spec = spec
        # The folder itself is never made: where a disk should be mounted and is not,
        # the system's own would be filled.
        self._handle = os.open(spec.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise OSError(
                error.errno, "another process writes there; give each line its own folder"
            ) from None
        self._entries: dict[Kind, deque[_Kept]] = {kind: deque() for kind in KINDS}
        self.bytes = 0
        self.files = 0
        self.evicted: Counter[Kind] = Counter()
        self.leftovers = 0
        try:
            # A disk was cleared by hand, and what was said of old frames is still known.
            self._next = last_reviewed(spec.folder) + 1
            for kind in KINDS:
                self._reconcile(kind)
            self._trim()
        except OSError:
            self.close()
            raise

    # -- at the start ----------------------------------------------------------------------

    def _reconcile(self, kind: Kind) -> None:
        """Count what is whole, and remove what an interrupted write left."""
        found: dict[int, dict[str, os.DirEntry[str]]] = {}
        torn: list[os.DirEntry[str]] = []
        for folder in self._folders(kind):
            with os.scandir(folder) as listing:
                for item in listing:
                    name = _PIECE.fullmatch(item.name)
                    if name and name[3]:
                        torn.append(item)
                    elif name:
                        found.setdefault(int(name[1]), {})[name[2]] = item
        for number in sorted(found):
            pieces = found[number]
            # The JSON gets its name last: with it the entry is whole.
            if {"json", "png"} <= pieces.keys():
                sizes = [_on_disk(item.stat().st_size) for item in pieces.values()]
                self._add(kind, _Kept(number, sum(sizes), len(sizes)))
            else:
                torn += pieces.values()
            self._next = max(self._next, number + 1)
        for item in torn:
            # On a disk that is read-only by now it stays, and does no harm.
            with contextlib.suppress(OSError):
                Path(item.path).unlink()
                self.leftovers += 1

    def _folders(self, kind: Kind) -> list[Path]:
        try:
            listed = [p for p in (self._spec.folder / kind).iterdir() if p.name.isdigit()]
        except FileNotFoundError:
            return []
        return sorted(folder for folder in listed if folder.is_dir())

    def _trim(self) -> None:
        """Quotas may be smaller than they were."""
        while self.bytes > self._spec.max_bytes or self.files > self._spec.max_files:
            if not self._evict("ng"):
                return

    # -- keeping ---------------------------------------------------------------------------

    def keep(self, kind: Kind, parts: dict[str, bytes]) -> Path:
        """Write an entry's files, by suffix, the JSON among them; its path without a suffix.

        Raises
        ------
        NoRoomError
            If only worthier or too few entries could make room.
        OSError
            If the disk refuses; nothing is left of the entry.
        """
        size = sum(_on_disk(len(data)) for data in parts.values())
        self._make_room(kind, size, len(parts))
        stem = self._folder_of(kind, self._next) / f"{self._next:012d}"
        written: list[Path] = []
        try:
            stem.parent.mkdir(parents=True, exist_ok=True)
            for suffix, data in parts.items():
                written.append(stem.with_suffix(f".{suffix}.part"))
                _write(written[-1], data)
            for path in sorted(written, key=lambda path: path.name.endswith(".json.part")):
                path.rename(path.with_suffix(""))
        except OSError:
            for path in written:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
                    path.with_suffix("").unlink(missing_ok=True)
            raise
        self._add(kind, _Kept(self._next, size, len(parts)))
        self._next += 1
        return stem

    def _make_room(self, kind: Kind, size: int, files: int) -> None:
        spec = self._spec
        if size > spec.max_bytes or files > spec.max_files:
            raise NoRoomError(f"an entry of {size} bytes is more than the whole archive may hold")
        crowded = False
        for evicted in range(_EVICTIONS_AT_ONCE + 1):
            quota = self.bytes + size > spec.max_bytes or self.files + files > spec.max_files
            crowded = self._disk_is_full(size, files)
            if not quota and not crowded:
                return
            if evicted == _EVICTIONS_AT_ONCE or not self._evict(kind):
                break
        if kind == "ok" and self._entries["ng"]:
            raise NoRoomError("only NG entries could make room")
        if crowded:
            raise NoRoomError(
                f"{spec.folder}: something else fills the disk beyond archive.min_free_bytes"
            )
        raise NoRoomError("the entry is many times larger than those it would replace")

    def _disk_is_full(self, size: int, files: int) -> bool:
        disk = os.statvfs(self._spec.folder)
        short = disk.f_bavail * disk.f_frsize < self._spec.min_free_bytes + size
        # Some file systems have no fixed number of files, and say 0.
        crowded = disk.f_files > 0 and disk.f_favail < files + _SPARE_FILES
        return short or crowded

    def _evict(self, for_kind: Kind) -> bool:
        """Remove the oldest OK entry, else for NG's sake the oldest NG one; False if neither."""
        victims: tuple[Kind, ...] = ("ok",) if for_kind == "ok" else ("ok", "ng")
        for kind in victims:
            entries = self._entries[kind]
            if entries:
                self._remove(kind, entries[0])
                entries.popleft()
                self.evicted[kind] += 1
                return True
        return False

    def _remove(self, kind: Kind, kept: _Kept) -> None:
        folder = self._folder_of(kind, kept.number)
        # The JSON first: what a power cut leaves of the rest is no entry.
        for suffix in ("json", "npy", "png"):
            (folder / f"{kept.number:012d}.{suffix}").unlink(missing_ok=True)
        self.bytes -= kept.bytes
        self.files -= kept.files
        with contextlib.suppress(OSError):  # others are still in it
            folder.rmdir()

    def _add(self, kind: Kind, kept: _Kept) -> None:
        self._entries[kind].append(kept)
        self.bytes += kept.bytes
        self.files += kept.files

    def _folder_of(self, kind: Kind, number: int) -> Path:
        return self._spec.folder / kind / f"{number // _FOLDER_ENTRIES:09d}"

    @property
    def counts(self) -> dict[str, int]:
        """What it holds and what it let go."""
        return {
            "ng": len(self._entries["ng"]),
            "ok": len(self._entries["ok"]),
            "bytes": self.bytes,
            "files": self.files,
            "evicted_ng": self.evicted["ng"],
            "evicted_ok": self.evicted["ok"],
            "leftovers": self.leftovers,
        }

    def close(self) -> None:
        """Let go of the folder. Closing twice is harmless."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _on_disk(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _write(path: Path, data: bytes) -> None:
    """All of it, down to the disk: a name must not outlive its bytes in a power cut."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fdatasync(handle)
    finally:
        os.close(handle)
