"""Which process on this computer listens on a TCP port."""

from __future__ import annotations

from pathlib import Path

from kenpin.config.errors import ConfigError

__all__ = ["pid_of_listener"]

_LISTENS = "0A"


def pid_of_listener(port: int) -> int:
    """Its number.

    Raises
    ------
    ConfigError
        If there is none that this user may look at.
    """
    wanted = {f"socket:[{inode}]" for inode in _inodes(port)}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and wanted & _handles(folder):
            return int(folder.name)
    raise ConfigError(
        f"nobody on this computer listens on port {port}, or it is another user's; run edge-plc "
        "beside the broker, as its user"
    )


def _inodes(port: int) -> set[str]:
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == _LISTENS and int(words[1].rpartition(":")[2], 16) == port:
                found.add(words[9])
    return found


def _handles(folder: Path) -> set[str]:
    found = set()
    try:
        for handle in (folder / "fd").iterdir():
            found.add(str(handle.readlink()))
    except OSError:  # it has ended, or is not ours to look at
        return found
    return found
