"""What a running line has logged of itself, and the thread that writes it."""

from __future__ import annotations

import hashlib
import queue
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kenpin.config.line import Line
from kenpin.runtime.service.audit import AuditLog
from kenpin.runtime.service.audit_entry import AuditEntry, AuditError, What, Who

__all__ = ["AuditQueue", "settings_of", "trusted_of"]

_SECRET = re.compile("password|secret|token|passphrase", re.I)


def settings_of(line: Line) -> dict[str, Any]:
    """Every setting by its dotted key, as the log keeps it; what may be secret is hidden."""
    found: dict[str, Any] = {}

    def walk(tree: Mapping[str, Any], before: str) -> None:
        for name, value in tree.items():
            key = f"{before}{name}"
            if isinstance(value, dict):
                walk(value, f"{key}.")
            elif value is not None:
                found[key] = _shown(name, value)

    walk(line.model_dump(mode="json", serialize_as_any=True), "")
    return found


def _shown(name: str, value: Any) -> Any:
    """A value as the log may keep it: tables of a list are looked through, too."""
    if _SECRET.search(name):
        return "(hidden)"
    if isinstance(value, list):
        return [_shown("", item) for item in value]
    if isinstance(value, dict):
        return {key: _shown(key, item) for key, item in value.items()}
    return value


def trusted_of(line: Line) -> dict[str, dict[str, str]]:
    """Whose bundles are taken and who may come through a bridge: SHA-256 of each file, by item."""
    places = {"trust": line.trust}
    for bridge in line.bridges:
        places |= {f"{bridge.called} {key}": path for key, path in bridge.admitting.items()}
    return {f"{line.name}: {name}": _hashes(place) for name, place in places.items()}


def _hashes(place: Path | None) -> dict[str, str]:
    if place is None:
        return {}
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()
    }


_Noted = tuple[Who, What, str, Mapping[str, Any]]


class AuditQueue:
    """Writes a log from a thread that does nothing else: whoever tells it never waits.

    on_entry  called with each entry that was written, in that thread
    failed    why the last entry was not written; empty if it was
    """

    def __init__(self, log: AuditLog, on_entry: Callable[[AuditEntry], object]) -> None:
        self._log = log
        self._on_entry = on_entry
        self._queue: queue.SimpleQueue[_Noted | None] = queue.SimpleQueue()
        self.failed = ""
        self._thread = threading.Thread(target=self._drain, name="kenpin-audit", daemon=True)
        self._thread.start()

    def note(self, who: Who, what: What, item: str, now: Mapping[str, Any]) -> None:
        """Have it logged what is now otherwise about an item; see `AuditLog.write_changes`."""
        self._queue.put((who, what, item, now))

    def close(self, timeout_s: float = 2.0) -> None:
        """Wait for what is queued, so long at most."""
        self._queue.put(None)
        self._thread.join(timeout_s)

    def _drain(self) -> None:
        while (noted := self._queue.get()) is not None:
            try:
                entry = self._log.write_changes(*noted)
                self.failed = ""
            except AuditError as error:
                self.failed = str(error)
            else:
                if entry is not None:
                    self._on_entry(entry)
