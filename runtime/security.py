"""How a box and a line are kept, seen from the box itself; for edge-doctor security.

Looks at the line's settings, at modes and ages of files, at what listens, at the kernel and
the disks; changes nothing. docs/security.md says whom each of these stops.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kenpin.camera.genicam.host import Finding
from kenpin.config.bridges import is_loopback
from kenpin.config.line import Line
from kenpin.config.page import ROLES
from kenpin.runtime.box.disks import Ask, examine_disks
from kenpin.runtime.box.host import clock
from kenpin.runtime.box.listeners import examine_listeners
from kenpin.runtime.bundles.bundle import read_bundle
from kenpin.runtime.bundles.manifest import BundleError
from kenpin.runtime.service.audit import logs_of
from kenpin.runtime.service.audit_entry import AuditError
from kenpin.runtime.wire.endpoints import is_local
from kenpin.runtime.wire.keys import KeysError, read_admitted, read_line

__all__ = ["examine_security"]

_OLD_KEY_S = 2 * 365 * 86_400
# Below /proc/sys: what it should be at least, and what it is good for.
_KERNEL = {
    "kernel/randomize_va_space": (2, "addresses cannot be guessed"),
    "kernel/kptr_restrict": (1, "the kernel's addresses are not told"),
    "kernel/dmesg_restrict": (1, "the kernel's log is root's"),
    "kernel/yama/ptrace_scope": (1, "a process cannot read another one's memory"),
    "kernel/unprivileged_bpf_disabled": (1, "nobody but root loads code into the kernel"),
    "fs/protected_symlinks": (1, "links in /tmp cannot mislead root"),
    "fs/protected_hardlinks": (1, "nor can hard links"),
}


def examine_security(
    line: Line,
    settings: Path,
    *,
    root: Path = Path("/"),
    now_s: float | None = None,
    ask: Ask | None = None,
) -> list[Finding]:
    """All that was looked at.

    Parameters
    ----------
    settings
        The file that the line's settings came from.
    now_s
        Seconds since 1970; for the age of keys.
    ask
        Tells of a disk's SMART instead of smartctl.
    """
    now = time.time() if now_s is None else now_s
    return [
        *_sockets(line),
        *_page(line),
        *_bridges(line),
        *_keys(line, now),
        *_modes(line, settings),
        *_bundles(line),
        *_audit(line),
        *_kernel(root),
        clock(root),
        examine_listeners(line, root),
        *examine_disks(line.bundles, root, ask),
    ]


def _sockets(line: Line) -> Iterator[Finding]:
    for name in ("ctl", "pub", "img"):
        endpoint = getattr(line.wire, name)
        if endpoint is None:
            continue
        if endpoint.startswith("ipc:"):
            who = "the service's group" if line.wire.ipc_group else "the service's user"
            yield Finding(f"wire.{name}", "ok", f"{endpoint}, for {who}")
        elif line.wire.keys is not None:
            yield Finding(f"wire.{name}", "ok", f"{endpoint}, for admitted keys")
        elif is_local(endpoint):
            remedy = "give wire.keys, or ipc:///run/kenpin/LINE/..., which has a lock of its own"
            yield Finding(f"wire.{name}", "warning", f"{endpoint}: every program here", remedy)
        else:
            remedy = "give wire.keys; the line refuses to start without"
            yield Finding(f"wire.{name}", "warning", f"{endpoint}: everybody", remedy)
    if line.status is not None:
        local = line.status.address.startswith("127.") or line.status.address == "::1"
        remedy = "" if local else "a proxy with a password before it, and 127.0.0.1 here"
        text = f"{line.status.address}:{line.status.port}, plain HTTP"
        yield Finding("status", "ok" if local else "warning", text, remedy)


def _page(line: Line) -> Iterator[Finding]:
    page = line.page
    if page is None:
        return
    where = f"{page.address}:{page.port}"
    text = f"{where}, role {page.local_role} for everybody on this box"
    if page.accounts is not None:
        yield Finding("page", "ok", f"{where}, for people of {page.accounts}")
    elif ROLES.index(page.local_role) >= ROLES.index("set"):
        remedy = "give page.accounts: whoever sits at the box changes thresholds without a name"
        yield Finding("page", "warning", text, remedy)
    else:
        yield Finding("page", "ok", text)
    yield from _secrets("page", page.model_dump())


def _bridges(line: Line) -> Iterator[Finding]:
    for bridge in line.bridges:
        name = f"bridge {bridge.called}"
        address = getattr(bridge, "address", None)
        allowed: tuple[str, ...] = getattr(bridge, "allow", None) or ()
        if address is None:
            host = getattr(bridge, "host", "")
            yield Finding(name, "ok", f"{bridge.kind}, to {host}:{getattr(bridge, 'port', '')}")
        elif is_loopback(address) or allowed or bridge.admitting:
            whom = ", ".join(allowed) or "those that it admits"
            whom = "programs here" if is_loopback(address) else whom
            yield Finding(name, "ok", f"{bridge.kind} at {address}, for {whom}")
        else:
            remedy = "a network of its own for the PLC, and a firewall: the protocol knows no names"
            yield Finding(name, "warning", f"{bridge.kind} at {address}: everybody there", remedy)
        yield from _secrets(name, bridge.model_dump())


def _secrets(what: str, settings: dict[str, Any]) -> Iterator[Finding]:
    """Whether others may read what only the service should."""
    for key in ("private_key", "accounts", "users", "password_file"):
        path = settings.get(key)
        if not isinstance(path, Path):
            continue
        if not path.exists():
            yield Finding(f"{what}: {key}", "warning", f"{path} is not there", "see edge-run check")
        elif path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
            remedy = f"chmod o-rw {path}"
            yield Finding(f"{what}: {key}", "warning", f"{path} is for everybody", remedy)
        else:
            yield Finding(f"{what}: {key}", "ok", str(path))


def _keys(line: Line, now: float) -> Iterator[Finding]:
    folder = line.wire.keys
    if folder is None:
        return
    try:
        read_line(folder, for_owner=True)
        admitted = read_admitted(folder)
    except (KeysError, OSError) as error:
        yield Finding("keys", "warning", str(error), "edge-run keys new")
        return
    for problem in admitted.problems:
        yield Finding("keys", "warning", problem, "remove the file, or put the right key there")
    names = sorted(admitted.names.values())
    if not names:
        yield Finding("allow-list", "warning", "nobody is admitted", "edge-run keys client NAME")
    else:
        yield Finding("allow-list", "ok", ", ".join(names))
    every = [folder / "line.key_secret", *(folder / "clients").glob("*.key")]
    ages = {path.name: now - path.stat().st_mtime for path in every if path.is_file()}
    old = sorted(name for name, age in ages.items() if age > _OLD_KEY_S)
    if old:
        remedy = "make new ones (docs/security.md, Keys) and revoke these"
        yield Finding("age of keys", "warning", f"over two years: {', '.join(old)}", remedy)
    elif ages:
        yield Finding("age of keys", "ok", f"{max(ages.values()) / 86_400:.0f} days at most")


def _modes(line: Line, settings: Path) -> Iterator[Finding]:
    """What others than the owner could change."""
    places = [settings, settings.parent, line.bundles, line.trust, line.wire.keys]
    for path in [place for place in places if place is not None and place.exists()]:
        mode = path.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            yield Finding(f"mode of {path}", "warning", f"{mode & 0o777:o}", f"chmod o-w {path}")
        else:
            yield Finding(f"mode of {path}", "ok", f"{mode & 0o777:o}")


def _bundles(line: Line) -> Iterator[Finding]:
    if line.trust is None:
        remedy = 'trust = "FOLDER" with the public keys of those who may sign; edge-compile sign'
        yield Finding("signatures", "warning", "unsigned bundles are taken", remedy)
    try:
        bundle = read_bundle(line.bundles, line.trust)
    except (BundleError, OSError) as error:
        yield Finding("bundle", "warning", str(error), "install it again")
        return
    signed = "" if line.trust is None else ", signed by a trusted key"
    yield Finding("bundle", "ok", f"{bundle.label}, every byte as it was written{signed}")


def _audit(line: Line) -> Iterator[Finding]:
    for log in logs_of(line):
        try:
            checked = log.verify()
        except AuditError as error:
            yield Finding("audit log", "warning", str(error), "keep it as evidence: docs/audit.md")
        else:
            yield Finding("audit log", "ok", f"{log.path}: {checked.count} lines, whole")


def _kernel(root: Path) -> Iterator[Finding]:
    for name, (least, good_for) in _KERNEL.items():
        key = name.replace("/", ".")
        try:
            found = (root / "proc/sys" / name).read_text().strip()
        except OSError:
            yield Finding(key, "unknown", "cannot be read")
            continue
        well = found.isdigit() and int(found) >= least
        remedy = "" if well else f"sysctl -w {key}={least}, and in /etc/sysctl.d: {good_for}"
        yield Finding(key, "ok" if well else "warning", found, remedy)
