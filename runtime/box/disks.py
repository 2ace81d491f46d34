"""How the disks of a box do: what file systems, flash and SMART tell; for edge-doctor security.

SMART is read by smartctl, where it is installed and may open the disk. What cannot be known
is said, and is no complaint.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kenpin.camera.genicam.host import Finding

__all__ = ["Ask", "examine_disks", "smartctl"]

# Asks smartctl about a device such as `sda`; its JSON, or why there is none.
Ask = Callable[[str], dict[str, Any] | str]

_LOW_SPACE = 0.05
_PATIENCE_S = 20.0
_WORN_PERCENT = 90
# ATA's attributes that count sectors which could not be read, or were given up.
_BAD_SECTORS = {5: "reallocated", 197: "pending", 198: "uncorrectable"}
# Drivers of disks that a host makes up: they have no SMART, and smartctl knows no such kind.
_VIRTUAL = ("virtio_blk", "vbd")
_EXCHANGE = "copy the bundles away and exchange the disk"


def examine_disks(folder: Path, root: Path = Path("/"), ask: Ask | None = None) -> list[Finding]:
    """All that was looked at.

    Parameters
    ----------
    folder
        Where the line's bundles are.
    ask
        Instead of smartctl; for tests.
    """
    findings = [*_file_systems(root)]
    for name in _devices(root):
        findings.append(_device(root / "sys/block" / name / "device", name, ask or smartctl))
    if folder.exists():
        findings.append(_space(folder))
    return findings


def _file_systems(root: Path) -> Iterator[Finding]:
    for file in sorted((root / "sys/fs/ext4").glob("*/errors_count")):
        count = file.read_text().strip()
        name = f"disk {file.parent.name}"
        if count == "0":
            yield Finding(name, "ok", "no errors")
        else:
            yield Finding(name, "warning", f"{count} errors", f"the kernel's log; {_EXCHANGE}")


def _devices(root: Path) -> list[str]:
    """Disks that something drives; not loops, memory, or what is made of other disks."""
    return sorted(path.parent.name for path in (root / "sys/block").glob("*/device"))


def _device(place: Path, name: str, ask: Ask) -> Finding:
    driver, wear = place / "driver", place / "life_time"
    if driver.is_symlink() and driver.readlink().name in _VIRTUAL:
        text = "a virtual disk has none: ask whoever keeps the host"
        return Finding(f"SMART of {name}", "unknown", text)
    return _flash(name, wear) if wear.is_file() else _smart(name, ask)


def _flash(name: str, file: Path) -> Finding:
    # JEDEC eMMC 5.0: 1 is up to 10 % worn, 10 up to 100 %, 11 beyond.
    worn = max(int(word, 16) for word in file.read_text().split())
    if not worn:
        return Finding(f"flash {name}", "unknown", "its wear is not defined")
    if worn >= _WORN_PERCENT // 10:
        return Finding(f"flash {name}", "warning", f"{10 * worn} % worn", _EXCHANGE)
    return Finding(f"flash {name}", "ok", f"{10 * worn} % worn at most")


def smartctl(name: str) -> dict[str, Any] | str:
    """What smartctl tells of a device, or why it tells nothing."""
    command = shutil.which("smartctl") or shutil.which("smartctl", path="/usr/sbin:/sbin")
    if command is None:
        return "smartctl is not installed (apt install smartmontools)"
    words = [command, "--json", "--health", "--attributes", f"/dev/{name}"]
    try:
        ended = subprocess.run(words, capture_output=True, check=False, timeout=_PATIENCE_S)
        report = dict(json.loads(ended.stdout))
    except (subprocess.TimeoutExpired, ValueError) as error:
        return f"smartctl: {error}"
    if "smart_status" not in report:
        messages = [str(message.get("string")) for message in _own(report).get("messages", ())]
        return "; ".join(messages) or f"smartctl ended with {ended.returncode}, without a word"
    return report


def _own(report: dict[str, Any]) -> dict[str, Any]:
    return dict(report.get("smartctl", {}))


def _smart(name: str, ask: Ask) -> Finding:
    answer, title = ask(name), f"SMART of {name}"
    if isinstance(answer, str):
        return Finding(title, "unknown", f"not known: {answer}")
    complaints = list(_complaints(answer))
    if complaints:
        return Finding(title, "warning", ", ".join(complaints), _EXCHANGE)
    return Finding(title, "ok", "healthy, as far as the disk itself knows")


def _complaints(report: dict[str, Any]) -> Iterator[str]:
    """What the disk says against itself, in smartctl's JSON."""
    if report["smart_status"].get("passed") is False:
        yield "the disk says that it fails"
    nvme = report.get("nvme_smart_health_information_log", {})
    if nvme.get("percentage_used", 0) >= _WORN_PERCENT:
        yield f"{nvme['percentage_used']} % worn"
    if nvme.get("available_spare", 100) < nvme.get("available_spare_threshold", 0):
        yield f"{nvme['available_spare']} % of its spare blocks are left"
    if nvme.get("media_errors", 0):
        yield f"{nvme['media_errors']} errors of the medium"
    for row in report.get("ata_smart_attributes", {}).get("table", ()):
        bad = _BAD_SECTORS.get(row["id"])
        if bad and row["raw"]["value"]:
            yield f"{row['raw']['value']} {bad} sectors"


def _space(folder: Path) -> Finding:
    usage = shutil.disk_usage(folder)
    share = usage.free / usage.total
    text = f"{100 * share:.0f} % free where the bundles are"
    if share < _LOW_SPACE:
        return Finding("space", "warning", text, "make room: logs and installs need some")
    return Finding("space", "ok", text)
