"""The libraries of the box's part: wheels with published hashes, unpacked without what a box
never loads.

Unpacked here and not by pip, which writes the path of whoever runs it into scripts
and records: the same wheels give the same files everywhere.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath

__all__ = ["REQUIREMENTS", "Wheel", "fetch", "unpack"]

REQUIREMENTS = Path(__file__).with_name("requirements-box.txt")

# By the name of a distribution: what a box never loads. Sizes in MB, unpacked.
LEFT_OUT = {
    "openvino": (
        # The box computes on its processor: no GPU (41) and its kernels (9), no NPU (10),
        # nothing that shares work among devices.
        "openvino/libs/libopenvino_intel_gpu_plugin.so",
        "openvino/libs/cache.json",
        "openvino/libs/libopenvino_intel_npu_plugin.so",
        "openvino/libs/libopenvino_auto_plugin.so",
        "openvino/libs/libopenvino_auto_batch_plugin.so",
        "openvino/libs/libopenvino_hetero_plugin.so",
        # It reads networks in OpenVINO's own form only (20).
        "openvino/libs/libopenvino_onnx_frontend.so*",
        "openvino/libs/libopenvino_tensorflow_frontend.so*",
        "openvino/libs/libopenvino_tensorflow_lite_frontend.so*",
        "openvino/libs/libopenvino_pytorch_frontend.so*",
        "openvino/libs/libopenvino_paddle_frontend.so*",
        "openvino/libs/libopenvino_jax_frontend.so*",
        "openvino/libs/libopenvino_gguf_frontend.so*",
    ),
    # A test's camera; a box has the vendor's producers.
    "genicam": ("genicam/viky.cti",),
}
# Nobody compiles against them or tests them on a box.
_NOWHERE = ("*/tests/*", "*/test/*", "*.pyi", "*/include/*", "*.a", "*/py.typed")


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel's file, and what its metadata say."""

    path: Path
    name: str
    version: str
    licence: str
    authors: str

    @property
    def sha256(self) -> str:
        """Of the file, as the index publishes it."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    @property
    def purl(self) -> str:
        """A package URL, as SBOMs name it."""
        return f"pkg:pypi/{self.name}@{self.version}"

    def licence_texts(self) -> dict[str, str]:
        """Every licence, notice and list of authors that it brings, by its name in the wheel."""
        wanted = re.compile(
            r"(licen[cs]e|copying|notice|authors|third[-_]party)[^/]*(\.(txt|md|rst|html))?$", re.I
        )
        with zipfile.ZipFile(self.path) as archive:
            return {
                info.filename: archive.read(info).decode("utf-8", "replace").strip()
                for info in sorted(archive.infolist(), key=lambda info: info.filename)
                if wanted.match(PurePosixPath(info.filename).name)
                or "/licenses/" in info.filename.lower()
                if not info.is_dir() and not info.filename.endswith((".py", ".pyi"))
            }


def fetch(folder: Path) -> list[Wheel]:
    """Every pinned wheel, by name; from the folder, or else from the index.

    Raises
    ------
    subprocess.CalledProcessError
        If one cannot be had, or has none of the published hashes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    pip += ["--only-binary", ":all:", "--find-links", str(folder), "--dest", str(folder)]
    subprocess.run([*pip, "--requirement", str(REQUIREMENTS)], check=True)
    pinned = re.findall(r"^([\w.-]+)==([\w.]+)", REQUIREMENTS.read_text(), re.M)
    every = {(wheel.name, wheel.version): wheel for wheel in map(_read, folder.glob("*.whl"))}
    return [every[_normal(name), version] for name, version in sorted(pinned)]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _read(path: Path) -> Wheel:
    with zipfile.ZipFile(path) as archive:
        (name,) = fnmatch.filter(archive.namelist(), "*.dist-info/METADATA")
        meta = HeaderParser().parsestr(archive.read(name).decode())
    return Wheel(path, _normal(meta["Name"]), meta["Version"], _licence(meta), _authors(meta))


def _licence(meta: Message) -> str:
    """Its SPDX expression, or what comes nearest."""
    if meta["License-Expression"]:
        return str(meta["License-Expression"])
    known = {
        "MIT License": "MIT",
        "BSD License": "BSD-3-Clause",
        "Apache Software License": "Apache-2.0",
        "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    }
    for classifier in meta.get_all("Classifier", []):
        if classifier.startswith("License ::"):
            last = classifier.rsplit(" :: ", 1)[1]
            return known.get(last, "LicenseRef-" + re.sub(r"[^\w.]+", "-", last).strip("-"))
    named = {"Apache 2.0": "Apache-2.0", "Apache License, Version 2.0": "Apache-2.0"}
    short = str(meta["License"] or "").split("\n")[0].strip()
    if short in named:
        return named[short]
    return short if re.fullmatch(r"[\w.+-]{2,40}", short) else f"LicenseRef-{_normal(meta['Name'])}"


def _authors(meta: Message) -> str:
    found = [meta["Author"], meta["Author-email"], meta["Maintainer"], meta["Maintainer-email"]]
    return next((" ".join(str(a).split()) for a in found if a), f"the authors of {meta['Name']}")


def unpack(wheel: Wheel, lib: Path) -> list[Path]:
    """Put a wheel's files below `lib`, without what a box never loads; the files."""
    out = LEFT_OUT.get(wheel.name, ()) + _NOWHERE
    found = []
    with zipfile.ZipFile(wheel.path) as archive:
        placed = list(_placed(archive))
        every = [target for _, target in placed]
        unused = [p for p in LEFT_OUT.get(wheel.name, ()) if not fnmatch.filter(every, p)]
        if unused:
            raise ValueError(f"{wheel.path.name} holds no {', '.join(unused)}; mend LEFT_OUT")
        for name, target in placed:
            if any(fnmatch.fnmatch(target, pattern) for pattern in out):
                continue
            path = lib / target
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(name))
            found.append(path)
    return found


def _placed(archive: zipfile.ZipFile) -> Iterator[tuple[str, str]]:
    """Every file, and where it belongs below site-packages; scripts belong nowhere."""
    for name in archive.namelist():
        if name.endswith("/"):
            continue
        head, _, rest = name.partition("/")
        if not head.endswith(".data"):
            yield name, name
        elif rest.startswith(("purelib/", "platlib/")):
            yield name, rest.partition("/")[2]
