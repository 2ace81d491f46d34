"""The package as it is handed out: with its libraries, twice the same, and as wheel and sdist."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from real_box import missing_index
from test_deb import check_bill

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", autouse=True)
def _index() -> None:
    """What is built here is built of packages that are fetched."""
    if missing_index():
        pytest.skip(missing_index())


ROOT = Path(__file__).resolve().parents[1]


def run(words: Sequence[str | Path], **more: str) -> str:
    ended = subprocess.run(
        [str(word) for word in words],
        env=os.environ | more,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=800,
    )
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    return ended.stdout


def stage(folder: Path, **more: str) -> dict[str, str]:
    """The tree of the package, libraries and all: each file's hash, mode and date."""
    words = [sys.executable, ROOT / "packaging/deb.py", "--stage", folder]
    run(words, SOURCE_DATE_EPOCH="1700000000", **more)
    return {
        path.relative_to(folder).as_posix(): f"{path.lstat().st_mode:o} {path.lstat().st_mtime} "
        + (
            str(path.readlink())
            if path.is_symlink()
            else hashlib.sha256(path.read_bytes()).hexdigest()
            if path.is_file()
            else ""
        )
        for path in folder.rglob("*")
    }


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb here: this is no Debian")
def test_the_tree_with_its_libraries_is_the_same_twice_and_its_bill_is_complete(
    tmp_path: Path,
) -> None:
    first = stage(tmp_path / "a" / "tree")
    second = stage(tmp_path / "b" / "of another name", TZ="Asia/Tokyo", PYTHONHASHSEED="3")
    assert first == second
    tree = tmp_path / "a" / "tree"
    bill = json.loads((tree / "usr/share/doc/kenpin/kenpin.cdx.json").read_text())
    check_bill(bill, tree)
    published = (ROOT / "packaging/requirements-box.txt").read_text()
    for part in bill["components"]:
        (fetched,) = part["externalReferences"]
        assert f"sha256:{fetched['hashes'][0]['content']}" in published, part["name"]
    check_schema(bill)


def check_schema(bill: dict[str, Any]) -> None:
    """By the JSON schema that CycloneDX publishes."""
    if importlib.util.find_spec("cyclonedx") is None:
        pytest.skip("cyclonedx-python-lib is not installed: make real-partners")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    # That no two of a list are equal costs the square of its length: a few files of each do.
    few = bill | {"components": [_with_few_files(part) for part in bill["components"]]}
    few["metadata"] = bill["metadata"] | {
        "component": _with_few_files(bill["metadata"]["component"])
    }
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(few)) is None


def _with_few_files(part: dict[str, Any]) -> dict[str, Any]:
    return part | {"components": part["components"][:100]} if "components" in part else part


def test_the_compilers_bill_names_every_distribution_and_file_as_they_are(tmp_path: Path) -> None:
    """`make sbom`."""
    target = tmp_path / "kenpin-compiler.cdx.json"
    run([sys.executable, ROOT / "packaging/sbom.py", "-o", target])
    bill = json.loads(target.read_text())
    told = {part["name"]: part for part in bill["components"]}
    # Once imported, setuptools puts the libraries that it carries on this process's own path.
    there = {
        found.name.lower().replace("_", "-"): found
        for found in metadata.distributions()
        if "_vendor" not in str(found.locate_file(""))
    }
    assert told.keys() == there.keys()
    assert {"torch", "nncf", "numpy"} <= told.keys()
    for name in ("numpy", "pyzmq", "structlog"):
        assert told[name]["version"] == there[name].version
        for file in told[name]["components"]:
            data = Path(str(there[name].locate_file(file["name"]))).read_bytes()
            assert file["hashes"][0]["content"] == hashlib.sha256(data).hexdigest()
    check_schema(bill)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel, made from the sdist, and the sdist."""
    for name in ("build", "twine", "pipx"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: make real-partners")
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--outdir", folder])
    return folder


def test_wheel_and_sdist_are_as_an_index_wants_them(built: Path) -> None:
    files = sorted(built.iterdir())
    assert [file.suffix for file in files] == [".whl", ".gz"]
    run([sys.executable, "-m", "twine", "check", "--strict", *files])


def test_the_wheel_installs_by_pipx_and_its_commands_run(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    homes = {"PIPX_HOME": str(tmp_path / "home"), "PIPX_BIN_DIR": str(tmp_path / "bin")}
    arguments = f"--constraint {ROOT}/constraints.txt"
    run([sys.executable, "-m", "pipx", "install", wheel, f"--pip-args={arguments}"], **homes)
    assert "LINE.toml" in run([tmp_path / "bin" / "edge-run", "--help"])
    assert "edge-doctor" in run([tmp_path / "bin" / "edge-doctor", "--help"])
    # What every room holds is there: links in the repository, folders in the wheel.
    code = "import kenpin.camera.simulator.build, kenpin.runtime.judging.engine, kenpin.systemd"
    run([tmp_path / "home/venvs/kenpin/bin/python", "-c", code])


def test_the_requirements_of_a_box_install_by_their_hashes(tmp_path: Path) -> None:
    """`--require-hashes`, and one byte of one hash wrong is refused."""
    good = (ROOT / "packaging/requirements-box.txt").read_text()
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "-q"]
    pip += ["--only-binary", ":all:", "--dest", str(tmp_path / "wheels")]
    block = next(part for part in good.split("\n\n") if "mdurl==" in part)
    start = block.index("mdurl==")
    mdurl = block[start:].split("\n")
    lines = [mdurl[0], *[line for line in mdurl[1:] if line.startswith("    --hash")][:2]]
    text = "\n".join(lines).rstrip(" \\")
    (tmp_path / "good.txt").write_text(text)
    run([*pip, "-r", tmp_path / "good.txt"])
    (tmp_path / "bad.txt").write_text(text.replace("sha256:", "sha256:00")[: -2 * len(lines) + 2])
    ended = subprocess.run([*pip, "-r", tmp_path / "bad.txt"], capture_output=True, check=False)
    assert ended.returncode != 0
