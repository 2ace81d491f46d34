"""A Debian package of the box's part: /opt/kenpin with all it needs, units, user, folders.

    python packaging/deb.py -o dist/

The libraries are the wheels that requirements-box.txt pins by their published
hashes, for the Python that runs this script: build it on the Debian that the boxes
have. The same source gives the same package, bit for bit. The offline part,
edge-compile, needs torch and is left out.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from email.utils import formatdate
from pathlib import Path, PurePosixPath
from typing import Any

from epoch import source_date_epoch
from maintainer import maintainer_of, unreachable
from papers import copyright_of, notice_of
from sbom import component, document, file_component
from wheels import Wheel, fetch, unpack

from kenpin.commands import HOMES
from kenpin.runtime.service.install import Installation, wanted

HOME = PurePosixPath("/opt/kenpin")
ROOT = Path(__file__).resolve().parents[1]
DEBIAN = Path(__file__).with_name("debian")
DOC = PurePosixPath("/usr/share/doc/kenpin")
SCRIPTS = ("postinst", "prerm", "postrm")

# Its children read it again, by the name that it gives itself: that of its own version, where
# lines are started by a link that may lead to another one by then.
LAUNCHER = """#!/usr/bin/python3 -I
import sys

__file__ = "{path}"
sys.path.insert(0, "{lib}")

if __name__ == "__main__":
    from {module} import {function}

    sys.exit({function}())
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description="Build a Debian package of the box's part.")
    parser.add_argument("-o", "--output", type=Path, default=Path("dist"), metavar="DIR")
    parser.add_argument(
        "--without-libraries", action="store_true", help="kenpin's own files only, to look at"
    )
    parser.add_argument(
        "--wheels", type=Path, default=ROOT / "build/wheels", metavar="DIR", help="kept there"
    )
    parser.add_argument(
        "--stage", type=Path, metavar="DIR", help="leave the tree there instead of packing it"
    )
    parser.add_argument(
        "--release", action="store_true", help="to be handed out: somebody must be reachable"
    )
    options = parser.parse_args(argv)
    # Whoever builds it may have any umask.
    os.umask(0o022)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    nobody = unreachable(maintainer_of(project, os.environ))
    if nobody and options.release:
        parser.exit(
            1,
            f"{nobody}; a package that is handed out names somebody who answers when a hole is "
            "found: set DEBFULLNAME and DEBEMAIL (docs/decisions/0057)\n",
        )
    if nobody:
        sys.stderr.write(f"a trial, not to be handed out: {nobody}\n")
    wheels = [] if options.without_libraries else fetch(options.wheels)
    with tempfile.TemporaryDirectory(prefix="kenpin-deb-") as folder:
        stage = options.stage or Path(folder) / "kenpin"
        _stage(stage, project, wheels)
        _control(stage, project)
        _settle(stage, source_date_epoch())
        if options.stage is None:
            sys.stdout.write(f"{_pack(stage, project, options.output)}\n")
    return 0


# -- the files ---------------------------------------------------------------------------------


def _stage(stage: Path, project: dict[str, Any], wheels: Sequence[Wheel]) -> None:
    """The files as they will lie on the box."""
    home = HOME / "package" / project["version"]
    lib = _at(stage, home / "lib")
    # Links to the rooms become folders.
    shutil.copytree(
        ROOT / "src/kenpin",
        lib / "kenpin",
        ignore=shutil.ignore_patterns("__pycache__", "compile"),
    )
    for wheel in wheels:
        unpack(wheel, lib)
    # Where they are run from; `postinst` links them there.
    release = HOME / "releases" / project["version"]
    _compile(lib, release / "lib")
    _commands(stage, home, release, project)
    prefix = PurePosixPath("/usr")
    Installation(stage, prefix).install(wanted(prefix, HOME / "current/bin/edge-run"))
    # What is installed is dpkg's to remember.
    shutil.rmtree(stage / "usr/lib/kenpin")
    _documents(stage, home, project, wheels)


def _at(stage: Path, path: PurePosixPath) -> Path:
    return stage / path.relative_to("/")


def _compile(lib: Path, run_from: PurePosixPath) -> None:
    """Python's byte code. Nobody may write there later, and the package pins Python."""
    words = ["-m", "compileall", "-q", "-s", str(lib), "-p", str(run_from)]
    words += ["--invalidation-mode", "unchecked-hash"]
    # A process of its own, with nothing in it that was not there the last time: the bytes
    # depend on what else holds the same constants, and in which order sets come.
    subprocess.run(
        [sys.executable, "-I", *words, str(lib)], check=True, env={"PYTHONHASHSEED": "0"}
    )


def _commands(
    stage: Path, home: PurePosixPath, release: PurePosixPath, project: dict[str, Any]
) -> None:
    lib = _at(stage, home / "lib")
    for name, entry in project["scripts"].items():
        module, _, function = entry.partition(":")
        # The box has no compiler, and so no edge-compile.
        if not (lib / (HOMES[function].replace(".", "/") + ".py")).is_file():
            continue
        launcher = _at(stage, home / "bin" / name)
        launcher.parent.mkdir(parents=True, exist_ok=True)
        # By its version's own path: an update changes nothing under a running line.
        own = {"path": release / "bin" / name, "lib": release / "lib"}
        text = LAUNCHER.format(module=module, function=function, **own)
        launcher.write_text(text)
        launcher.chmod(0o755)
        link = stage / "usr/bin" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(HOME / "current/bin" / name)


def _documents(
    stage: Path, home: PurePosixPath, project: dict[str, Any], wheels: Sequence[Wheel]
) -> None:
    pages = _at(stage, DOC)
    pages.mkdir(parents=True)
    for page in ("README.md", "SECURITY.md"):
        shutil.copy(ROOT / page, pages)
    # With all that they link to.
    shutil.copytree(ROOT / "docs", pages / "docs")
    shutil.copytree(ROOT / "examples/c", pages / "examples/c")
    (pages / "config").mkdir()
    for example in (ROOT / "config").glob("*.toml"):
        shutil.copy(example, pages / "config")
    holder = maintainer_of(project, os.environ)
    libraries = (home / "lib").relative_to("/").as_posix()
    (pages / "copyright").write_text(copyright_of(holder, libraries, wheels))
    _write_gz(pages / "changelog.gz", _debian_changelog(project["version"], holder))
    _write_gz(pages / "CHANGELOG.md.gz", (ROOT / "CHANGELOG.md").read_bytes())
    _write_gz(pages / "NOTICE.gz", notice_of(wheels).encode())
    overrides = stage / "usr/share/lintian/overrides/kenpin"
    overrides.parent.mkdir(parents=True)
    shutil.copy(DEBIAN / "overrides", overrides)
    (pages / "kenpin.cdx.json").write_text(_bill(stage, home, project, wheels))


def _debian_changelog(version: str, holder: str) -> bytes:
    text = f"kenpin ({version}) stable; urgency=medium\n\n"
    text += "  * What is new is in CHANGELOG.md.gz beside this file.\n\n"
    return f"{text} -- {holder}  {formatdate(source_date_epoch())}\n".encode()


def _write_gz(path: Path, data: bytes) -> None:
    path.write_bytes(gzip.compress(data, 9, mtime=0))


def _bill(
    stage: Path, home: PurePosixPath, project: dict[str, Any], wheels: Sequence[Wheel]
) -> str:
    """Every file of the package but the bill itself, under the component that it is of."""
    lib = _at(stage, home / "lib")
    owners: dict[Path, str] = {}
    for wheel in wheels:
        with tempfile.TemporaryDirectory() as folder:
            for path in unpack(wheel, Path(folder)):
                owners[lib / path.relative_to(folder)] = wheel.name
    files: dict[str, list[dict[str, Any]]] = {"kenpin": []}
    for path in sorted(_plain_files(stage)):
        source = path
        if path.suffix == ".pyc":
            source = path.parent.parent / (path.name.split(".")[0] + ".py")
        entry = file_component("/" + path.relative_to(stage).as_posix(), path.read_bytes())
        files.setdefault(owners.get(source, "kenpin"), []).append(entry)
    parts = [
        component(
            wheel.name,
            wheel.version,
            licence=wheel.licence,
            purl=wheel.purl,
            wheel=(wheel.path.name, wheel.sha256),
            files=files.get(wheel.name, ()),
        )
        for wheel in wheels
    ]
    about = component(
        "kenpin",
        project["version"],
        licence=project["license"],
        purl=f"pkg:deb/kenpin@{project['version']}",
        kind="application",
        files=files["kenpin"],
    )
    return document(about, parts, source_date_epoch())


def _plain_files(stage: Path) -> Iterator[Path]:
    return (path for path in stage.rglob("*") if path.is_file() and not path.is_symlink())


# -- the package -------------------------------------------------------------------------------


def _control(stage: Path, project: dict[str, Any]) -> None:
    files = list(_plain_files(stage))
    control = stage / "DEBIAN"
    control.mkdir()
    major, minor = sys.version_info[:2]
    (control / "control").write_text(
        (DEBIAN / "control")
        .read_text()
        .format(
            version=project["version"],
            architecture=_architecture(),
            maintainer=maintainer_of(project, os.environ),
            kib=sum(path.stat().st_size for path in files) // 1024 + 1,
            python=f"{major}.{minor}",
            next_python=f"{major}.{minor + 1}",
        )
    )
    settings = [path for path in files if path.is_relative_to(stage / "etc")]
    names = sorted("/" + path.relative_to(stage).as_posix() for path in settings)
    (control / "conffiles").write_text("".join(f"{name}\n" for name in names))
    sums = sorted(
        f"{_md5(path)}  {path.relative_to(stage).as_posix()}\n"
        for path in files
        if not path.is_relative_to(stage / "etc")
    )
    (control / "md5sums").write_text("".join(sums))
    for name in SCRIPTS:
        script = (DEBIAN / name).read_text().replace("@VERSION@", project["version"])
        (control / name).write_text(script)
        (control / name).chmod(0o755)


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _architecture() -> str:
    words = ["dpkg", "--print-architecture"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def _settle(stage: Path, epoch: int) -> None:
    """Modes and dates that say nothing of who built it, and when."""
    for path in sorted(stage.rglob("*"), reverse=True):
        if not path.is_symlink():
            runs = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if runs else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    stage.chmod(0o755)
    os.utime(stage, (epoch, epoch))


def _pack(stage: Path, project: dict[str, Any], output: Path) -> Path:
    output.mkdir(parents=True, exist_ok=True)
    target = output / f"kenpin_{project['version']}_{_architecture()}.deb"
    # How many threads compress shows in the bytes.
    words = ["dpkg-deb", "--root-owner-group", "--threads-max=1", "-Zxz", "-z2"]
    subprocess.run(
        [*words, "--build", str(stage), str(target)],
        check=True,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"SOURCE_DATE_EPOCH": str(source_date_epoch())},
    )
    return target


if __name__ == "__main__":
    sys.exit(main())
