"""A box: a Debian tree with its own systemd as PID 1, in namespaces of its own.

Needs root, mmdebstrap and a place for a cgroup; whoever lacks one is told by
`missing()`. What the outside can see of a box is below `Box.root`: its files, and
its unix sockets.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["Box", "CannotBootError", "debian_tree", "missing", "missing_index"]

PATIENCE_S = 120.0
PACKAGES = "systemd,systemd-sysv,dbus,udev,python3,procps,libcap2-bin,mosquitto,mosquitto-clients"
# Where a tree is kept between runs: making one takes a minute and a half.
CACHE = Path(__file__).resolve().parents[1] / "build"

# Becomes PID 1. The folder of the box is the first argument.
START = """
set -e
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
while read name minor; do mknod -m 666 dev/$name c 1 $minor; done <<END
null 3
zero 5
full 7
random 8
urandom 9
END
mknod -m 666 dev/tty c 5 0
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for n in 0:stdin 1:stdout 2:stderr; do ln -s /proc/self/fd/${n%%:*} dev/${n##*:}; done
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p .old
pivot_root . .old
umount -l /.old
hostname box
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
  /lib/systemd/systemd --system --log-target=console --default-standard-output=journal
"""


class CannotBootError(RuntimeError):
    """No box comes up on this computer, whatever would have been installed on it."""


@cache
def missing_index() -> str:
    """Why no Python package can be fetched here; empty if one can."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
        words += ["--dest", folder, "mdurl==0.1.2"]
        ended = subprocess.run(words, capture_output=True, check=False, timeout=120)
    return "no package index can be reached" if ended.returncode else ""


def missing() -> str:
    """Why no box can be made here; empty if one can."""
    if os.geteuid() != 0:
        return "only root may boot a box"
    wanted = ("mmdebstrap", "unshare", "nsenter", "apt-get")
    lacking = [name for name in wanted if shutil.which(name) is None]
    if lacking:
        return f"not installed: {', '.join(lacking)}"
    if _cgroups() is None:
        return "no cgroup2 is mounted that may be written"
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], check=False).returncode:
        return "no namespaces may be made here"
    return ""


def _cgroups() -> Path | None:
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind = line.split()[:3]
        if kind == "cgroup2" and os.access(where, os.W_OK):
            return Path(where)
    return None


def debian_tree() -> Path:
    """A Debian 12 with systemd, as a tar file; made when there is none.

    Raises
    ------
    subprocess.CalledProcessError
        If it cannot be made, for want of a network, for one.
    """
    CACHE.mkdir(exist_ok=True)
    tree = CACHE / f"debian-12-{zlib.crc32(PACKAGES.encode()):08x}.tar"
    if not tree.exists():
        fresh = CACHE / f"debian-{os.getpid()}.tar"
        command = ["mmdebstrap", "--quiet", "--variant=apt", f"--include={PACKAGES}"]
        subprocess.run([*command, "bookworm", str(fresh)], check=True, timeout=400)
        fresh.rename(tree)
    return tree


class Box:
    """One box, booted; as many may run as there are folders. Close it.

    folder  its file system is unpacked here, and survives `reboot`
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        subprocess.run(["tar", "-C", folder, "-xf", debian_tree()], check=True)
        mount = _cgroups()
        assert mount is not None
        self._cgroup = mount / f"kenpin-box-{os.getpid()}-{folder.name}"
        self._console = folder.parent / f"{folder.name}.console"
        self._starter: subprocess.Popen[bytes] | None = None
        self._init = 0
        try:
            self._boot()
        except (AssertionError, OSError) as error:
            self.close()
            said = self._console.read_text(errors="replace")
            raise CannotBootError(f"{error}: {said[-500:].strip()}") from error

    def _boot(self) -> None:
        own = 'echo $$ > "$0/cgroup.procs"; exec unshare "$@"'
        apart = ["--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child"]
        apart += ["--cgroup", "--propagation", "private", "bash", "-c", START, "box"]
        self.log = self._console.open("ab")
        (self._cgroup / "init").mkdir(parents=True, exist_ok=True)
        self._starter = subprocess.Popen(
            ["bash", "-c", own, str(self._cgroup), *apart, str(self._folder)],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )
        self.until(self._up, "the box did not boot")
        self.run("ip link set lo up", check=False)

    def _up(self) -> bool:
        assert self._starter is not None
        children = Path(f"/proc/{self._starter.pid}/task/{self._starter.pid}/children")
        found = children.read_text().split()
        if not found:
            return False
        self._init = int(found[0])
        if not (self.root / "run/systemd/private").exists():
            return False
        state = self.run("systemctl is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    @property
    def root(self) -> Path:
        """Its file system, as it sees it itself."""
        return Path(f"/proc/{self._init}/root")

    def run(
        self, command: str, *, check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell's command in the box, as its root."""
        into = ["nsenter", "-t", str(self._init), *["-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w"]]
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"]
        ended = subprocess.run(
            [*into, *clean, "bash", "-c", command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        if check:
            assert ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}"
        return ended

    def unit(self, name: str, *keys: str) -> dict[str, str]:
        """Properties of a unit, as systemd tells them."""
        told = self.run(f"systemctl show {name} -p {','.join(keys)}").stdout
        return dict(line.split("=", 1) for line in told.splitlines())

    def state(self, name: str) -> str:
        """A unit's state, such as `active`."""
        return self.unit(name, "ActiveState")["ActiveState"]

    def journal(self, unit: str, *more: str) -> list[dict[str, Any]]:
        """The journal of a unit: each entry's PRIORITY, and its MESSAGE as JSON if it is some."""
        told = self.run(f"journalctl -o json -u {unit} {' '.join(more)}").stdout
        return [json.loads(line) for line in told.splitlines()]

    def until(self, happened: Callable[[], bool], complaint: str) -> None:
        """Wait for something."""
        end = time.monotonic() + PATIENCE_S
        while not happened():
            assert time.monotonic() < end, complaint
            assert self._starter is not None
            assert self._starter.poll() is None, "the box has gone"
            time.sleep(0.05)

    @contextlib.contextmanager
    def within(self, seconds: float, what: str) -> Iterator[None]:
        """What is done inside takes no longer."""
        start = time.monotonic()
        yield
        took = time.monotonic() - start
        assert took < seconds, f"{what} took {took:.1f} s"

    def reboot(self) -> None:
        """Stop in order, and boot again from what is on the disk."""
        self.run("systemctl --no-block reboot", check=False)
        assert self._starter is not None
        self._starter.wait(PATIENCE_S)
        self.log.close()
        self._boot()

    def close(self) -> None:
        """End it, and every process in it."""
        if self._starter is not None and self._starter.poll() is None:
            # The first process of a pid namespace takes all others with it.
            os.kill(self._init or self._starter.pid, signal.SIGKILL)
            self._starter.wait(PATIENCE_S)
        self.log.close()
        folders = sorted(self._cgroup.rglob("*"), reverse=True)
        for folder in [path for path in folders if path.is_dir()] + [self._cgroup]:
            with contextlib.suppress(OSError):
                folder.rmdir()
