"""What of a box makes verdicts late: priorities, memory, clocks of the processor; for edge-doctor.

Reads /proc and /sys below a root and changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from kenpin.camera.genicam.host import Finding, text_of

__all__ = ["clock", "examine_box"]

_SCHED_FIFO, _SCHED_RR = 1, 2
# proc(5): the 41st field of stat is the policy, the 40th the priority; ours begin behind comm.
_POLICY = 38
_OVERCOMMITTED = 1.0
# What a line asks for, unless its settings say otherwise: gateway.realtime_priority.
_OURS = 10


def examine_box(root: Path = Path("/")) -> list[Finding]:
    """All that was looked at: first the box, then each line that runs on it."""
    findings = [_throttling(root), *_governors(root), _swap(root), _load(root), clock(root)]
    lines = list(_gateways(root))
    findings.append(_rivals(root, {process for process, _ in lines}))
    for process, name in lines:
        findings += [_priority(process, name), _locked(process, name), _way_back(process, name)]
    if not lines:
        text = "none runs: what the unit grants is seen while it does"
        findings.append(Finding("lines", "unknown", text))
    return findings


# -- the box -----------------------------------------------------------------------------------


def _throttling(root: Path) -> Finding:
    name, runtime_us = "realtime throttling", text_of(root / "proc/sys/kernel/sched_rt_runtime_us")
    if not runtime_us:
        return Finding(name, "unknown", "sched_rt_runtime_us cannot be read")
    if runtime_us == "-1":
        remedy = "sysctl -w kernel.sched_rt_runtime_us=950000: else a defect could hold a core"
        return Finding(name, "warning", "off", remedy)
    return Finding(name, "ok", f"{runtime_us} µs of each second at most")


def _governors(root: Path) -> Iterator[Finding]:
    name = "processor's governor"
    files = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor"))
    found = sorted({text_of(file) for file in files})
    if not found:
        yield Finding(name, "unknown", "no cpufreq here: a virtual machine, or fixed clocks")
    elif found != ["performance"]:
        remedy = "cpupower frequency-set -g performance: else a core sleeps when a trigger comes"
        yield Finding(name, "warning", ", ".join(found), remedy)
    else:
        yield Finding(name, "ok", "performance")


def _swap(root: Path) -> Finding:
    text = text_of(root / "proc/swaps")
    if not text:
        return Finding("swap", "unknown", "/proc/swaps cannot be read")
    rows = text.splitlines()[1:]
    used = sum(int(row.split()[3]) for row in rows if len(row.split()) > 3)
    if used:
        remedy = "more memory, or swapoff -a: a page that comes from a disk takes milliseconds"
        return Finding("swap", "warning", f"{used // 1024} MiB used", remedy)
    return Finding("swap", "ok", "none used")


def _load(root: Path) -> Finding:
    text = text_of(root / "proc/loadavg")
    if not text:
        return Finding("load", "unknown", "/proc/loadavg cannot be read")
    load, cores = float(text.split()[1]), os.cpu_count() or 1
    if load > _OVERCOMMITTED * cores:
        remedy = "move other work elsewhere: the inspection has no priority over it"
        return Finding("load", "warning", f"{load:g} over 5 minutes on {cores} cores", remedy)
    return Finding("load", "ok", f"{load:g} over 5 minutes on {cores} cores")


def _rivals(root: Path, lines: set[Path]) -> Finding:
    """What comes before a line's gateway: other programs with a realtime priority above its own."""
    ours = [found for process in lines if (found := _realtime(process / "stat"))]
    least, rivals = min(ours, default=_OURS), []
    for process in (root / "proc").glob("[0-9]*"):
        # The kernel's own threads have no command line, and are short.
        command = text_of(process / "cmdline").split("\0")[0]
        if not command or process in lines:
            continue
        stats = [process / "stat", *(process / "task").glob("*/stat")]
        if max(_realtime(stat) for stat in stats) > least:
            rivals.append(f"{Path(command).name} ({process.name})")
    if rivals:
        remedy = "gateway.realtime_priority and LimitRTPRIO above theirs, or theirs lower: chrt -p"
        return Finding("realtime programs", "warning", ", ".join(sorted(rivals)), remedy)
    if not text_of(root / "proc/1/cmdline"):
        # A container, or a mount that shows each user its own.
        return Finding(
            "realtime programs", "unknown", "programs of others cannot be seen from here"
        )
    return Finding("realtime programs", "ok", "none before the lines'")


def _realtime(stat: Path) -> int:
    """A thread's realtime priority; 0 if it has none, or has gone."""
    fields = text_of(stat).rpartition(")")[2].split()
    if len(fields) <= _POLICY or int(fields[_POLICY]) not in (_SCHED_FIFO, _SCHED_RR):
        return 0
    return int(fields[_POLICY - 1])


def clock(root: Path) -> Finding:
    """Whether anything sets it. Deadlines do not need it; archives and audit logs do."""
    if (root / "run/systemd/timesync/synchronized").exists():
        return Finding("time", "ok", "synchronized")
    if any((root / place).exists() for place in ("run/chrony", "run/ntpd.pid")):
        return Finding("time", "ok", "chrony or ntpd runs")
    remedy = "timedatectl set-ntp true, or chrony: dates in logs and archives rest on it"
    return Finding("time", "warning", "nothing is seen to set the clock", remedy)


# -- a line ------------------------------------------------------------------------------------


def _gateways(root: Path) -> Iterator[tuple[Path, str]]:
    """Every gateway that runs, and its settings' file."""
    folders = [path for path in (root / "proc").iterdir() if path.name.isdigit()]
    for process in sorted(folders, key=lambda path: int(path.name)):
        words = text_of(process / "cmdline").split("\0")
        arguments = [word for word in words if word]
        for at, word in enumerate(arguments[:-1]):
            if Path(word).name == "edge-run" and arguments[at + 1].endswith(".toml"):
                yield process, Path(arguments[at + 1]).stem
                break


def _priority(process: Path, line: str) -> Finding:
    name, fields = f"{line}: deadlines", text_of(process / "stat").rpartition(")")[2].split()
    if len(fields) <= _POLICY:
        return Finding(name, "unknown", "its scheduling cannot be read")
    if int(fields[_POLICY]) in (_SCHED_FIFO, _SCHED_RR):
        return Finding(name, "ok", f"before other work, priority {fields[_POLICY - 1]}")
    limit = _limit(process, "Max realtime priority")
    remedy = "LimitRTPRIO=10 and RestrictRealtime=no in the unit, gateway.realtime_priority = 10"
    return Finding(name, "warning", f"as any other work; the unit grants {limit}", remedy)


def _locked(process: Path, line: str) -> Finding:
    name = f"{line}: memory"
    rows = [row for row in text_of(process / "status").splitlines() if row.startswith("VmLck")]
    if not rows:
        return Finding(name, "unknown", "cannot be read")
    if int(rows[0].split()[1]):
        return Finding(name, "ok", "stays in memory")
    limit = _limit(process, "Max locked memory")
    return Finding(
        name, "warning", f"may be paged out; the limit is {limit}", "LimitMEMLOCK=infinity"
    )


def _way_back(process: Path, line: str) -> Finding:
    """Whether the next bundle, proven at niceness 10, can take over at 0."""
    name, limit = f"{line}: change of bundle", _limit(process, "Max nice priority")
    capable = _capable(process)
    # getrlimit(2): 20 minus the lowest niceness that may be had.
    if capable or (limit.isdigit() and int(limit) >= 20):
        return Finding(name, "ok", "a bundle that takes over leaves its niceness")
    if not limit:
        return Finding(name, "unknown", "its limits cannot be read")
    text = "a bundle that takes over keeps niceness 10, and is slow beside other work"
    return Finding(name, "warning", text, "LimitNICE=+0 in the unit")


def _capable(process: Path) -> bool:
    """Whether it has CAP_SYS_NICE."""
    for row in text_of(process / "status").splitlines():
        if row.startswith("CapEff"):
            return bool(int(row.split()[1], 16) >> 23 & 1)
    return False


def _limit(process: Path, name: str) -> str:
    for row in text_of(process / "limits").splitlines():
        if row.startswith(name):
            return row.removeprefix(name).split()[0]
    return ""
