"""edge-doctor security: what is kept badly is found, with its remedy and an exit code."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from kenpin.camera.genicam.host import Finding
from kenpin.config.exits import Exit
from kenpin.config.line import load_line
from kenpin.runtime.box.disks import examine_disks, smartctl
from kenpin.runtime.box.listeners import examine_listeners
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.doctor import main
from kenpin.runtime.security import examine_security
from kenpin.runtime.service.audit import AuditLog
from kenpin.runtime.service.audit_entry import Who
from kenpin.runtime.service.cli import main as edge_run
from kenpin.runtime.wire.keys import new_client, new_line

YEAR_S = 365 * 86_400
NET = "  sl  local_address rem_address   st\n   0: {} 00000000:0000 {} 00000000:00000000\n"


@pytest.fixture
def settings(patchcore: Bundle, tmp_path: Path) -> Path:
    """A line that is kept well, but for signatures."""
    shutil.copytree(patchcore.folder, tmp_path / "bundles" / patchcore.folder.name)
    (tmp_path / "bundles" / "current").symlink_to(patchcore.folder.name)
    new_line(tmp_path / "keys")
    new_client(tmp_path / "keys", "plc-1", tmp_path / "plc-1.key_secret")
    AuditLog(tmp_path / "bundles" / "audit.jsonl").write(Who("page"), "alarm", "camera")
    return written(tmp_path, 'ctl = "tcp://10.0.0.1:5555", pub = "ipc://{0}/pub", keys = "keys"')


def written(folder: Path, wire: str, more: str = "") -> Path:
    toml = folder / "line.toml"
    toml.write_text(
        'name = "web-1"\nbox = "box-1"\nbundles = "bundles"\n'
        'trigger = { mode = "free", budget_ms = 60 }\n'
        'camera = { kind = "synthetic", height_px = 128, width_px = 320, seed = 3 }\n'
        f"wire = {{ {wire.format(folder)} }}\n{more}"
    )
    return toml


def box(root: Path) -> Path:
    """A kernel and disks that are well."""
    files = {
        "kernel/randomize_va_space": "2", "kernel/kptr_restrict": "1", "kernel/dmesg_restrict": "1",
        "kernel/yama/ptrace_scope": "1", "kernel/unprivileged_bpf_disabled": "2",
        "fs/protected_symlinks": "1", "fs/protected_hardlinks": "1",
    }  # fmt: skip
    places = {f"proc/sys/{name}": text for name, text in files.items()}
    places |= {
        "proc/net/tcp": NET.format("0100007F:1F90", "0A"),
        "run/systemd/timesync/synchronized": "",
        "sys/fs/ext4/sda1/errors_count": "0",
        "sys/block/mmcblk0/device/life_time": "0x01 0x02",
    }
    for name, text in places.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def complaints(settings: Path, root: Path, *, years: float = 0.0) -> dict[str, str]:
    now = (settings.parent / "keys/line.key_secret").stat().st_mtime + years * YEAR_S
    found = examine_security(load_line(settings), settings, root=root, now_s=now)
    return {f.name: f.remedy for f in found if f.grade != "ok"}


def listeners(settings: Path, root: Path) -> Finding:
    return examine_listeners(load_line(settings), root)


def test_a_line_that_is_kept_well_gets_one_complaint_about_signatures(
    settings: Path, tmp_path: Path
) -> None:
    assert complaints(settings, box(tmp_path / "root")).keys() == {"signatures"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_finds_nothing_wrong_with_keys_of_the_services_user(
    settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in [tmp_path / "keys", *(tmp_path / "keys").rglob("*")]:
        os.chown(path, 12345, 12345)
    assert complaints(settings, box(tmp_path / "root")).keys() == {"signatures"}
    edge_run(["check", str(settings)])
    assert "wire.keys" not in capsys.readouterr().out


@pytest.mark.parametrize("role", ["look", "review", "set", "admin"])
def test_a_page_where_whoever_sits_there_moves_the_threshold_is_named(
    settings: Path, tmp_path: Path, role: str
) -> None:
    toml = written(
        tmp_path,
        'ctl = "ipc://{0}/ctl", pub = "ipc://{0}/pub"',
        f'[page]\nlocal_role = "{role}"\n',
    )
    told = complaints(toml, box(tmp_path / "root"))
    assert ("page" in told) == (role in ("set", "admin"))


def test_sockets_that_others_may_use_are_named(settings: Path, tmp_path: Path) -> None:
    open_ = 'ctl = "tcp://127.0.0.1:5555", pub = "tcp://10.0.0.1:5556"'
    written(tmp_path, open_, '[status]\naddress = "0.0.0.0"\n')
    told = complaints(settings, box(tmp_path / "root"))
    assert told.keys() == {"wire.ctl", "wire.pub", "status", "signatures"}
    assert "wire.keys" in told["wire.ctl"]


def test_the_page_and_the_bridges_are_looked_at(settings: Path, tmp_path: Path) -> None:
    secrets = {name: tmp_path / name for name in ("users.json", "page.key", "mqtt.pw")}
    for number, path in enumerate(secrets.values()):
        path.write_text("{}")
        path.chmod(0o644 if number == 2 else 0o640)
    (tmp_path / "page.pem").write_text("")
    more = (
        f'[page]\naddress = "10.0.0.1"\naccounts = "{secrets["users.json"]}"\n'
        f'certificate = "{tmp_path}/page.pem"\nprivate_key = "{secrets["page.key"]}"\n'
        '[[bridges]]\nkind = "modbus"\naddress = "10.0.0.1"\nallow = ["10.0.0.2"]\n'
        f'[[bridges]]\nkind = "mqtt"\nuser = "line"\npassword_file = "{secrets["mqtt.pw"]}"\n'
    )
    toml = written(tmp_path, 'ctl = "ipc://{0}/ctl", pub = "ipc://{0}/pub"', more)
    found = {f.name: f for f in examine_security(load_line(toml), toml, root=box(tmp_path / "r"))}
    assert found["page"].grade == "ok"
    assert found["page: private_key"].grade == "ok"
    assert "10.0.0.1" in found["bridge modbus"].found
    password = found["bridge mqtt: password_file"]
    assert (password.grade, password.remedy) == ("warning", f"chmod o-rw {secrets['mqtt.pw']}")


def test_old_keys_and_empty_lists_of_clients_are_named(settings: Path, tmp_path: Path) -> None:
    root = box(tmp_path / "root")
    assert "age of keys" in complaints(settings, root, years=3)
    (tmp_path / "keys/clients/plc-1.key").unlink()
    assert "edge-run keys client" in complaints(settings, root)["allow-list"]
    (tmp_path / "keys/line.key_secret").chmod(0o644)
    assert "keys" in complaints(settings, root)


def test_what_others_may_write_is_named(settings: Path, tmp_path: Path) -> None:
    settings.chmod(0o666)
    (tmp_path / "bundles").chmod(0o777)
    told = complaints(settings, box(tmp_path / "root"))
    assert {f"mode of {settings}", f"mode of {tmp_path / 'bundles'}"} <= told.keys()


def test_altered_bundles_and_logs_are_named(
    settings: Path, tmp_path: Path, patchcore: Bundle
) -> None:
    root = box(tmp_path / "root")
    log = tmp_path / "bundles" / "audit.jsonl"
    log.write_text(log.read_text().replace("camera", "camcam"))
    assert "audit.md" in complaints(settings, root)["audit log"]
    bank = tmp_path / "bundles" / patchcore.folder.name / "bank.npy"
    bank.write_bytes(bank.read_bytes()[:-1] + b"\1")
    assert "bundle" in complaints(settings, root)


@pytest.mark.parametrize(
    ("file", "text", "name"),
    [
        ("proc/sys/kernel/yama/ptrace_scope", "0", "kernel.yama.ptrace_scope"),
        ("sys/fs/ext4/sda1/errors_count", "3", "disk sda1"),
        ("sys/block/mmcblk0/device/life_time", "0x0a 0x02", "flash mmcblk0"),
    ],
)
def test_kernel_settings_and_disks_are_looked_at(
    settings: Path, tmp_path: Path, file: str, text: str, name: str
) -> None:
    root = box(tmp_path / "root")
    (root / file).write_text(text)
    assert complaints(settings, root).keys() == {"signatures", name}


@pytest.mark.parametrize(
    ("table", "row", "told"),
    [
        ("tcp", NET.format("00000000:0016", "0A"), "tcp 22"),
        ("tcp6", NET.format(f"{'0' * 32}:0016", "0A"), "tcp 22"),
        ("udp", NET.format("0A00000A:14E9", "07"), "udp 5353"),
        # Loopback, a connection that stands, and the line's own port.
        ("tcp6", NET.format(f"{'0' * 24}01000000:0016", "0A"), ""),
        ("tcp", NET.format("00000000:0016", "01"), ""),
        ("tcp", NET.format("0100000A:15B3", "0A"), ""),
    ],
)
def test_ports_that_others_may_reach_are_listed(
    settings: Path, tmp_path: Path, table: str, row: str, told: str
) -> None:
    root = box(tmp_path / "root")
    (root / "proc/net" / table).write_text(row)
    found = listeners(settings, root)
    assert found.grade == ("unknown" if told else "ok")
    assert told in found.found


SMART = {"smart_status": {"passed": True}}


@pytest.mark.parametrize(
    ("told", "grade", "words"),
    [
        (SMART, "ok", "healthy"),
        ({"smart_status": {"passed": False}}, "warning", "it fails"),
        (SMART | {"nvme_smart_health_information_log": {"percentage_used": 97}}, "warning",
         "97 % worn"),
        (SMART | {"nvme_smart_health_information_log": {
            "available_spare": 4, "available_spare_threshold": 10, "media_errors": 2}},
         "warning", "4 % of its spare blocks are left, 2 errors of the medium"),
        (SMART | {"ata_smart_attributes": {"table": [
            {"id": 9, "raw": {"value": 40_000}}, {"id": 197, "raw": {"value": 8}}]}},
         "warning", "8 pending sectors"),
        ("smartctl is not installed", "unknown", "not installed"),
    ],
)  # fmt: skip
def test_a_disk_is_asked_and_what_cannot_be_known_is_no_complaint(
    tmp_path: Path, told: dict[str, Any] | str, grade: str, words: str
) -> None:
    root = box(tmp_path / "root")
    (root / "sys/block/sda/device").mkdir(parents=True)
    (root / "sys/block/loop0").mkdir()
    found = {f.name: f for f in examine_disks(tmp_path, root, lambda _: told)}
    assert "SMART of loop0" not in found
    assert found["SMART of sda"].grade == grade
    assert words in found["SMART of sda"].found


def test_a_virtual_disk_has_no_smart_and_smartctl_is_not_asked(tmp_path: Path) -> None:
    root = box(tmp_path / "root")
    (root / "sys/block/vda/device").mkdir(parents=True)
    (root / "sys/block/vda/device/driver").symlink_to("../../../../bus/virtio/drivers/virtio_blk")
    found = {f.name: f for f in examine_disks(tmp_path, root, lambda name: f"asked about {name}")}
    assert found["SMART of vda"].grade == "unknown"
    assert "virtual" in found["SMART of vda"].found


@pytest.mark.skipif(
    not shutil.which("smartctl", path="/usr/sbin:/sbin"), reason="smartctl is not installed"
)
def test_the_real_smartctl_says_why_it_knows_nothing() -> None:
    assert "Unable to detect device type" in str(smartctl("null"))


@pytest.mark.parametrize(
    ("printed", "told"),
    [
        ('{"smartctl": {"messages": [{"string": "Permission denied"}]}}', "Permission denied"),
        ("no JSON at all", "smartctl: "),
        ('{"smart_status": {"passed": true}}', SMART),
    ],
)
def test_smartctl_tells_or_it_is_told_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, told: dict[str, Any] | str
) -> None:
    fake = tmp_path / "smartctl"
    fake.write_text(f"#!/bin/sh\ncat <<'END'\n{printed}\nEND\nexit 2\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = smartctl("sda")
    if isinstance(told, str):
        assert str(found).startswith(told)
    else:
        assert found == told


def test_scripts_get_an_exit_code(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["security", str(settings)]) == Exit.CAMERA
    assert "signatures" in capsys.readouterr().out
    assert main(["security", str(settings.with_name("none.toml"))]) == Exit.CONFIG
