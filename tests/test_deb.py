"""The Debian package: it builds, and holds what a box needs and nothing of torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "packaging" / "deb.py"

pytestmark = pytest.mark.skipif(
    shutil.which("dpkg-deb") is None, reason="no dpkg-deb here: this is no Debian"
)


def run(*words: str | Path, **more: str) -> str:
    ended = subprocess.run(
        [str(word) for word in words],
        env=os.environ | more,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package without its libraries, which would take minutes and a network."""
    output = tmp_path_factory.mktemp("deb")
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    told = run(sys.executable, SCRIPT, "-o", output, "--without-libraries", **path)
    (built,) = output.iterdir()
    assert told.strip() == str(built)
    return built


def test_the_package_says_what_it_is(package: Path) -> None:
    fields = run("dpkg-deb", "--field", package)
    major, minor = sys.version_info[:2]
    assert "Package: kenpin\n" in fields
    assert f"python3 (>= {major}.{minor}), python3 (<< {major}.{minor + 1})" in fields


def test_the_package_holds_units_settings_and_commands(package: Path, tmp_path: Path) -> None:
    run("dpkg-deb", "--raw-extract", package, tmp_path / "root")
    root = tmp_path / "root"
    unit = (root / "usr/lib/systemd/system/kenpin@.service").read_text()
    assert "\nExecStart=/opt/kenpin/bin/edge-run /etc/kenpin/%i.toml\n" in unit
    assert (root / "DEBIAN/conffiles").read_text() == "/etc/kenpin/demo.toml\n"
    for script in ("postinst", "prerm", "postrm"):
        run("sh", "-n", root / "DEBIAN" / script)
    assert (root / "usr/bin/edge-run").readlink() == Path("/opt/kenpin/bin/edge-run")
    assert not (root / "usr/bin/edge-compile").exists()
    assert not (root / "opt/kenpin/lib/kenpin/compile").exists()
    assert not list(root.rglob("installed.json"))
    listed = run("dpkg-deb", "--contents", package).splitlines()
    assert all(line.split()[1] == "root/root" for line in listed)


def test_its_commands_run_where_they_are_unpacked(package: Path, tmp_path: Path) -> None:
    run("dpkg-deb", "--extract", package, tmp_path)
    lib = tmp_path / "opt/kenpin/lib"
    launcher = tmp_path / "opt/kenpin/bin/edge-run"
    text = launcher.read_text().replace("/opt/kenpin/lib", str(lib))
    (tmp_path / "edge-run").write_text(text)
    told = run(sys.executable, "-I", tmp_path / "edge-run", "--help")
    assert "edge-run [check] LINE.toml" in told
    image = tmp_path / "image"
    words = ["--root", image, "--prefix", "/usr", "--command", "/opt/kenpin/bin/edge-run"]
    run(sys.executable, "-I", tmp_path / "edge-run", "install", *words)
    assert (image / "usr/lib/systemd/system/kenpin.target").is_file()
