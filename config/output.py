"""Places to write to, tried before the work and not after it."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Final

from kenpin.config.errors import OutputError

__all__ = ["MAP_FORMATS", "add_maps", "file_to_write", "folder_to_write", "stays_there"]

# Of score maps as numbers: files of one page, float32.
MAP_FORMATS: Final = ("tiff", "npy")


def add_maps(parser: argparse.ArgumentParser) -> None:
    """--maps and --maps-as, for whoever judges many images."""
    parser.add_argument(
        "--maps",
        type=Path,
        metavar="DIR",
        help="write maps there as numbers, scores.csv, boxes.csv",
    )
    parser.add_argument(
        "--maps-as", choices=MAP_FORMATS, default="tiff", help="float32; default: tiff"
    )


def folder_to_write(folder: Path, room_bytes: int = 1 << 20) -> None:
    """Make a folder, unless it is there, and see that files can be made in it.

    Raises
    ------
    OutputError
        If it is a file, may not be written, or its disk has less room.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(4096))
            probe.flush()
        free = shutil.disk_usage(folder).free
    except FileExistsError:
        raise OutputError(f"{folder}: is a file; name a folder to write to") from None
    except OSError as error:
        raise _refused(folder, error) from None
    if free < room_bytes:
        raise OutputError(
            f"{folder}: its disk has {free >> 20} MiB left, expected at least "
            f"{room_bytes >> 20}; make room or name a folder on another disk"
        )


def file_to_write(file: Path) -> None:
    """See that a file can be written; what it holds stays until then.

    Raises
    ------
    OutputError
        If it is a folder, its own folder is missing, or it may not be written.
    """
    if file.is_dir():
        raise OutputError(f"{file}: is a folder; name a file to write")
    there = file.exists()
    if there and not file.is_file():
        # A pipe or a terminal: whoever reads it would take the trial for the end.
        return
    try:
        with file.open("ab"):
            pass
        if not there:
            file.unlink()
    except FileNotFoundError:
        raise OutputError(f"{file}: its folder is not there; make it first") from None
    except OSError as error:
        raise _refused(file, error) from None


def stays_there(file: Path) -> bool:
    """Whether what is written to a file stays under its name, and others may lie beside it.

    A pipe, a terminal or a device hands it on, as do the names of files that are open.
    """
    if file.exists() and not file.is_file():
        return False
    return file.parent.resolve() not in (Path("/dev"), Path("/dev/fd").resolve())


def _refused(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path}: cannot be written ({error.strerror}); name another place")
