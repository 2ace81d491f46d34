"""Who may use the page: people with a role, their passwords hashed by argon2, and sessions."""

from __future__ import annotations

import json
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from kenpin.config.errors import ConfigError
from kenpin.config.page import ROLES, Role
from kenpin.config.passwords import check_password
from kenpin.config.text import brief
from kenpin.runtime.bundles.durable import replace_file

__all__ = ["Accounts", "Login", "Logins", "TooManyTriesError"]

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
# A floor's tablet stays logged in for a shift and a half; one that nobody touches does not.
LIFE_S, IDLE_S = 12 * 3600.0, 3600.0
MOST_SESSIONS = 256
# After so many wrong passwords for one name, or from one address, the next must wait.
FREE_TRIES, LOCK_S, LONGEST_LOCK_S = 5, 5.0, 900.0
MOST_WATCHED = 10_000


class TooManyTriesError(Exception):
    """Somebody guesses; says for how long they must wait."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many wrong passwords; wait {wait_s:.0f} s")
        self.wait_s = wait_s


class Accounts:
    """A file of people: `{name: {"role": …, "hash": …}}`. Read anew at each login."""

    def __init__(self, file: Path, hasher: PasswordHasher | None = None) -> None:
        self._file = file
        self._hasher = hasher or PasswordHasher()
        # A name that nobody has takes as long as a wrong password.
        self._nobody = self._hasher.hash(secrets.token_hex(8))
        self._seen: tuple[object, dict[str, dict[str, str]]] | None = None

    def read(self) -> dict[str, dict[str, str]]:
        """All people.

        Raises
        ------
        ConfigError
            If the file is missing, is not ours, or others than its owner may read it.
        """
        try:
            mode = self._file.stat().st_mode
            tree: Any = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{self._file}: cannot be read as accounts ({error}); make it by "
                "edge-run page LINE.toml add NAME --role set"
            ) from None
        if mode & 0o007:
            raise ConfigError(f"{self._file}: others may read the hashes in it; chmod o= it")
        if not isinstance(tree, dict) or not all(_whole(one) for one in tree.values()):
            raise ConfigError(f"{self._file}: holds no accounts; make it anew")
        return tree

    def set(self, name: str, password: str, role: Role) -> None:
        """Make or change a person.

        Raises
        ------
        ConfigError
            If the name or the password will not do.
        """
        if not _NAME.fullmatch(name):
            raise ConfigError(f"name {brief(name)}: expected letters, digits and . _ - only")
        check_password(password)
        known = self.read() if self._file.exists() else {}
        known[name] = {"role": role, "hash": self._hasher.hash(password)}
        self._write(known)

    def remove(self, name: str) -> None:
        """Take a person off.

        Raises
        ------
        ConfigError
            If there is no such person.
        """
        known = self.read()
        if known.pop(name, None) is None:
            raise ConfigError(f"{self._file}: knows no {name!r}; it knows {', '.join(known)}")
        self._write(known)

    def check(self, name: str, password: str) -> Role | None:
        """The person's role; None if name or password is wrong."""
        known = self.read().get(name)
        try:
            self._hasher.verify(self._nobody if known is None else known["hash"], password)
        except (VerificationError, InvalidHashError):
            return None
        return None if known is None else ROLES[[str(r) for r in ROLES].index(known["role"])]

    def stamp(self, name: str) -> str:
        """What is kept of a person, as a token that changes with password and role; "" if nothing.

        Raises
        ------
        ConfigError
            If the file cannot be read as accounts.
        """
        try:
            at = self._file.stat()
            seen = at.st_ino, at.st_mtime_ns, at.st_size, at.st_mode
        except OSError:
            seen = None
        if seen is None or self._seen is None or self._seen[0] != seen:
            self._seen = seen, self.read()
        known = self._seen[1].get(name)
        return "" if known is None else f"{known['role']} {known['hash']}"

    def _write(self, known: dict[str, dict[str, str]]) -> None:
        text = json.dumps(known, indent=1, sort_keys=True) + "\n"
        replace_file(self._file, text.encode(), mode=0o640, alike=True)


def _whole(one: Any) -> bool:
    return isinstance(one, dict) and one.get("role") in ROLES and isinstance(one.get("hash"), str)


@dataclass(slots=True)
class Login:
    """One browser: who sits there, what they may do, and a secret that its requests must know.

    stamp  of the person when they logged in; another one, and the session is over
    """

    user: str
    role: Role
    csrf: str
    begun: float
    seen: float
    stamp: str = ""

    def may(self, role: Role) -> bool:
        """Whether what needs this role is allowed."""
        return ROLES.index(self.role) >= ROLES.index(role)


class Logins:
    """Logins and their ends; in memory, so that a restart of the page ends all.

    accounts    None: whoever comes is `local`
    """

    def __init__(
        self,
        accounts: Accounts | None,
        local_role: Role,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._accounts = accounts
        self._local_role = local_role
        self._clock = clock
        self._lock = threading.Lock()
        self._all: dict[str, Login] = {}
        self._wrong: dict[str, tuple[int, float]] = {}

    @property
    def needed(self) -> bool:
        """Whether people must log in."""
        return self._accounts is not None

    def of(self, token: str | None) -> Login | None:
        """The session behind a cookie; None if it is none, or has ended."""
        now = self._clock()
        with self._lock:
            session = self._all.get(token or "")
            if session is None or token is None:
                return None
            if now - session.begun > LIFE_S or now - session.seen > IDLE_S:
                del self._all[token]
                return None
            if self._accounts is not None and not self._still(session):
                del self._all[token]
                return None
            session.seen = now
            return session

    def _still(self, session: Login) -> bool:
        """Whether the person is there, with the role and the password that they came with."""
        assert self._accounts is not None
        try:
            return self._accounts.stamp(session.user) == session.stamp
        except ConfigError:
            return False

    def guest(self) -> tuple[str, Login]:
        """A session without login, on a page that needs none: its cookie."""
        assert self._accounts is None, "whoever comes must log in"
        return self._opened("local", self._local_role)

    def log_in(self, name: str, password: str, address: str, old: str | None) -> tuple[str, Login]:
        """A new session: its cookie. Whatever cookie came with the request is void.

        Raises
        ------
        TooManyTriesError
            If this name or address has guessed too often.
        PermissionError
            If name or password is wrong; which, is not said.
        """
        assert self._accounts is not None, "nobody needs to log in"
        keys = (f"name {name}", f"address {address}")
        with self._lock:
            wait = max(self._wait(key) for key in keys)
            if wait > 0:
                raise TooManyTriesError(wait)
            # Counted before it is checked: a hundred tries at once are a hundred tries.
            for key in keys:
                self._count(key)
        # Before: whoever changes meanwhile is logged out again.
        stamp = self._accounts.stamp(name)
        role = self._accounts.check(name, password)
        if role is None:
            raise PermissionError("name or password is wrong")
        with self._lock:
            for key in keys:
                self._wrong.pop(key, None)
            self._all.pop(old or "", None)
        return self._opened(name, role, stamp)

    def log_out(self, token: str | None) -> None:
        """End a session."""
        with self._lock:
            self._all.pop(token or "", None)

    def _opened(self, user: str, role: Role, stamp: str = "") -> tuple[str, Login]:
        now = self._clock()
        token = secrets.token_urlsafe(32)
        session = Login(user, role, secrets.token_urlsafe(32), now, now, stamp)
        with self._lock:
            while len(self._all) >= MOST_SESSIONS:
                del self._all[min(self._all, key=lambda one: self._all[one].seen)]
            self._all[token] = session
        return token, session

    def _wait(self, key: str) -> float:
        count, last = self._wrong.get(key, (0, 0.0))
        if count < FREE_TRIES:
            return 0.0
        lock = min(LOCK_S * 2.0 ** (count - FREE_TRIES), LONGEST_LOCK_S)
        return max(0.0, last + lock - self._clock())

    def _count(self, key: str) -> None:
        if len(self._wrong) >= MOST_WATCHED and key not in self._wrong:
            del self._wrong[min(self._wrong, key=lambda one: self._wrong[one][1])]
        count, _ = self._wrong.get(key, (0, 0.0))
        self._wrong[key] = (count + 1, self._clock())
