"""A line of the audit log: what it says, and how it seals the lines before it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = [
    "FIRST",
    "AuditEntry",
    "AuditError",
    "What",
    "Who",
    "entry_of",
    "hash_of",
    "parse",
    "plain",
    "text_of",
]

# What an entry of the audit log is about.
What = Literal["bundle", "threshold", "review", "key", "setting", "alarm", "account", "log"]
# What the first line has for the hash of the line before it.
FIRST = "0" * 64


class AuditError(Exception):
    """The log cannot be written, or is not what was written: says which line, and why."""


@dataclass(frozen=True, slots=True)
class Who:
    """Who changed something.

    via   the way it came: "edge-run bundles", "page", "ctl", "service"
    user  of the system or of the page; empty if unknown
    key   the client's name or key, where it came over the wire
    """

    via: str
    user: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the log.

    n       counts from 1
    at      UTC, as the box's clock had it
    what    kind of thing that was changed
    item    which one: a line, a client, a setting's key, an alarm's source
    before, after
            plain JSON values; None where there is none
    why     in the words of whoever did it
    prev    hash of the line before
    hash    SHA-256 of all the above, as canonical JSON
    """

    n: int
    at: str
    who: Who
    what: str
    item: str
    before: Any
    after: Any
    why: str
    prev: str
    hash: str


def plain(value: Any) -> Any:
    """A value as JSON has it, so that what is compared is what is read back."""
    return json.loads(json.dumps(value, default=str))


def text_of(body: Mapping[str, Any]) -> str:
    """The line, without its end: the same for the same body, or its hash would be another."""
    return json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def hash_of(body: Mapping[str, Any]) -> str:
    """SHA-256 of all but the hash itself, which may be there or not."""
    rest = {name: value for name, value in body.items() if name != "hash"}
    return hashlib.sha256(text_of(rest).encode()).hexdigest()


def parse(path: Path, text: bytes, which: str) -> AuditEntry:
    """The entry that a line of a log is.

    Raises
    ------
    AuditError
        If it is not, to the byte, what was written; `which` says which one.
    """
    try:
        body = json.loads(text)
        sound = text_of(body).encode() == text and hash_of(body) == body["hash"]
        if sound:
            return entry_of(body)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise AuditError(f"{path}: {which} is not what was written; it was altered, or the disk fails")


def entry_of(body: Mapping[str, Any]) -> AuditEntry:
    """The entry of a line's JSON."""
    return AuditEntry(**{**body, "who": Who(**body["who"])})
