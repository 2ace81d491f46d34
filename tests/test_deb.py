"""The Debian package: it builds, alike everywhere, and holds what a box needs and no torch."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "packaging" / "deb.py"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
PACKAGED = f"opt/kenpin/package/{VERSION}"
RELEASE = f"opt/kenpin/releases/{VERSION}"

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


def build(output: Path, root: Path = ROOT, *words: str, **more: str) -> Path:
    """The package without its libraries, which would take minutes and a network."""
    others = [path for path in sys.path if not path.startswith(str(ROOT / "src"))]
    path = os.pathsep.join([str(root / "src"), *others])
    script = root / "packaging/deb.py"
    epoch = {"SOURCE_DATE_EPOCH": "1700000000", "PYTHONPATH": path} | more
    told = run(sys.executable, script, "-o", output, "--without-libraries", *words, **epoch)
    (built,) = output.iterdir()
    assert told.strip() == str(built)
    return built


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="module")
def tree(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree") / "root"
    run("dpkg-deb", "--raw-extract", package, root)
    return root


def test_the_package_says_what_it_is_and_who_keeps_it(package: Path) -> None:
    fields = run("dpkg-deb", "--field", package)
    major, minor = sys.version_info[:2]
    assert "Package: kenpin\n" in fields
    assert f"python3 (>= {major}.{minor}), python3 (<< {major}.{minor + 1})" in fields
    assert re.search(r"^Maintainer: \S.* <\S+@\S+>$", fields, re.M)
    assert "localhost" not in fields


@pytest.mark.thorough
def test_a_package_to_be_handed_out_names_somebody_who_can_be_reached(
    package: Path, tmp_path: Path
) -> None:
    """A placeholder is refused; whoever builds it is named in control, copyright and changelog."""
    words = [sys.executable, SCRIPT, "--release", "--without-libraries", "-o", tmp_path]
    words = [str(word) for word in words]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("DEB")}
    for who in ({}, {"DEBEMAIL": "me@box.invalid"}, {"DEBEMAIL": "nobody"}):
        ended = subprocess.run(words, env=clean | who, capture_output=True, text=True, check=False)
        assert ended.returncode == 1
        assert "set DEBFULLNAME and DEBEMAIL" in ended.stderr
        assert not list(tmp_path.iterdir())
    maker = {"DEBFULLNAME": "Jana Maker", "DEBEMAIL": "security@boxes.de"}
    built = build(tmp_path, ROOT, "--release", **maker)
    assert "Maintainer: Jana Maker <security@boxes.de>\n" in run("dpkg-deb", "--field", built)
    assert built.read_bytes() != package.read_bytes()


def test_the_package_holds_units_settings_and_commands(package: Path, tree: Path) -> None:
    unit = (tree / "usr/lib/systemd/system/kenpin@.service").read_text()
    assert "\nExecStart=/opt/kenpin/current/bin/edge-run /etc/kenpin/%i.toml\n" in unit
    assert (tree / "DEBIAN/conffiles").read_text() == "/etc/kenpin/demo.toml\n"
    for script in ("postinst", "prerm", "postrm"):
        run("sh", "-n", tree / "DEBIAN" / script)
        assert "@VERSION@" not in (tree / "DEBIAN" / script).read_text()
    assert (tree / "usr/bin/edge-run").readlink() == Path("/opt/kenpin/current/bin/edge-run")
    assert not (tree / "usr/bin/edge-compile").exists()
    assert not (tree / PACKAGED / "lib/kenpin/compile").exists()
    assert not list(tree.rglob("installed.json"))
    listed = run("dpkg-deb", "--contents", package).splitlines()
    assert all(line.split()[1] == "root/root" for line in listed)


def test_its_commands_run_where_they_are_unpacked(tree: Path, tmp_path: Path) -> None:
    launcher = tree / PACKAGED / "bin/edge-run"
    text = launcher.read_text().replace(f"/{RELEASE}/lib", str(tree / PACKAGED / "lib"))
    (tmp_path / "edge-run").write_text(text)
    told = run(sys.executable, "-I", tmp_path / "edge-run", "--help")
    assert "edge-run [check] LINE.toml" in told
    image = tmp_path / "image"
    words = ["--root", image, "--prefix", "/usr", "--command", "/opt/kenpin/bin/edge-run"]
    run(sys.executable, "-I", tmp_path / "edge-run", "install", *words)
    assert (image / "usr/lib/systemd/system/kenpin.target").is_file()


CLI = """
import multiprocessing, pathlib

def tell():
    print("{version}", flush=True)

def main():
    current = pathlib.Path("{current}")
    current.unlink()
    current.symlink_to("releases/2")
    child = multiprocessing.get_context("spawn").Process(target=tell)
    child.start()
    child.join()
    return 0
"""


def test_children_of_a_line_are_of_its_own_version_after_an_update(
    tree: Path, tmp_path: Path
) -> None:
    """The launcher starts by a link that leads to another version when it starts a child."""
    current = tmp_path / "current"
    text = (tree / PACKAGED / "bin/edge-run").read_text()
    for version in ("1", "2"):
        release = tmp_path / "releases" / version
        module = release / "lib/kenpin/runtime/service/cli.py"
        module.parent.mkdir(parents=True)
        module.write_text(CLI.format(version=version, current=current))
        for folder in list(module.parents)[:3]:
            (folder / "__init__.py").touch()
        shutil.copy(ROOT / "src/kenpin/commands.py", release / "lib/kenpin")
        (release / "bin").mkdir()
        (release / "bin/edge-run").write_text(text.replace(f"/{RELEASE}", str(release)))
    current.symlink_to("releases/1")
    assert run(sys.executable, "-I", current / "bin/edge-run") == "1\n"


@pytest.mark.thorough
def test_the_same_source_makes_the_same_package_anywhere(package: Path, tmp_path: Path) -> None:
    """Another path, another day, another time zone, another umask: the same bytes."""
    elsewhere = tmp_path / "some" / "other place"
    rooms = ("camera", "compile", "config", "processes", "runtime", "systemd", "src", "packaging")
    for room in (*rooms, "docs", "examples"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / room, elsewhere / room, symlinks=True, ignore=ignored)
    for page in ("README.md", "CHANGELOG.md", "SECURITY.md", "pyproject.toml"):
        shutil.copyfile(ROOT / page, elsewhere / page)
    before = os.umask(0o077)
    try:
        other = build(tmp_path / "out", elsewhere, TZ="Asia/Tokyo", PYTHONHASHSEED="7")
    finally:
        os.umask(before)
    assert other.read_bytes() == package.read_bytes()


def test_the_bill_of_materials_names_every_file_with_its_hash(tree: Path) -> None:
    bill = json.loads((tree / "usr/share/doc/kenpin/kenpin.cdx.json").read_text())
    check_bill(bill, tree)
    assert bill["metadata"]["component"]["name"] == "kenpin"


def check_bill(bill: dict[str, Any], tree: Path) -> None:
    """As CycloneDX 1.6 wants it, and every file of a tree in it, as it is."""
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    parts = [bill["metadata"]["component"], *bill["components"]]
    told = {
        file["name"]: file["hashes"][0]["content"]
        for part in parts
        for file in part.get("components", ())
    }
    found = {
        "/" + path.relative_to(tree).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in tree.rglob("*")
        if path.is_file() and not path.is_symlink() and not path.is_relative_to(tree / "DEBIAN")
    }
    del found["/usr/share/doc/kenpin/kenpin.cdx.json"]
    assert told == found
    refs = [part["bom-ref"] for part in parts]
    assert len(set(refs)) == len(refs)


def test_every_link_of_its_pages_leads_to_a_file_on_the_box(tree: Path) -> None:
    pages = tree / "usr/share/doc/kenpin"
    texts = {page: page.read_text(encoding="utf-8") for page in pages.rglob("*.md")}
    assert {pages / "README.md", pages / "docs/troubleshooting.md"} <= set(texts)
    links = {page: re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text) for page, text in texts.items()}
    dead = {
        (page.relative_to(pages), link)
        for page, found in links.items()
        for link in found
        if not (page.parent / link).exists()
    }
    assert dead == set()


def test_the_licences_come_with_it(tree: Path) -> None:
    pages = tree / "usr/share/doc/kenpin"
    told = (pages / "copyright").read_text()
    assert told.startswith("Format: https://www.debian.org/doc/packaging-manuals/copyright-format/")
    assert "\nLicense: Apache-2.0\n On Debian systems" in told
    assert gzip.decompress((pages / "NOTICE.gz").read_bytes())
    assert (ROOT / "LICENSE").read_text().lstrip().startswith("Apache License")


def test_what_a_box_installs_is_pinned_as_the_tests_had_it() -> None:
    """Every version with hashes, the same as in constraints.txt, and neither torch nor nncf."""
    text = (ROOT / "packaging/requirements-box.txt").read_text()
    blocks = [b for b in re.split(r"\n(?=\S)", text) if not b.startswith("#")]
    pinned = {}
    for block in blocks:
        name, version = re.match(r"([\w.-]+)==(\S+)", block).groups()
        pinned[name.lower()] = version
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), name
    assert not {"torch", "nncf"} & pinned.keys()
    wanted = dict(
        line.lower().replace("_", "-").split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    assert {name: wanted[name] for name in pinned} == pinned
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    # The bridges to PLCs and brokers are the box's, too, and depots that it pulls from.
    every_extra = project["optional-dependencies"]
    extras = [every_extra[name] for name in ("modbus", "mqtt", "opcua", "page", "store")]
    every = [text for part in (project["dependencies"], *extras) for text in part]
    asked = {re.split(r"[<>=]", text)[0].lower() for text in every}
    assert asked <= pinned.keys()


def test_the_papers_name_tests_that_there_are() -> None:
    """docs/iec62443.md and docs/cra.md: each `tests/…` is a file."""
    for page in ("iec62443.md", "cra.md"):
        named = re.findall(r"`((?:tests|fuzz)/[\w./]*)`", (ROOT / "docs" / page).read_text())
        assert named
        assert [name for name in named if not (ROOT / name).exists()] == []
