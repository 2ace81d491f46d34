"""The units: checked by systemd's own tools, and the service run under what they forbid."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from importlib import resources
from pathlib import Path, PurePosixPath

import pytest

import sandbox
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.store import Store
from kenpin.runtime.service.install import Installation, wanted
from running_line import SERVE_LINE, RunningLine, line_toml
from sandbox import Unit, can_claim, can_take_over
from test_notify import Systemd

pytestmark = pytest.mark.clock

MOST_EXPOSURE = 2.0

analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="no systemd-analyze here; it is in Debian's package systemd",
)
seccomp = pytest.mark.skipif(
    ctypes.util.find_library("seccomp") is None or shutil.which("systemd-analyze") is None,
    reason="no libseccomp or no systemd-analyze here; they are in Debian's package systemd",
)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as they are installed, starting a command that exists."""
    root = tmp_path / "root"
    command = PurePosixPath(shutil.which("true") or "/bin/true")
    Installation(root, PurePosixPath("/usr")).install(wanted(PurePosixPath("/usr"), command))
    return root / "usr/lib/systemd/system"


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, timeout=60
    )


@analyze
def test_the_units_are_clean(units: Path) -> None:
    checked = run("systemd-analyze", "verify", "--man=no", *units.iterdir())
    assert (checked.returncode, checked.stderr) == (0, "")


@analyze
def test_verify_would_have_said_so(units: Path) -> None:
    """A check of the check: an unknown key is named."""
    unit = units / "kenpin@.service"
    unit.write_text(unit.read_text().replace("NotifyAccess=", "NotifyAcces="))
    checked = run("systemd-analyze", "verify", "--man=no", unit)
    assert "NotifyAcces" in checked.stderr


@analyze
def test_the_exposure_is_at_most_two(units: Path) -> None:
    limit = f"--threshold={round(10 * MOST_EXPOSURE)}"
    unit = units / "kenpin@.service"
    judged = run("systemd-analyze", "security", "--offline=true", limit, unit)
    assert judged.returncode == 0, judged.stdout
    exposure = float(judged.stdout.rsplit(": ", 1)[1].split()[0])
    assert 0.5 < exposure <= MOST_EXPOSURE
    unit.write_text(unit.read_text().replace("ProtectSystem=strict", "ProtectSystem=no"))
    tight = f"--threshold={round(10 * exposure)}"
    judged = run("systemd-analyze", "security", "--offline=true", tight, unit)
    assert judged.returncode == 1, "the threshold does not bite"


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="no systemd-sysusers here")
def test_the_user_and_its_group_are_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    conf = resources.files("kenpin.systemd") / "sysusers-kenpin.conf"
    made = run("systemd-sysusers", f"--root={tmp_path}", "--dry-run", str(conf))
    assert made.returncode == 0, made.stderr
    assert "kenpin" in made.stdout + made.stderr


@pytest.mark.skipif(shutil.which("systemd-tmpfiles") is None, reason="no systemd-tmpfiles here")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give folders away")
def test_the_folders_are_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/:/x\nkenpin:x:61234:61234::/:/x\n")
    (tmp_path / "etc/group").write_text("root:x:0:\nkenpin:x:61234:\n")
    conf = resources.files("kenpin.systemd") / "tmpfiles-kenpin.conf"
    (tmp_path / "usr/lib/tmpfiles.d").mkdir(parents=True)
    shutil.copy(str(conf), tmp_path / "usr/lib/tmpfiles.d/kenpin.conf")
    made = run("systemd-tmpfiles", f"--root={tmp_path}", "--create", "kenpin.conf")
    assert made.returncode == 0, made.stderr
    owners = {name: (tmp_path / name).stat().st_uid for name in ("etc/kenpin", "var/lib/kenpin")}
    assert owners == {"etc/kenpin": 0, "var/lib/kenpin": 61234}


def under_the_unit(
    folder: Path, command: Sequence[str], units: Path, changed: dict[str, str] | None = None
) -> list[str]:
    """A command, forbidden what the unit forbids; `folder` is all it may write."""
    text = (units / "kenpin@.service").read_text()
    for old, new in (changed or {}).items():
        assert old in text
        text = text.replace(old, new)
    unit = units.parent / "in-force.service"
    unit.write_text(text)
    return [sys.executable, sandbox.__file__, str(unit), str(folder), *command]


@pytest.mark.thorough
@seccomp
def test_a_line_runs_under_the_unit_and_changes_its_bundle(
    patchcore: Bundle, padim: Bundle, units: Path, tmp_path: Path
) -> None:
    """JIT, shared memory, niceness there and back, ipc sockets, the store's links, sd_notify."""
    state = tmp_path / "state"
    state.mkdir()
    store = Store(state / "bundles")
    for bundle in (padim, patchcore):
        store.install(bundle.folder)
    systemd = Systemd(state)
    environ = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "5000000"}
    environ |= {"TMPDIR": str(state)}
    toml = line_toml(state, store.folder, trigger='mode = "free", budget_ms = 1000')
    command = under_the_unit(state, SERVE_LINE, units)
    with closing(systemd), RunningLine(toml, environ=environ, command=command) as line:
        systemd.listen()
        systemd.until("READY=1")
        assert line.verdict(lambda m: m["verdict"] == 1)["bundle"] == patchcore.label
        engineer = line.client("engineer")
        engineer.say("prepare", bundle=padim.label)
        engineer.of_kind("prepared")
        engineer.say("activate")
        line.verdict(lambda m: m["bundle"] == padim.label and m["verdict"] == 1)
        status = Path(f"/proc/{line.child()}/status").read_text()
        assert "Seccomp:\t2" in status, "it did not run in the sandbox"
        alone = can_take_over(Unit(units / "kenpin@.service"))
        assert os.getpriority(os.PRIO_PROCESS, line.child()) == (0 if alone else 10)
        systemd.until("WATCHDOG=1")
        assert line.stop() == 0
        systemd.until("STOPPING=1")
    assert (store.current, store.previous) == (padim.folder.name, patchcore.folder.name)
    alarms = [m for _, _, m in line.topics if m["type"] == "alarm"]
    # A busy machine may make it complain of silences; what the sandbox refuses are these.
    refused = {"store", "bundle", "camera"} | ({"niceness"} if alone else set())
    assert [m for m in alarms if m["source"] in refused and m["detail"]] == []


@seccomp
def test_the_sandbox_forbids_what_the_unit_forbids(units: Path, tmp_path: Path) -> None:
    """A check of the check: what a line never does is refused, and what it does is not."""
    unit = Unit(units / "kenpin@.service")
    tries = {
        "socket.socket(socket.AF_INET)": True,
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)": True,
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)": False,
        "socket.socket(socket.AF_VSOCK)": False,
        "os.memfd_create('x')": True,
        "os.sched_setaffinity(0, os.sched_getaffinity(0))": True,
        "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))": can_claim(unit),
        "os.setuid(0)": False,
        "os.chroot('/')": False,
        "os.chmod('x', 0o4755)": False,
        "(os.nice(10), os.setpriority(os.PRIO_PROCESS, 0, 0))": can_take_over(unit),
        "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)": True,
    }
    outside = f"open({str(tmp_path / 'outside')!r}, 'x')"
    tries[outside] = False
    # Into it anew: what we stand in was there before all else became read-only.
    code = (
        f"import mmap, os, socket\nos.chdir({str(tmp_path / 'work')!r})\nopen('x', 'w').close()\n"
    )
    for what in tries:
        code += f"try:\n    {what}\n    print(1)\nexcept OSError:\n    print(0)\n"
    (tmp_path / "work").mkdir()
    command = under_the_unit(tmp_path / "work", [sys.executable, "-c", code], units)
    ended = run(*command)
    assert ended.returncode == 0, ended.stderr
    if "read-only: False" in ended.stderr:  # only root may say so
        tries[outside] = True
    found = dict(zip(tries, (line == "1" for line in ended.stdout.split()), strict=True))
    assert found == tries


def test_memory_that_is_written_may_be_run_because_openvino_must(patchcore: Bundle) -> None:
    """Why the unit says MemoryDenyWriteExecute=no; red on the day it may say yes."""
    unit = Unit(Path(str(resources.files("kenpin.systemd") / "kenpin@.service")))
    assert unit.the("MemoryDenyWriteExecute") == "no"
    code = (
        "import ctypes, sys\n"
        "from pathlib import Path\n"
        "from kenpin.runtime.bundles.bundle import read_bundle\n"
        "from kenpin.runtime.judging.pipeline import Pipeline\n"
        "bundle = read_bundle(Path(sys.argv[1]))\n"
        "if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0): sys.exit(77)\n"
        "try:\n    Pipeline(bundle)\n"
        "except Exception as error: print(error); sys.exit(5)\n"
    )
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [sys.executable, "-c", code, str(patchcore.folder)],
        capture_output=True,
        text=True,
        check=False,
        env=environ,
        timeout=120,
    )
    if ended.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE; Linux 6.3 has")
    assert ended.returncode == 5, ended.stderr
