"""A list of images as CSV, itself or in its folder: image, kind or mask, perhaps split."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from kenpin.camera.files.listing import printable
from kenpin.compile.layouts.base import (
    DatasetLayout,
    LabelledImage,
    marks_something,
    split_in,
)
from kenpin.compile.words import DEFECT, GOOD, kind_of
from kenpin.config.errors import ConfigError

__all__ = ["CSV_LIST", "read_rows"]

# As people call the columns; the first is what the docs say.
_COLUMNS = {
    "image": ("image", "file", "path", "filename", "image_path"),
    "kind": (
        *("kind", "label", "class", "defect", "target", "anomaly", "is_anomaly", "is_defect"),
        *("defective", "result", "verdict"),
    ),
    "split": ("split", "set", "subset"),
    "mask": ("mask", "mask_path", "ground_truth"),
    "category": ("category", "object"),
}
# Characters of a first line that are looked at, of what may be no list at all.
_LONGEST_HEAD = 1 << 16


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
    reader = csv.reader(text.splitlines(), delimiter=_delimiter(text.partition("\n")[0]))
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


def _delimiter(first: str) -> str:
    return max(",;\t", key=first.count)


def _lists(root: Path) -> list[Path]:
    """The list itself, or those of a folder: tables of images and what they show."""
    if root.is_file():
        return [root] if _is_table(root) else []
    tables = [path for path in root.iterdir() if _is_table(path) and path.name[0] != "."]
    return sorted(path for path in tables if _says_what_is_good(path))


def _is_table(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in (".csv", ".tsv")


def _says_what_is_good(file: Path) -> bool:
    # Some other table beside a data set may hold anything, and is no fault of the set.
    with file.open(encoding="utf-8-sig", errors="replace") as text:
        first = text.readline(_LONGEST_HEAD)
    names = next(csv.reader([first], delimiter=_delimiter(first)), [])
    row = {name.strip().lower(): "" for name in names}
    return _has(row, "image") and (_has(row, "kind") or _has(row, "mask"))


def _read(root: Path, category: str | None) -> Iterator[LabelledImage]:
    file, *others = _lists(root)
    if others:
        names = ", ".join(printable(path.name) for path in (file, *others))
        raise ConfigError(
            f"{printable(root)}: holds {1 + len(others)} lists of images, {names}, expected one; "
            "put all rows into one, or name the list that is meant (of an archive, unpack it first)"
        )
    return _rows(file, category)


def _rows(file: Path, category: str | None) -> Iterator[LabelledImage]:
    rows = [
        (line, row, {key: _of(row, names) for key, names in _COLUMNS.items()})
        for line, row in read_rows(file)
    ]
    _check(file, [row for _, row, _ in rows], {known["category"] for *_, known in rows}, category)
    for line, row, known in rows:
        if category is not None and known["category"] != category:
            continue
        split = split_in([known["split"]])
        if split is None and known["split"]:
            raise ConfigError(
                f"{printable(file)}: line {line}: nobody knows what {known['split']!r} is for; "
                "expected train, test or val, or nothing"
            )
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
        if not known["kind"] and _has(row, "kind"):
            raise ConfigError(
                f"{printable(file)}: line {line} does not say what its image shows; expected good, "
                "or the name of a defect"
            )
        kind = _kind(known["kind"], row, mask)
        listed = Path(known["image"])
        name = printable(listed.name if listed.is_absolute() else known["image"])
        told = f"{printable(file.name)}, line {line}"
        yield LabelledImage(image, name, kind, split, None if kind == GOOD else mask, told=told)


def _check(
    file: Path, rows: list[dict[str, str]], categories: set[str], category: str | None
) -> None:
    """See that the list says what is good, and of which product it is."""
    columns = rows[0] if rows else {}
    if columns and not _has(columns, "kind") and not _has(columns, "mask"):
        known = {name for names in _COLUMNS.values() for name in names}
        unknown = ", ".join(name for name in columns if name not in known)
        found, do = f"has the columns {', '.join(columns)}, none of which says", "add one called"
        if unknown:
            found = f"nobody knows what its columns {unknown} mean, and none of the others says"
            do = "call one"
        raise ConfigError(
            f"{printable(file)}: {found} what is good; {do} kind (or "
            f"{', '.join(_COLUMNS['kind'][1:])}), with good or a defect's name in each row"
        )
    if category is None and len(categories) > 1:
        raise ConfigError(
            f"{printable(file)}: holds the categories {', '.join(sorted(categories))}; name one of "
            "them"
        )


def _has(row: dict[str, str], key: str) -> bool:
    return any(name in row for name in _COLUMNS[key])


def _of(row: dict[str, str], names: tuple[str, ...]) -> str:
    return next((row[name].strip() for name in names if name in row), "")


def _kind(label: str, row: dict[str, str], mask: Path | None) -> str:
    """As the list says; without such a column as the mask does."""
    if _has(row, "kind"):
        return kind_of(label)
    return DEFECT if mask is not None and marks_something(mask) else GOOD


# The layout of the name `csv`.
CSV_LIST = DatasetLayout(
    "a .csv with the columns image, kind or mask, and perhaps split, category; images beside it",
    lambda root: bool(_lists(root)),
    _read,
)
