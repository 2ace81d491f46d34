"""CURVE keys as files: the line's own, and one for each client that it admits.

    FOLDER/line.key_secret      the line's pair of keys; mode 600
    FOLDER/line.key             its public key, for clients
    FOLDER/clients/NAME.key     a client's public key: whose lies here is admitted
    FOLDER/revoked/N-NAME.key   whose was admitted once
    anywhere/NAME.key_secret    all that a client needs: its pair, and the line's
                                public key; mode 600

The format is that of CZMQ's and pyzmq's certificates (ZPL), so their tools read
these files, and keys made by them can be admitted.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import zmq

from kenpin.config.errors import ConfigError
from kenpin.config.text import brief
from kenpin.runtime.bundles.durable import hand_over, make_folder

__all__ = [
    "Admitted",
    "ClientKeys",
    "KeysError",
    "LineKeys",
    "admit",
    "new_client",
    "new_line",
    "parse_keys",
    "read_admitted",
    "read_client",
    "read_line",
    "revoke",
]

SECRET_MODE = 0o600
PUBLIC_MODE = 0o644
# Our own files have about 400 bytes.
_MAX_FILE_BYTES = 4096
_MAX_CLIENTS = 1000

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ENTRY = re.compile(rb'[ \t]*([a-z-]+)[ \t]*=[ \t]*"([^"\r\n]*)"[ \t\r]*')
_Z85 = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_KEY_CHARS = 40


class KeysError(ConfigError):
    """Keys that cannot be used, made or trusted."""


@dataclass(frozen=True, slots=True)
class LineKeys:
    """What a line proves itself with; Z85 text, 40 characters each."""

    public: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """What a client proves itself with, and the line that it trusts; Z85 text."""

    public: bytes
    secret: bytes = field(repr=False)
    line: bytes

    def on(self, socket: zmq.Socket[bytes]) -> None:
        """Let a socket use them; before it connects."""
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.secret)
        socket.setsockopt(zmq.CURVE_SERVERKEY, self.line)


@dataclass(frozen=True, slots=True)
class Admitted:
    """Who may come in: public key to name; and the files that admit nobody, with the reason."""

    names: Mapping[bytes, str]
    problems: tuple[str, ...] = ()


# -- made ------------------------------------------------------------------------------------


def new_line(folder: Path) -> Path:
    """Make the line's keys in a folder; its public key's file.

    Raises
    ------
    KeysError
        If there are keys already: whoever overwrites them locks every client out.
    """
    for part in (folder, folder / "clients"):
        make_folder(part)
    public, secret = zmq.curve_keypair()
    _write(folder / "line.key_secret", {"public-key": public, "secret-key": secret}, SECRET_MODE)
    _write(folder / "line.key", {"public-key": public}, PUBLIC_MODE)
    return folder / "line.key"


def new_client(folder: Path, name: str, out: Path) -> None:
    """Make keys for a client, admit it, and write what it needs to `out`.

    Raises
    ------
    KeysError
        If the name is taken, or `out` exists.
    """
    line = read_line(folder, for_owner=True).public
    public, secret = zmq.curve_keypair()
    _refuse_taken(folder, name, public)
    pair = {"public-key": public, "secret-key": secret, "line-key": line}
    _write(out, pair, SECRET_MODE)
    try:
        admit(folder, name, public)
    except (KeysError, OSError):
        out.unlink()
        raise


def admit(folder: Path, name: str, public: bytes) -> None:
    """Admit a client that keeps its secret key to itself.

    Raises
    ------
    KeysError
        If the name or the key is taken, or is none.
    """
    _refuse_taken(folder, name, public)
    _write(folder / "clients" / f"{name}.key", {"public-key": public}, PUBLIC_MODE)


def revoke(folder: Path, name: str) -> Path:
    """Admit a client no longer; where its public key lies from now on.

    Raises
    ------
    KeysError
        If nobody of that name is admitted.
    """
    _check_name(name)
    known = folder / "clients" / f"{name}.key"
    if not known.is_file():
        names = ", ".join(sorted(read_admitted(folder).names.values())) or "nobody"
        raise KeysError(f"{known}: no such client; admitted are: {names}")
    gone = folder / "revoked"
    make_folder(gone)
    number = 1
    while (aside := gone / f"{number}-{name}.key").exists():
        number += 1
    known.rename(aside)
    return aside


# -- read ------------------------------------------------------------------------------------


def read_line(folder: Path, *, for_owner: bool = False) -> LineKeys:
    """The line's own keys.

    Parameters
    ----------
    for_owner
        Root looks after what another user runs: a secret may belong to whoever owns its folder,
        who could put any other there. The service itself takes its own user's and root's alone.

    Raises
    ------
    KeysError
        If they are missing, no keys, or readable by others; or if others could
        add a client.
    """
    path = folder / "line.key_secret"
    for part in (folder, folder / "clients"):
        _refuse_writable(part)
    remedy = f"make them: edge-run keys new {folder}"
    found = _read_secret(path, remedy, for_owner=for_owner)
    return LineKeys(found["public-key"], found["secret-key"])


def read_client(path: Path, *, for_owner: bool = False) -> ClientKeys:
    """A client's own keys, from the file that `new_client` wrote; `for_owner` as of `read_line`.

    Raises
    ------
    KeysError
        If it is missing, holds not all three keys, or is readable by others.
    """
    remedy = "have it made: edge-run keys client NAME FOLDER"
    found = _read_secret(path, remedy, for_owner=for_owner)
    if "line-key" not in found:
        raise KeysError(f'{path}: names no line; add the line\'s public key as line-key = "…"')
    return ClientKeys(found["public-key"], found["secret-key"], found["line-key"])


def read_admitted(folder: Path) -> Admitted:
    """Who is admitted now. A file that is no key admits nobody and is named.

    Raises
    ------
    OSError
        If the folder cannot be listed.
    """
    names: dict[bytes, str] = {}
    problems = []
    files = sorted(path for path in (folder / "clients").iterdir() if path.suffix == ".key")
    for path in files[:_MAX_CLIENTS]:
        try:
            public = parse_keys(_bytes_of(path))["public-key"]
        except FileNotFoundError:
            continue  # revoked just now
        except KeyError:
            problems.append(f"{path}: holds no public-key")
        except (OSError, ValueError) as error:
            problems.append(f"{path}: {error}")
        else:
            names.setdefault(public, path.stem)
    if len(files) > _MAX_CLIENTS:
        problems.append(f"{folder}/clients: {len(files)} clients, at most {_MAX_CLIENTS} are read")
    return Admitted(names, tuple(problems))


def parse_keys(text: bytes) -> dict[str, bytes]:
    """The keys in a certificate, by name.

    Raises
    ------
    ValueError
        If one of them is no key.
    """
    found = {}
    for line in text.split(b"\n"):
        entry = _ENTRY.fullmatch(line)
        if entry and entry[1].endswith(b"-key"):
            found[entry[1].decode()] = _key(entry[2])
    return found


def _key(text: bytes) -> bytes:
    if len(text) != _KEY_CHARS or any(byte not in _Z85 for byte in text):
        raise ValueError(f"{brief(text)} is no key, expected {_KEY_CHARS} characters of Z85")
    for start in range(0, _KEY_CHARS, 5):
        value = 0
        for byte in text[start : start + 5]:
            value = value * 85 + _Z85.index(byte)
        if value >= 2**32:
            raise ValueError(f"{text!r} is no key: {text[start : start + 5]!r} is beyond 32 bits")
    return text


def _read_secret(path: Path, remedy: str, *, for_owner: bool) -> dict[str, bytes]:
    owners = {0, os.geteuid()}
    try:
        if for_owner and os.geteuid() == 0:
            owners.add(path.parent.stat().st_uid)
        found = parse_keys(_bytes_of(path, owners))
    except FileNotFoundError:
        raise KeysError(f"{path}: no such file; {remedy}") from None
    except (OSError, ValueError) as error:
        raise KeysError(f"{path}: {error}") from None
    if "public-key" not in found or "secret-key" not in found:
        raise KeysError(f"{path}: expected a public-key and a secret-key; {remedy}")
    if zmq.curve_public(found["secret-key"]) != found["public-key"]:
        raise KeysError(f"{path}: the public key does not belong to the secret one; {remedy}")
    return found


def _bytes_of(path: Path, owners: Collection[int] | None = None) -> bytes:
    """What a file holds; with `owners` it is secret, and must belong to one of these users."""
    # A pipe in place of a file would be waited for.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb") as file:  # noqa: PTH123 a descriptor, not a path
        # Of the very file that is read, not of whatever has that name a moment later.
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("is no plain file")
        if owners is not None:
            _refuse_wide(path, status, owners)
        text = file.read(_MAX_FILE_BYTES + 1)
    if len(text) > _MAX_FILE_BYTES:
        raise ValueError(f"has more than {_MAX_FILE_BYTES} bytes; this is no key")
    return text


def _refuse_wide(path: Path, status: os.stat_result, owners: Collection[int]) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise KeysError(
            f"{path}: mode {mode:o}, others could read the secret; chmod 600 it, and if anybody "
            "did read it, make new keys"
        )
    if status.st_uid not in owners:
        expected = " or ".join(f"user {user}" if user else "root" for user in sorted(owners))
        raise KeysError(
            f"{path}: belongs to user {status.st_uid}, who could change it; expected {expected}: "
            "chown it"
        )


def _refuse_writable(folder: Path) -> None:
    try:
        mode = stat.S_IMODE(folder.stat().st_mode)
    except OSError as error:
        raise KeysError(f"{folder}: {error.strerror}; edge-run keys new makes it") from None
    if mode & 0o022:
        raise KeysError(f"{folder}: mode {mode:o}, others could admit a client; chmod 755 it")


# -- written ---------------------------------------------------------------------------------


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name.startswith("."):
        raise KeysError(f"{name!r}: expected 1 to 64 of A-Z a-z 0-9 . _ - and no dot in front")


def _refuse_taken(folder: Path, name: str, public: bytes) -> None:
    _check_name(name)
    try:
        _key(public)
        admitted = read_admitted(folder).names
    except ValueError as error:
        raise KeysError(str(error)) from None
    except OSError as error:
        raise KeysError(f"{folder}: {error.strerror}; edge-run keys new makes it") from None
    if (folder / "clients" / f"{name}.key").exists():
        raise KeysError(f"{name}: is admitted already; revoke it first, or choose another name")
    ours = folder / "line.key_secret"
    if ours.exists() and public == read_line(folder, for_owner=True).public:
        raise KeysError(
            f"{name}: this is the line's own key, which every client knows; give the client's own"
        )
    if public in admitted:
        # Revoking one of two names would leave the key admitted.
        raise KeysError(f"{name}: this key is admitted already, as {admitted[public]}")


def _write(path: Path, keys: Mapping[str, bytes], mode: int) -> None:
    """Write a new file, on the disk before anybody relies on it; never over an old one."""
    text = b"# CURVE keys of kenpin; see docs/security.md\ncurve\n"
    text += b"".join(b'    %s = "%s"\n' % (name.encode(), key) for name, key in keys.items())
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        raise KeysError(f"{path}: exists, and keys are never overwritten; move it away") from None
    except OSError as error:
        raise KeysError(f"{path}: cannot be written ({error.strerror})") from None
    with open(handle, "wb") as file:  # noqa: PTH123
        # The mask of the shell may have taken the group's right to read a public key.
        os.fchmod(handle, mode)
        hand_over(handle, path.parent)
        file.write(text)
        file.flush()
        os.fsync(handle)
