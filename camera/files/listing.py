"""Which files of a folder are images, and what people are told they are called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = [
    "EXTENSIONS",
    "ImageError",
    "in_order",
    "is_image",
    "list_files",
    "list_images",
    "list_others",
    "name_in",
    "printable",
]

# WebP, JPEG 2000 and AVIF stay out: they lose detail by default, and OpenCV
# returns a mono WebP as colour.
EXTENSIONS = frozenset({".png", ".tif", ".tiff", ".bmp", ".pgm", ".ppm", ".pnm", ".jpg", ".jpeg"})


class ImageError(Exception):
    """A file or a folder does not hold the image that was asked for.

    path    the file or the folder
    found   what is wrong with it
    action  what to do about it
    """

    def __init__(self, path: Path, found: str, action: str) -> None:
        # All three are arguments, so that the error survives pickling.
        super().__init__(path, found, action)
        self.path = path
        self.found = found
        self.action = action

    def __str__(self) -> str:
        return f"{printable(self.path)}: {self.found}; {self.action}"


def printable(path: Path | str) -> str:
    """A path as text that any message, file or terminal of UTF-8 can hold.

    Linux allows any bytes in a name. Those that are no UTF-8 come out as `\\xff`;
    as Python keeps them they would break JSON, msgpack and most terminals.
    """
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def name_in(folder: Path, file: Path) -> str:
    """What a file is called below its folder: `monday/0001.png`."""
    return printable(file.relative_to(folder).as_posix())


def list_images(folder: Path) -> list[Path]:
    """The image files of a folder and of those below it, `in_order`.

    Raises
    ------
    ImageError
        If a folder is missing or may not be read, or none holds an image.
    """
    files = list_files(folder)
    images = [path for path in files if is_image(path)]
    if not images:
        found = f"no image among its {len(files)} files"
        raise ImageError(folder, found, f"expected {', '.join(sorted(EXTENSIONS))}")
    return images


def list_others(folder: Path) -> list[Path]:
    """The files that `list_images` leaves out, `in_order`, for a warning.

    Raises
    ------
    ImageError
        If a folder is missing or may not be read.
    """
    return [path for path in list_files(folder) if not is_image(path)]


def list_files(folder: Path) -> list[Path]:
    """All files of a folder and of those below it, `in_order`, but none that a dot begins.

    Desktops scatter such files and folders, and macOS calls some of them
    `._0001.png`. A link that leads nowhere is listed: a file was meant to be there.

    Raises
    ------
    ImageError
        If a folder is missing or may not be read.
    """
    return in_order(_files_from(folder, frozenset()))


def is_image(path: Path) -> bool:
    """True if the name is that of an image file; the file is not opened."""
    return path.suffix.lower() in EXTENSIONS


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Sorted by name, part by part; numbers by value, so 9.png comes before 10.png."""
    return sorted(paths, key=lambda path: ([_by_value(part) for part in path.parts], path))


def _by_value(name: str) -> list[tuple[int, str]]:
    """Text and numbers in turn: "tile9b" gives (0, "tile"), (9, ""), (0, "b")."""
    pieces = re.split(r"([0-9]+)", name)
    return [(int(p), "") if at % 2 else (0, p) for at, p in enumerate(pieces)]


def _files_from(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """The files in and below a folder, through links too, but never in a circle."""
    here = folder.resolve()
    if here in above:
        return
    try:
        items = [path for path in folder.iterdir() if path.name[0] != "."]
    except FileNotFoundError as error:
        raise ImageError(folder, "no such folder", "check the path") from error
    except OSError as error:
        found = f"cannot be listed ({error.strerror})"
        raise ImageError(folder, found, "name a folder that may be read") from error
    for path in items:
        if path.is_dir():
            yield from _files_from(path, above | {here})
        else:
            yield path
