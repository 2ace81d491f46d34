"""Ports and paths that two sockets of one line would bind."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from kenpin.config.line import Line
from kenpin.config.settings import Listening
from kenpin.runtime.wire.endpoints import ipc_path

__all__ = ["taken_twice"]

_Address = IPv4Address | IPv6Address
_ANY_PORT = ("*", "0")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a setting lets a socket be bound.

    setting  which one
    written  the endpoint, as people read it
    port     of TCP; or the file of an ipc socket, however its path was written; or name and
             port, if nobody knows the name
    hosts    all addresses that its host stands for; those of a name are looked up
    """

    setting: str
    written: str
    port: str
    hosts: frozenset[_Address]

    def meets(self, other: _Place) -> bool:
        """Whether only one of them can be bound."""
        if self.port != other.port or not self.hosts:
            return self.port == other.port
        return any(_one(mine, theirs) for mine in self.hosts for theirs in other.hosts)


def taken_twice(line: Line) -> Iterator[str]:
    """Each setting that wants a place which another one wants, too, in a sentence."""
    seen: list[_Place] = []
    for place in _places(line):
        for other in seen:
            if place.meets(other):
                yield (
                    f"{place.setting}: {place.written} and {other.setting}, {other.written}, are "
                    "one place; give each its own port or path"
                )
                break
        seen.append(place)


def _places(line: Line) -> Iterator[_Place]:
    wanted = [(f"wire.{name}", getattr(line.wire, name)) for name in ("ctl", "img", "pub")]
    served: dict[str, Listening | None] = {"status": line.status, "page": line.page}
    served |= {f"bridges.{bridge.called}": bridge for bridge in line.bridges}
    served |= {f"sides.{side.called}": side for side in line.sides}
    for name, table in served.items():
        for address, port in table.listens if table else ():
            host = f"[{address}]" if ":" in address else address
            wanted.append((f"{name}.port", f"tcp://{host}:{port}"))
    for setting, endpoint in wanted:
        if endpoint is None:
            continue
        file = ipc_path(endpoint)
        if file is not None:
            yield _Place(setting, endpoint, str(file.resolve()), frozenset())
            continue
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        if port not in _ANY_PORT:
            hosts = _addresses(host.strip("[]"))
            yield _Place(setting, endpoint, port if hosts else f"{host}:{port}", hosts)


def _addresses(host: str) -> frozenset[_Address]:
    if host in ("", "*"):
        return frozenset({IPv6Address("::")})
    try:
        found: set[_Address] = {ip_address(host)}
    except ValueError:
        try:
            entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError:
            return frozenset()
        found = {ip_address(str(entry[4][0]).partition("%")[0]) for entry in entries}
    return frozenset(getattr(one, "ipv4_mapped", None) or one for one in found)


def _one(mine: _Address, theirs: _Address) -> bool:
    """Whether sockets of both addresses and one port exclude each other.

    Linux's `::` takes IPv4 too, unless it is told otherwise; `0.0.0.0` takes no IPv6.
    """
    everywhere = IPv6Address("::")
    if mine == theirs or everywhere in (mine, theirs):
        return True
    same_kind = mine.version == theirs.version
    return same_kind and (mine.is_unspecified or theirs.is_unspecified)
