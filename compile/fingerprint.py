"""Whether files are what they were: by their places, sizes and times.

Nothing is read but ONNX files, for the names of the files that their weights lie in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

__all__ = ["fingerprint", "paths_in", "weights_beside"]

# onnx.proto3, StringStringEntryProto: a tensor's key "location", and the length of its value,
# seven bits a byte.
_LOCATION = re.compile(rb"\n\x08location\x12([\x80-\xff]?[\x00-\x7f])")
_OF_AN_IR = (".xml", ".bin")


def fingerprint(path: Path) -> list[str]:
    """A line for a file, or for each below a folder, that changes with it; one if nothing is there.

    A link counts as what it leads to. A network in two files or more has a line for each.
    """
    if path.is_dir():
        return [line for file in sorted(path.iterdir()) for line in fingerprint(file)]
    if not path.exists():
        return [f"{path}: nothing"]
    line = _line_of(path)
    return [line, *(_line_of(file) for file in _weights_of(path, line) if file.is_file())]


def weights_beside(network: Path) -> tuple[Path, ...]:
    """The files that a network in a file has its weights in besides, whether they are there or not.

    Of OpenVINO IR and ONNX; nothing of any other file.
    """
    return _weights_of(network, _line_of(network))


def _line_of(file: Path) -> str:
    state = file.stat()
    return f"{file.resolve()} {state.st_size} {state.st_mtime_ns}"


# Hundreds of recipes may name the same network.
@lru_cache(maxsize=64)
def _weights_of(network: Path, line: str) -> tuple[Path, ...]:  # noqa: ARG001 it has changed with it
    """Where a network in a file has its weights besides; nothing of any other file."""
    suffix = network.suffix.lower()
    if suffix in _OF_AN_IR:
        return tuple(network.with_suffix(one) for one in _OF_AN_IR if one != suffix)
    if suffix != ".onnx" or not network.stat().st_size:
        return ()
    names = set()
    # What cannot be read is refused where it is used.
    with (
        suppress(OSError),
        network.open("rb") as file,
        mmap(file.fileno(), 0, access=ACCESS_READ) as raw,
    ):
        for found in _LOCATION.finditer(raw):
            length = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(found[1]))
            names.add(raw[found.end() : found.end() + length].decode(errors="replace"))
    return tuple(network.parent / name for name in sorted(names))


def paths_in(tree: Any) -> Iterator[Path]:
    """Every path in settings, however deep."""
    if isinstance(tree, Path):
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from paths_in(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from paths_in(value)
