"""Addresses of sockets: which are local, and which must not be bound."""

from __future__ import annotations

import ipaddress
import re
import socket
import stat
from pathlib import Path

__all__ = ["EndpointError", "check_endpoint", "ipc_path", "is_local", "refuse_taken"]

# Numbers only: a name may mean another address tomorrow.
_TCP = re.compile(r"tcp://(\*|[0-9.]+|\[[0-9a-fA-F:.]+\]):(\*|[0-9]{1,5})")
# Absolute, because libzmq makes `ipc://*` and relative paths in the current folder.
_IPC = re.compile(r"ipc://(/[^*\0]+)")


class EndpointError(ValueError):
    """An address that must not or cannot be bound; stops the service at start."""


def check_endpoint(endpoint: str, *, keys: bool = False) -> None:
    """Refuse what strangers could reach, and what is not an address at all.

    keys  the socket asks its clients for keys, so it may be reached

    Raises
    ------
    EndpointError
        If `endpoint` is neither TCP with an address in numbers, nor an absolute
        ipc path; or is not local and there are no keys.
    """
    if _IPC.fullmatch(endpoint) or _loopback(endpoint) or (keys and _loopback(endpoint) is False):
        return
    raise EndpointError(
        f"endpoint {endpoint!r}: expected tcp://127.0.0.1:PORT (* for any free one) or "
        "ipc:///absolute/path; any other address, in numbers, needs keys: "
        "edge-run keys new FOLDER, and wire.keys = FOLDER"
    )


def is_local(endpoint: str) -> bool:
    """Whether only this computer reaches it."""
    return bool(_IPC.fullmatch(endpoint) or _loopback(endpoint))


def ipc_path(endpoint: str) -> Path | None:
    """The file of an ipc socket, None for any other."""
    found = _IPC.fullmatch(endpoint)
    return Path(found[1]) if found else None


def _loopback(endpoint: str) -> bool | None:
    """Whether a TCP address is loopback; None if it is no TCP address."""
    found = _TCP.fullmatch(endpoint)
    # libzmq takes port 70000 modulo 65536 and binds 4464.
    if not found or (found[2] != "*" and int(found[2]) > 65535):
        return None
    if found[1] == "*":
        return False
    try:
        return ipaddress.ip_address(found[1].strip("[]")).is_loopback
    except ValueError:
        return None


def refuse_taken(endpoint: str) -> None:
    """Refuse an ipc path where somebody listens: libzmq would take it over silently.

    Raises
    ------
    EndpointError
        If anything but what a killed process left behind is there.
    """
    path = ipc_path(endpoint)
    if path is None:
        return
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # nothing there, or nothing we may see: bind will say so
    if not stat.S_ISSOCK(mode):
        raise EndpointError(f"{endpoint}: a file that is no socket lies there; remove it yourself")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return  # left behind by a process that was killed
        except OSError as error:
            raise EndpointError(f"{endpoint}: cannot be examined: {error}") from error
    raise EndpointError(f"{endpoint}: another publisher is bound there; stop it or choose a path")
