"""A list of images as CSV: image, and perhaps kind, split, mask."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from kenpin.camera.files.listing import printable
from kenpin.compile.layouts.base import (
    DEFECT,
    GOOD,
    DatasetLayout,
    LabelledImage,
    kind_of,
    marks_something,
    split_in,
)
from kenpin.config.errors import ConfigError

__all__ = ["CSV_LIST", "read_rows"]

# As people call the columns; the first is what the docs say.
_COLUMNS = {
    "image": ("image", "file", "path", "filename", "image_path"),
    "kind": ("kind", "label", "class", "defect"),
    "split": ("split", "set", "subset"),
    "mask": ("mask", "mask_path", "ground_truth"),
    "category": ("category", "object"),
}


def read_rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row with its line's number, by the names of the columns, in lower case.

    Raises
    ------
    ConfigError
        If the file is no text, or a row has more or fewer columns than the first.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{printable(file)}: cannot be read as text in UTF-8: {error}") from None
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(text.splitlines(), delimiter=delimiter)
    names = [name.strip().lower() for name in next(reader, [])]
    for row in reader:
        if not row:
            continue
        if len(row) != len(names):
            raise ConfigError(
                f"{printable(file)}: line {reader.line_num} has {len(row)} columns, expected "
                f"{len(names)}: {', '.join(names)}"
            )
        yield reader.line_num, dict(zip(names, row, strict=True))


def _read(file: Path, category: str | None) -> Iterator[LabelledImage]:
    for line, row in read_rows(file):
        known = {key: _of(row, names) for key, names in _COLUMNS.items()}
        if category is not None and known["category"] != category:
            continue
        if not known["image"]:
            raise ConfigError(
                f"{printable(file)}: line {line} names no image; expected a column "
                f"{' or '.join(_COLUMNS['image'])}"
            )
        image, mask = file.parent / known["image"], None
        if known["mask"]:
            mask = file.parent / known["mask"]
        for path in (image, mask):
            if path is not None and not path.is_file():
                raise ConfigError(
                    f"{printable(file)}: line {line}: there is no file {printable(path)}; paths "
                    "start at the list's own folder"
                )
        kind = _kind(known["kind"], row, mask)
        name = printable(Path(known["image"]).name if image.is_absolute() else known["image"])
        yield LabelledImage(
            image, name, kind, split_in([known["split"]]), None if kind == GOOD else mask
        )


def _of(row: dict[str, str], names: tuple[str, ...]) -> str:
    return next((row[name].strip() for name in names if name in row), "")


def _kind(label: str, row: dict[str, str], mask: Path | None) -> str:
    """As the list says; without such a column as the mask does."""
    if any(name in row for name in _COLUMNS["kind"]):
        return kind_of(label)
    return DEFECT if mask is not None and marks_something(mask) else GOOD


CSV_LIST = DatasetLayout(
    "a .csv with the columns image, and perhaps kind, split, mask, category",
    lambda path: path.is_file() and path.suffix.lower() in (".csv", ".tsv"),
    _read,
)
