"""The audit log: who changed what, when, from what to what; each line seals the ones before it.

    STORE/audit.jsonl   of the lines that use this bundle store, or where `audit` says
    KEYS/audit.jsonl    of a folder of keys
    …/audit.head        how many lines there are, and the hash of the last

A line's hash covers its own text and the hash of the line before it, so that no
line can be altered, moved or taken out without breaking the chain; the head
beside it shows when lines at the end are gone. Whoever can write both files can
make both anew: a head that was noted elsewhere (the journal has each one) tells.

Several processes write the same log, one at a time: a lock on it orders them.
"""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kenpin.config.line import Line
from kenpin.runtime.bundles.durable import hand_over, lock, replace_file, sync
from kenpin.runtime.bundles.store import Store
from kenpin.runtime.service.audit_entry import (
    FIRST,
    AuditEntry,
    AuditError,
    What,
    Who,
    entry_of,
    hash_of,
    parse,
    plain,
    text_of,
)

__all__ = [
    "AuditLog",
    "Checked",
    "audit_of",
    "keys_audit",
    "log_in_force",
    "logs_of",
    "store_audit",
    "who_runs",
]

# Whoever holds the lock writes one line.
_PATIENCE_S = 5.0
_NAME = "audit.jsonl"


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of the chain found: `head` is the hash of the last of `count` lines."""

    count: int
    head: str


@dataclass(slots=True)
class _Read:
    """What was read of a log so far.

    file   its inode: whoever puts another file in its place is read from its start
    size   bytes
    count  lines, the last of which has the hash
    known  all that the lines say that is so now, by kind and item
    """

    file: int = 0
    size: int = 0
    count: int = 0
    hash: str = FIRST
    known: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)


def audit_of(line: Line) -> AuditLog:
    """The log of a line."""
    if line.audit is not None:
        return AuditLog(line.audit)
    whole = (line.bundles / "manifest.json").is_file()
    return store_audit(line.bundles.parent if whole else line.bundles)


def store_audit(store: Path) -> AuditLog:
    """The log of a bundle store, unless a line that uses it names another one."""
    return AuditLog(store / _NAME)


def keys_audit(folder: Path) -> AuditLog:
    """The log of a folder of keys."""
    return AuditLog(folder / _NAME)


def log_in_force(log: AuditLog, store: Store, before: str | None, who: Who, why: str) -> None:
    """Write which bundle came into force in a store, if it is not the one before.

    Raises
    ------
    AuditError
        As `AuditLog.write`.
    """
    if store.current != before:
        log.write(who, "bundle", "current", before=before, after=store.current, why=why)


def logs_of(line: Line) -> list[AuditLog]:
    """The line's own log, and those beside the keys and the users that it names."""
    found = [audit_of(line)]
    if line.wire.keys is not None:
        found.append(keys_audit(line.wire.keys))
    beside = {path.parent for bridge in line.bridges for path in bridge.admitting.values()}
    found += [keys_audit(folder) for folder in sorted(beside) if any(folder.glob("audit.*"))]
    return found


def who_runs(via: str) -> Who:
    """Whoever runs this process; behind sudo, whoever asked it."""
    try:
        user = getpass.getuser() if os.geteuid() else "root"
    except (KeyError, OSError):
        user = f"uid {os.geteuid()}"
    asked = os.environ.get("SUDO_USER", "")
    return Who(via, f"{asked} as {user}" if asked and asked != user else user)


class AuditLog:
    """A log at a path; it is made by its first entry. Blocks for a lock and a disk."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self.path = path
        self._now = now
        self._read = _Read()

    @property
    def _head(self) -> Path:
        return self.path.with_suffix(".head")

    # -- writing -------------------------------------------------------------------------

    def write(
        self,
        who: Who,
        what: What,
        item: str,
        *,
        before: Any = None,
        after: Any = None,
        why: str = "",
    ) -> AuditEntry:
        """Add a line; when this returns, it is on the disk.

        Raises
        ------
        AuditError
            If the log cannot be written, or its last line is not what was written.
        """
        with self._locked() as handle:
            last = self._whole_last(handle)
            return self._append(handle, last, who, what, item, before, after, why)

    def write_changes(
        self, who: Who, what: What, item: str, now: Mapping[str, Any]
    ) -> AuditEntry | None:
        """Add a line about what is no longer as the log has it; None if all is as it was.

        Parameters
        ----------
        item
            Nobody else writes about it: every line about it is taken for what was so.
        now
            All that there is to say of the item. Values are never None: a key that is
            gone is logged as None.

        Raises
        ------
        AuditError
            As `write`, or if the log is damaged.
        """
        now = plain(now)
        # Read and written under one lock, and what a power cut tore is mended before it is read.
        with self._locked() as handle:
            last = self._whole_last(handle)
            known = self._known(handle).get((what, item), {})
            changed = sorted(k for k in known.keys() | now.keys() if known.get(k) != now.get(k))
            if not changed:
                return None
            before, after = ({k: values.get(k) for k in changed} for values in (known, now))
            return self._append(handle, last, who, what, item, before, after, "")

    def _known(self, handle: int) -> dict[tuple[str, str], dict[str, Any]]:
        """What the log has of every item; only what was written since is read.

        A log of months takes half a second, and a line's bundle changes while it judges.
        """
        read = self._read
        stat = os.fstat(handle)
        if stat.st_ino != read.file or stat.st_size < read.size:
            read = _Read(file=stat.st_ino)
        # What fails half-way is read from its start the next time.
        self._read, data, rest = _Read(), b"", stat.st_size - read.size
        while piece := os.pread(handle, rest - len(data), read.size + len(data)):
            data += piece
        for entry in self._entries(data.split(b"\n"), read.count, read.hash):
            read.count, read.hash = entry.n, entry.hash
            # Such as that of the link `current`, for a line of that name.
            if isinstance(entry.after, dict):
                read.known.setdefault((entry.what, entry.item), {}).update(entry.after)
        read.size += len(data)
        self._read = read
        return read.known

    def _append(
        self, handle: int, last: AuditEntry | None, who: Who, what: What, item: str, *rest: Any
    ) -> AuditEntry:
        before, after, why = rest
        at = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds")
        body = {
            "n": last.n + 1 if last else 1,
            "at": at.replace("+00:00", "Z"),
            "who": {name: text for name, text in asdict(who).items() if text},
            "what": what,
            "item": item,
            "before": plain(before),
            "after": plain(after),
            "why": why,
            "prev": last.hash if last else FIRST,
        }
        body["hash"] = hash_of(body)
        try:
            text = memoryview(text_of(body).encode() + b"\n")
            while text:
                text = text[os.write(handle, text) :]
            os.fsync(handle)
            if last is None:
                sync(self.path.parent)
            replace_file(self._head, f"{body['n']} {body['hash']}\n".encode(), alike=True)
        except OSError as error:
            raise AuditError(f"{self.path}: {error.strerror}; the change is not logged") from error
        return entry_of(body)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        try:
            # Whose folder it is may be less than root: no link of theirs is followed.
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            handle = os.open(self.path, flags, 0o640)
            # Root writes it, and the line's user, too.
            hand_over(handle, self.path.parent)
        except OSError as error:
            raise AuditError(f"{self.path}: {error.strerror}; the change is not logged") from error
        try:
            if not lock(handle, _PATIENCE_S):
                raise AuditError(
                    f"{self.path}: somebody else has held it for {_PATIENCE_S:.0f} s; the "
                    "change is not logged"
                )
            yield handle
        finally:
            os.close(handle)

    def _whole_last(self, handle: int) -> AuditEntry | None:
        """As `_last`, of a log of which not everything was taken away."""
        last = self._last(handle)
        if last is None and self._head.exists():
            raise AuditError(f"{self.path}: empty, yet {self._head.name} knows of lines in it")
        return last

    def _last(self, handle: int) -> AuditEntry | None:
        """The last whole line; what a power cut left of one is cut off, as a line then says."""
        size = os.fstat(handle).st_size
        tail = b""
        while size > len(tail) and tail.count(b"\n") < 2:
            start = max(0, size - 2 * len(tail) - 4096)
            tail = os.pread(handle, size - start, start)
        torn = len(tail) - tail.rfind(b"\n") - 1
        if torn:
            os.ftruncate(handle, size - torn)
        lines = tail[: len(tail) - torn].split(b"\n")
        last = parse(self.path, lines[-2], "the last line") if len(lines) > 1 else None
        if torn:
            cut = Who("service")
            what = f"{torn} bytes of a line that was being written when the box stopped"
            return self._append(handle, last, cut, "log", "torn line", what, None, "")
        return last

    # -- reading -------------------------------------------------------------------------

    def entries(self) -> list[AuditEntry]:
        """Every line, in order; none if there is no log.

        Raises
        ------
        AuditError
            If a line is not what was written, or cannot be read.
        """
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise AuditError(f"{self.path}: {error.strerror}") from error
        return list(self._entries(lines))

    def _entries(
        self, lines: list[bytes], before: int = 0, prev: str = FIRST
    ) -> Iterator[AuditEntry]:
        """The lines that follow that many; the last of that list is what comes after a newline."""
        if lines[-1]:
            raise AuditError(
                f"{self.path}: line {before + len(lines)} is cut off; a power cut, or an edit"
            )
        for number, text in enumerate(lines[:-1], before + 1):
            entry = parse(self.path, text, f"line {number}")
            if (entry.n, entry.prev) != (number, prev):
                raise AuditError(
                    f"{self.path}: line {number} does not follow the line before it; lines were "
                    "taken out, moved or put in"
                )
            yield entry
            prev = entry.hash

    def verify(self, remembered: str | None = None) -> Checked:
        """Check every line, that none is missing, and that the log goes on from a noted head.

        Parameters
        ----------
        remembered
            The hash of any line, noted elsewhere earlier.

        Raises
        ------
        AuditError
            If lines were altered, taken out or cut off.
        """
        entries = self.entries()
        hashes = [entry.hash for entry in entries]
        count, head = self._recorded()
        # A power cut between a line and its head leaves the head one line behind.
        if count > len(hashes) or (count and hashes[count - 1] != head):
            raise AuditError(
                f"{self.path}: {self._head.name} knows of {count} lines, the log has {len(hashes)} "
                "and another history; lines at its end were cut off"
            )
        if not count and hashes:
            raise AuditError(f"{self._head}: missing, yet the log has {len(hashes)} lines")
        if remembered is not None and remembered not in hashes:
            raise AuditError(
                f"{self.path}: holds no line of hash {remembered}; it was written anew since then"
            )
        return Checked(len(hashes), hashes[-1] if hashes else FIRST)

    def _recorded(self) -> tuple[int, str]:
        try:
            count, head = self._head.read_text().split()
            return int(count), head
        except FileNotFoundError:
            return 0, FIRST
        except (OSError, ValueError) as error:
            raise AuditError(f"{self._head}: damaged ({error})") from None
