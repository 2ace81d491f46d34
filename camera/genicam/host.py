"""What of the box itself costs a camera its frames: network, USB and memory settings."""

from __future__ import annotations

import resource
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

__all__ = ["Finding", "examine", "text_of"]

Grade = Literal["ok", "warning", "unknown", "unused"]

# A jumbo frame on Ethernet; smaller packets mean more interrupts for each frame.
_JUMBO_MTU = 9000
# IP and UDP headers, which GenICam's packet size counts and a network card's MTU too.
_RECEIVE_BYTES = 32 * 1024 * 1024
_USB_MB = 1000


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    found    what it is
    remedy   what to do if it is not as it should be
    """

    name: str
    grade: Grade
    found: str
    remedy: str = ""


def examine(
    transport: str,
    *,
    packet_bytes: int | None = None,
    locked_bytes: int = 0,
    root: Path = Path("/"),
) -> list[Finding]:
    """All that matters for a transport: `GEV`, `U3V`, or another one.

    Parameters
    ----------
    packet_bytes
        The camera's GevSCPSPacketSize, if it has one.
    locked_bytes
        Shared memory that should stay in memory: the frame ring.
    """
    findings = [
        *_for("GEV", transport, [*_networks(root, packet_bytes), _receive_buffers(root)]),
        *_for("U3V", transport, [_usb(root)]),
        _locked(locked_bytes),
    ]
    return findings


def _for(needed: str, transport: str, findings: list[Finding]) -> list[Finding]:
    """As they are for the transport that needs them, without complaint for another one."""
    if transport == needed:
        return findings
    return [
        replace(f, grade="unused", remedy=f"of no matter to a {transport} camera") for f in findings
    ]


def _networks(root: Path, packet_bytes: int | None) -> list[Finding]:
    found = []
    for card in sorted((root / "sys/class/net").glob("*")):
        if card.name == "lo" or text_of(card / "operstate") not in ("up", "unknown"):
            continue
        mtu = _number(card / "mtu")
        if mtu is None:
            found.append(Finding(f"MTU of {card.name}", "unknown", "cannot be read"))
            continue
        small = mtu < _JUMBO_MTU
        remedy = f"if the camera is on it: ip link set {card.name} mtu {_JUMBO_MTU}"
        found.append(
            Finding(
                f"MTU of {card.name}",
                "warning" if small else "ok",
                f"{mtu} bytes",
                remedy if small else "",
            )
        )
        if packet_bytes is not None and packet_bytes > mtu:
            found.append(
                Finding(
                    "packet size",
                    "warning",
                    f"{packet_bytes} bytes, {card.name} carries {mtu}",
                    f"set packet_bytes to {mtu} or raise the MTU, or no frame arrives",
                )
            )
    if packet_bytes is None:
        found.append(Finding("packet size", "unknown", "the camera has no GevSCPSPacketSize"))
    elif packet_bytes <= 1500:
        found.append(
            Finding(
                "packet size",
                "warning",
                f"{packet_bytes} bytes",
                f"set packet_bytes to {_JUMBO_MTU} where every switch carries it: fewer interrupts",
            )
        )
    return found


def _receive_buffers(root: Path) -> Finding:
    name, size = "receive buffers", _number(root / "proc/sys/net/core/rmem_max")
    if size is None:
        return Finding(name, "unknown", "net.core.rmem_max cannot be read")
    if size < _RECEIVE_BYTES:
        remedy = f"sysctl -w net.core.rmem_max={_RECEIVE_BYTES}, and in /etc/sysctl.d to keep it"
        return Finding(name, "warning", f"net.core.rmem_max {size} bytes", remedy)
    return Finding(name, "ok", f"net.core.rmem_max {size} bytes")


def _usb(root: Path) -> Finding:
    name, size = "USB memory", _number(root / "sys/module/usbcore/parameters/usbfs_memory_mb")
    if size is None:
        return Finding(name, "unknown", "usbfs_memory_mb cannot be read")
    if 0 < size < _USB_MB:
        remedy = (
            f"echo {_USB_MB} > /sys/module/usbcore/parameters/usbfs_memory_mb, and "
            f"usbcore.usbfs_memory_mb={_USB_MB} on the kernel's command line to keep it"
        )
        return Finding(name, "warning", f"{size} MB for all cameras", remedy)
    return Finding(name, "ok", f"{size} MB" if size else "no limit")


def _locked(wanted: int) -> Finding:
    soft, _hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft == resource.RLIM_INFINITY:
        return Finding("memory locks", "ok", "no limit")
    if soft < wanted:
        return Finding(
            "memory locks",
            "warning",
            f"{soft} bytes, the frame ring has {wanted}",
            "LimitMEMLOCK=infinity in the unit, or ulimit -l unlimited",
        )
    return Finding("memory locks", "ok", f"{soft} bytes")


def text_of(path: Path) -> str:
    """What a file of the kernel says, stripped; empty where it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = text_of(path)
    return int(text) if text.isdigit() else None
