"""What of a box listens to the network, whoever opened it; for edge-doctor security.

From /proc/net, below a root.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kenpin.camera.genicam.host import Finding
from kenpin.config.line import Line

__all__ = ["examine_listeners"]

# net/tcp_states.h: a TCP socket that listens is in state 10; a UDP socket that is
# connected to nobody, and so takes from everybody, in state 7.
_STATES = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}


def examine_listeners(line: Line, root: Path = Path("/")) -> Finding:
    """Ports that other computers may reach and that are not this line's."""
    tables = [root / "proc/net" / name for name in _STATES]
    if not any(table.is_file() for table in tables):
        return Finding("open ports", "unknown", "/proc/net cannot be read")
    found = {port for table in tables for port in _ports(table)} - _own_ports(line)
    if not found:
        return Finding("open ports", "ok", "none but the line's that others may reach")
    ports = ", ".join(f"{kind} {port}" for kind, port in sorted(found))
    # Whether sshd belongs here, nobody but its owner can know.
    return Finding("open ports", "unknown", f"not this line's: {ports}; whose, says ss -ltunp")


def _ports(table: Path) -> Iterator[tuple[str, int]]:
    """Kind and number of each port that is bound beyond this computer."""
    try:
        rows = table.read_text().splitlines()[1:]
    except OSError:
        return
    for row in rows:
        words = row.split()
        host, _, port = words[1].partition(":")
        if words[3] == _STATES[table.name] and not _address(host).is_loopback:
            yield table.name.removesuffix("6"), int(port, 16)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address as /proc/net writes it: words of 32 bit, each in this machine's order."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    return ipaddress.ip_address(struct.pack(f"={len(words)}I", *words))


def _own_ports(line: Line) -> set[tuple[str, int]]:
    endpoints = (line.wire.ctl, line.wire.pub, line.wire.img)
    ports = [text.rpartition(":")[2] for text in endpoints if text and text.startswith("tcp:")]
    found = {("tcp", int(port)) for port in ports if port.isdigit()}
    # Of bridges those that listen; MQTT's go to a broker.
    served: list[Any] = [line.status, line.page, *line.bridges]
    return found | {("tcp", one.port) for one in served if hasattr(one, "address")}
