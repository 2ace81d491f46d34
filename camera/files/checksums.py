"""CRC-32 of each entry of a recording, in a file beside them that common tools can check, too.

SFV: a line for each file, its name and eight hex digits (`cksfv -f checksums.sfv`).
"""

from __future__ import annotations

import errno
import os
import re
import zlib
from collections.abc import Iterable
from pathlib import Path

__all__ = ["KIND", "ChecksumFile", "checksum", "read_checksums"]

# By which sum lines are checked, as a recording names it.
KIND = "crc32"
_FILE = "checksums.sfv"
_LINE = re.compile(r"(\S+) ([0-9a-f]{8})")


def checksum(parts: Iterable[bytes | memoryview]) -> int:
    """CRC-32 (IEEE 802.3, as zlib) of the parts one after the other."""
    found = 0
    for part in parts:
        found = zlib.crc32(part, found)
    return found


def read_checksums(folder: Path) -> dict[str, int]:
    """What is recorded of each file in one folder; lines that are none are skipped."""
    try:
        text = (folder / _FILE).read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return {}
    found = (_LINE.fullmatch(line) for line in text.splitlines())
    return {line[1]: int(line[2], 16) for line in found if line}


class ChecksumFile:
    """The file of one folder, being written: a whole line for each entry, or none."""

    def __init__(self, folder: Path) -> None:
        self._handle = os.open(folder / _FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._bytes = 0

    @staticmethod
    def line(name: str, value: int) -> bytes:
        """What is added for an entry."""
        return f"{name} {value:08x}\n".encode()

    def add(self, line: bytes) -> None:
        """Add a line; OSError, and nothing of it is there, if it could not be written."""
        if os.write(self._handle, line) != len(line):
            os.ftruncate(self._handle, self._bytes)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._bytes += len(line)

    def sync(self) -> None:
        """Everything added is on the disk after this."""
        os.fdatasync(self._handle)

    def close(self) -> None:
        """Let go."""
        os.close(self._handle)
