"""The bundle: what the offline step hands to the box, verified before use."""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kenpin.runtime.bundles.layout import MANIFEST, SIGNATURES
from kenpin.runtime.bundles.manifest import (
    NAME_DIGITS,
    BundleError,
    Manifest,
    content_hash,
    parse_manifest,
)

__all__ = ["Bundle", "Network", "file_hash", "read_bundle"]

# Of the format's versions, those that numpy writes for plain arrays.
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True)
class Network:
    """An OpenVINO IR as it was verified.

    source   where it came from, for messages
    """

    source: Path
    xml: bytes = field(repr=False)
    weights: bytes = field(repr=False)

    def __str__(self) -> str:
        return str(self.source)


@dataclass(frozen=True)
class Bundle:
    """A bundle whose every byte was checked, and is in memory: what was hashed is what judges.

    folder   where it was read from; nothing that judges is read there again
    sha256   its content hash
    arrays   the method's statistics by name, read-only
    network  the IR; None once it is `loaded`
    golden   the golden frames' image files by name
    """

    folder: Path
    sha256: str
    manifest: Manifest
    arrays: Mapping[str, NDArray[np.float32]]
    network: Network | None
    golden: Mapping[str, bytes]

    @property
    def label(self) -> str:
        """Name and the start of the content hash, as verdicts carry it."""
        return f"{self.manifest.name}@{self.sha256[:NAME_DIGITS]}"

    def loaded(self) -> Bundle:
        """The same for whoever has made a pipeline of it, which holds what it needs itself."""
        return replace(self, arrays={}, network=None)


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_bundle(path: Path, trust: Path | None = None) -> Bundle:
    """The bundle in a folder, every byte of it verified.

    Parameters
    ----------
    path
        The bundle's own folder, or a store whose link `current` leads to one.
    trust
        A folder of public keys, one of which must have signed the bundle; None
        takes bundles that nobody signed.

    Raises
    ------
    BundleError
        If no trusted key has signed it, where one must;
        If a file is missing, added, altered, not a plain file of the folder,
        or the manifest is not of a known schema, not in its canonical form,
        or does not hash to the folder's name. The message says which.
    """
    if (path / "current").is_symlink() and not (path / MANIFEST).exists():
        path = path / "current"
    folder = path.resolve()
    if not folder.is_dir():
        raise BundleError(f"{path}: no such folder; give the folder that edge-compile wrote")
    raw = _manifest_bytes(folder)
    manifest = parse_manifest(folder, raw)
    if trust is not None:
        _check_signature(folder, raw, trust)
    _check_names(folder, manifest)
    files = {name: _verified(folder, name, expected) for name, expected in manifest.files.items()}
    return Bundle(
        folder,
        content_hash(raw),
        manifest,
        _arrays(folder, files),
        _network(folder, files),
        _golden(folder, manifest, files),
    )


def _manifest_bytes(folder: Path) -> bytes:
    file = folder / MANIFEST
    if file.is_symlink() or not file.is_file():
        raise BundleError(f"{folder}: holds no {MANIFEST}; this is not a bundle, or it is damaged")
    return file.read_bytes()


def _check_signature(folder: Path, raw: bytes, trust: Path) -> None:
    # Only where it is asked for: cryptography takes its time to import.
    from kenpin.runtime.bundles.signature import SignatureError, signer

    try:
        signer(folder, raw, trust)
    except SignatureError as error:
        raise BundleError(str(error)) from None


def _check_names(folder: Path, manifest: Manifest) -> None:
    """That the folder holds the files which the manifest names, and nothing else."""
    for name in manifest.files:
        parts = name.split("/")
        if re.search(r"[\\\0]", name) or any(part in ("", ".", "..") for part in parts):
            raise BundleError(f"{folder}/{MANIFEST}: names {name!r}, which leaves the folder")
    found: set[str] = set()
    for item in sorted(folder.rglob("*")):
        name = item.relative_to(folder).as_posix()
        if item.is_symlink() or not (item.is_file() or item.is_dir()):
            raise BundleError(f"{folder}: {name} is not a plain file; a bundle holds no links")
        if item.is_file() and name not in (MANIFEST, SIGNATURES):
            found.add(name)
    for name in sorted(found - set(manifest.files)):
        raise BundleError(f"{folder}: {name} does not belong to the bundle; remove it")
    for name in sorted(set(manifest.files) - found):
        raise BundleError(f"{folder}: {name} is missing; copy the bundle again")


def _verified(folder: Path, name: str, expected: str) -> bytes:
    """A file's bytes, read once: these were hashed, and these are used."""
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise BundleError(
            f"{folder}: {name} cannot be read ({error.strerror}); copy the bundle again"
        ) from error
    if hashlib.sha256(data).hexdigest() != expected:
        raise BundleError(
            f"{folder}: {name} does not have the recorded SHA-256; it is damaged or was "
            "altered: copy the bundle again"
        )
    return data


def _arrays(folder: Path, files: Mapping[str, bytes]) -> dict[str, NDArray[np.float32]]:
    return {
        name.removesuffix(".npy"): _array(folder, name, data)
        for name, data in sorted(files.items())
        if name.endswith(".npy")
    }


def _array(folder: Path, name: str, data: bytes) -> NDArray[np.float32]:
    """The array in a `.npy` file's bytes, which stay where they are: no copy, read-only."""
    stream = io.BytesIO(data)
    try:
        header = _HEADERS[np.lib.format.read_magic(stream)](stream)
    # numpy's reader of headers raises whatever Python's own parser does.
    except Exception as error:  # noqa: BLE001
        raise BundleError(
            f"{folder}: {name} is not a plain array ({type(error).__name__}: {error}); recompile "
            "the bundle"
        ) from None
    shape, column_major, dtype = header
    if dtype != np.float32 or not math.prod(shape):
        raise BundleError(f"{folder}: {name} is {dtype} {shape}, expected filled float32")
    start, size = stream.tell(), 4 * math.prod(shape)
    if len(data) != start + size:
        raise BundleError(
            f"{folder}: {name} holds {len(data) - start} bytes after its header, {shape} float32 "
            f"take {size}; recompile the bundle"
        )
    flat = np.frombuffer(data, np.float32, offset=start)
    return flat.reshape(shape, order="F" if column_major else "C")


def _network(folder: Path, files: Mapping[str, bytes]) -> Network:
    missing = [name for name in ("features.xml", "features.bin") if name not in files]
    if missing:
        raise BundleError(f"{folder}: holds no {missing[0]}; recompile the bundle")
    return Network(folder / "features.xml", files["features.xml"], files["features.bin"])


def _golden(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> dict[str, bytes]:
    for frame in manifest.golden:
        if frame.file not in files:
            raise BundleError(f"{folder}: names a golden frame {frame.file!r}, which it lacks")
    return {frame.file: files[frame.file] for frame in manifest.golden}
