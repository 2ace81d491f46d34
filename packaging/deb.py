"""A Debian package of the box's part: /opt/kenpin with all it needs, units, user, folders.

    python packaging/deb.py -o dist/

The libraries come from the package index, at the versions of constraints.txt, for
the Python that runs this script: build it on the Debian that the boxes have. The
offline part, edge-compile, needs torch and is left out.
"""

from __future__ import annotations

import argparse
import compileall
import py_compile
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from kenpin.runtime.service.install import Installation, wanted

HOME = PurePosixPath("/opt/kenpin")
ROOT = Path(__file__).resolve().parents[1]

LAUNCHER = """#!/usr/bin/python3 -I
import sys

sys.path.insert(0, "{lib}")

if __name__ == "__main__":
    from {module} import {function}

    sys.exit({function}())
"""

CONTROL = """Package: kenpin
Version: {version}
Architecture: {architecture}
Maintainer: the kenpin authors <root@localhost>
Section: science
Priority: optional
Installed-Size: {kib}
Depends: python3 (>= {python}), python3 (<< {next_python}), systemd, udev
Description: {summary}
 Finds defects in the images of a line camera and answers every trigger with
 exactly one verdict in time. Not a safety function.
"""

# On a box without a running systemd, an image being built for one, only files are made.
POSTINST = """#!/bin/sh
set -e
if [ "$1" = configure ]; then
    systemd-sysusers kenpin.conf
    systemd-tmpfiles --create kenpin.conf
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload
        udevadm control --reload || true
    fi
fi
"""
# An update does not stop a line in the middle of a shift: restart it when it suits.
PRERM = """#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl stop kenpin.target 'kenpin@*.service'
fi
"""
POSTRM = """#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
if [ "$1" = purge ]; then
    echo "kept: /var/lib/kenpin (bundles, archives, keys) and the user kenpin" >&2
fi
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description="Build a Debian package of the box's part.")
    parser.add_argument("-o", "--output", type=Path, default=Path("dist"), metavar="DIR")
    parser.add_argument(
        "--without-libraries", action="store_true", help="kenpin's own files only, to look at"
    )
    options = parser.parse_args(argv)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    with tempfile.TemporaryDirectory(prefix="kenpin-deb-") as folder:
        stage = Path(folder) / "kenpin"
        _stage(stage, project, libraries=not options.without_libraries)
        target = _build(stage, project, options.output)
    sys.stdout.write(f"{target}\n")
    return 0


def _stage(stage: Path, project: dict[str, Any], *, libraries: bool) -> None:
    """The files as they will lie on the box."""
    lib = stage / (HOME / "lib").relative_to("/")
    shutil.copytree(
        ROOT / "src/kenpin",
        lib / "kenpin",
        ignore=shutil.ignore_patterns("__pycache__", "compile"),
    )
    if libraries:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile"]
        constraints = ["--constraint", str(ROOT / "constraints.txt")]
        subprocess.run([*pip, *constraints, "--target", lib, *project["dependencies"]], check=True)
    # Nobody may write there later, and the package pins Python: what it compiles now stays valid.
    compileall.compile_dir(
        str(lib),
        quiet=2,
        stripdir=str(stage),
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    for name, entry in project["scripts"].items():
        module, _, function = entry.partition(":")
        if not (lib / (module.replace(".", "/") + ".py")).is_file():
            continue
        launcher = stage / (HOME / "bin" / name).relative_to("/")
        launcher.parent.mkdir(parents=True, exist_ok=True)
        launcher.write_text(LAUNCHER.format(lib=HOME / "lib", module=module, function=function))
        launcher.chmod(0o755)
        link = stage / "usr/bin" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(HOME / "bin" / name)
    prefix = PurePosixPath("/usr")
    Installation(stage, prefix).install(wanted(prefix, HOME / "bin/edge-run"))
    # What is installed is dpkg's to remember.
    shutil.rmtree(stage / "usr/lib/kenpin")
    pages = stage / "usr/share/doc/kenpin"
    pages.mkdir(parents=True)
    for page in ("docs/systemd.md", "README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / page, pages)
    (pages / "copyright").write_text(f"Licence: {project['license']}\n")


def _build(stage: Path, project: dict[str, Any], output: Path) -> Path:
    files = [path for path in stage.rglob("*") if path.is_file() and not path.is_symlink()]
    architecture = subprocess.run(
        ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
    ).stdout.strip()
    major, minor = sys.version_info[:2]
    control = stage / "DEBIAN"
    control.mkdir()
    (control / "control").write_text(
        CONTROL.format(
            version=project["version"],
            architecture=architecture,
            kib=sum(path.stat().st_size for path in files) // 1024 + 1,
            python=f"{major}.{minor}",
            next_python=f"{major}.{minor + 1}",
            summary=project["description"],
        )
    )
    settings = [path for path in files if path.is_relative_to(stage / "etc")]
    names = sorted("/" + path.relative_to(stage).as_posix() for path in settings)
    (control / "conffiles").write_text("".join(f"{name}\n" for name in names))
    for name, script in (("postinst", POSTINST), ("prerm", PRERM), ("postrm", POSTRM)):
        (control / name).write_text(script)
        (control / name).chmod(0o755)
    for folder in [stage, *(path for path in stage.rglob("*") if path.is_dir())]:
        folder.chmod(0o755)
    output.mkdir(parents=True, exist_ok=True)
    target = output / f"kenpin_{project['version']}_{architecture}.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Zxz", "-z1", "--build", stage, target],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return target


if __name__ == "__main__":
    sys.exit(main())
