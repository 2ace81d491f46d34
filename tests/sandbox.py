"""Runs a program under what a systemd unit forbids, as far as a process can forbid itself.

    python sandbox.py UNIT WRITABLE COMMAND...

Applies of [Service]: SystemCallFilter, SystemCallErrorNumber, RestrictAddressFamilies,
RestrictRealtime, RestrictNamespaces, RestrictSUIDSGID, NoNewPrivileges, LimitNICE,
LimitRTPRIO, LimitNOFILE, LimitCORE, CapabilityBoundingSet, UMask, and, where root asks for it,
ProtectSystem=strict with WRITABLE as the only folder left to write. Needs libseccomp
(which systemd itself uses) and systemd-analyze, for what a group of calls holds.
"""

from __future__ import annotations

import ctypes
import os
import resource
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Unit", "can_claim", "can_take_over"]

_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NE, _MASKED_EQ = 1, 7
_PR_SET_NO_NEW_PRIVS, _PR_CAPBSET_DROP = 38, 24
_CAP_SYS_NICE, _CAP_SYS_RESOURCE = 23, 24
_NEWNS_AND_ALL = 0x7E020000 | 0x00000080


class Unit:
    """The settings of a unit file, in order; a key may come more than once."""

    def __init__(self, path: Path) -> None:
        lines = [line.strip() for line in path.read_text().splitlines()]
        pairs = [line.partition("=") for line in lines if "=" in line and line[0] != "#"]
        self._pairs = [(key, value) for key, _, value in pairs]

    def every(self, key: str) -> list[str]:
        """All values of a key."""
        return [value for name, value in self._pairs if name == key]

    def the(self, key: str) -> str:
        """The one value of a key."""
        (value,) = self.every(key)
        return value

    def calls(self) -> set[str]:
        """The system calls it allows."""
        allowed: set[str] = set()
        for value in self.every("SystemCallFilter"):
            names = {call for name in value.lstrip("~").split() for call in _calls(name)}
            allowed = allowed - names if value.startswith("~") else allowed | names
        return allowed


def _calls(name: str) -> Iterator[str]:
    if not name.startswith("@"):
        yield name
        return
    command = ["systemd-analyze", "syscall-filter", name]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for line in text.splitlines()[1:]:
        word = line.strip()
        if word and not word.startswith("#"):
            yield from _calls(word)


class _Arg(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


def _seccomp(unit: Unit) -> None:
    lib = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    lib.seccomp_init.restype = ctypes.c_void_p
    lib.seccomp_init.argtypes = [ctypes.c_uint32]
    lib.seccomp_load.argtypes = [ctypes.c_void_p]
    lib.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
    lib.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(_Arg),
    ]
    assert unit.the("SystemCallErrorNumber") == "EPERM"
    refuse = _ERRNO | 1  # EPERM

    def rule(context: int, action: int, call: str, *args: _Arg) -> None:
        number = lib.seccomp_syscall_resolve_name(call.encode())
        if number >= 0:  # else another architecture's
            array = (_Arg * len(args))(*args)
            code = lib.seccomp_rule_add_array(context, action, number, len(args), array)
            assert code == 0, f"{call}: {code}"

    # One filter for each setting, as systemd does: the strictest of them counts.
    filters = [lib.seccomp_init(refuse)]
    for call in sorted(unit.calls() | {"seccomp"}):
        rule(filters[0], _ALLOW, call)
    filters.append(lib.seccomp_init(_ALLOW))
    families = [getattr(socket, name) for name in unit.the("RestrictAddressFamilies").split()]
    for family in range(socket.AF_UNIX, 46):
        if family not in families:
            rule(filters[1], _ERRNO | 97, "socket", _Arg(0, 4, family, 0))  # 4: equal
    assert unit.the("RestrictNamespaces") == "yes"
    if unit.the("RestrictRealtime") == "yes":
        for policy in (1, 2, 6):
            rule(filters[1], refuse, "sched_setscheduler", _Arg(1, 4, policy, 0))
    rule(filters[1], refuse, "setns")
    for bit in (b for b in range(64) if _NEWNS_AND_ALL >> b & 1):
        for call in ("unshare", "clone"):
            rule(filters[1], refuse, call, _Arg(0, _MASKED_EQ, 1 << bit, 1 << bit))
    assert unit.the("RestrictSUIDSGID") == "yes"
    for call, place in (("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("mkdir", 1)):
        for bit in (0o4000, 0o2000):
            rule(filters[1], refuse, call, _Arg(place, _MASKED_EQ, bit, bit))
    for context in filters[::-1]:
        assert lib.seccomp_load(context) == 0


def can_take_over(unit: Unit) -> bool:
    """Whether a niceness can be taken back in this sandbox; in some containers it cannot."""
    return _may_limit_nice(unit) or _has(_CAP_SYS_NICE)


def _may_limit_nice(unit: Unit) -> bool:
    """Whether we may set LimitNICE; a container may lack even root's right to."""
    nice = 20 - int(unit.the("LimitNICE"))
    hard = resource.getrlimit(resource.RLIMIT_NICE)[1]
    return hard >= nice or _has(_CAP_SYS_RESOURCE)


def can_claim(unit: Unit) -> bool:
    """Whether a process in this sandbox may come before ordinary work."""
    hard = resource.getrlimit(resource.RLIMIT_RTPRIO)[1]
    # Where CAP_SYS_NICE is spared, below, nothing forbids it.
    spared = not _may_limit_nice(unit) and _has(_CAP_SYS_NICE)
    return hard >= int(unit.the("LimitRTPRIO")) or _has(_CAP_SYS_RESOURCE) or spared


def _has(capability: int) -> bool:
    (line,) = [t for t in Path("/proc/self/status").read_text().splitlines() if "CapEff" in t]
    return bool(int(line.split()[1], 16) >> capability & 1)


def _limits(unit: Unit) -> None:
    nice = 20 - int(unit.the("LimitNICE"))
    if _may_limit_nice(unit):
        resource.setrlimit(resource.RLIMIT_NICE, (nice, nice))
    realtime = int(unit.the("LimitRTPRIO"))
    if resource.getrlimit(resource.RLIMIT_RTPRIO)[1] >= realtime or _has(_CAP_SYS_RESOURCE):
        resource.setrlimit(resource.RLIMIT_RTPRIO, (realtime, realtime))
    files = int(unit.the("LimitNOFILE"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(int(unit.the("UMask"), 8))


def _drop_capabilities(unit: Unit) -> None:
    assert unit.the("CapabilityBoundingSet") == ""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0:
        number = 0
        # Without LimitNICE a line could not take over: leave that one right then.
        spared = None if _may_limit_nice(unit) else _CAP_SYS_NICE
        while number == spared or libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) == 0:
            number += 1
    assert unit.the("NoNewPrivileges") == "yes"
    assert libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0


def _read_only(writable: str) -> bool:
    """Let all else be read-only; False if we may not say so."""
    script = (
        f"mount --bind {shlex.quote(writable)} {shlex.quote(writable)} && "
        "for m in $(findmnt -rno TARGET); do case $m in "
        f"{shlex.quote(writable)}|/proc*|/sys*|/dev*) ;; "
        '*) mount -o remount,bind,ro "$m" || true;; esac; done'
    )
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or libc.unshare(0x00020000) != 0:
        return False
    libc.mount(b"none", b"/", None, 0x44000, None)  # private, recursively
    return subprocess.run(["sh", "-c", script], check=False, stderr=2).returncode == 0


def main(path: str, writable: str, *command: str) -> None:
    """Become the command, forbidden what the unit forbids."""
    unit = Unit(Path(path))
    calls = unit.calls()  # asks systemd-analyze, while we still may
    assert calls
    assert unit.the("ProtectSystem") == "strict"
    strict = _read_only(writable)
    sys.stderr.write(f"sandbox: {len(calls)} calls, read-only: {strict}\n")
    sys.stderr.flush()
    _limits(unit)
    _drop_capabilities(unit)
    _seccomp(unit)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
