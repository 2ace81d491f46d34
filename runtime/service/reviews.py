"""What people said of archived frames, kept beside the archive: good after all, or a real defect.

    ARCHIVE/reviews.sqlite    a row for each time that somebody said something; nothing is
                              ever changed, the newest row about a frame counts
    ARCHIVE/known/good/       copies of the frames that were reviewed, 200 of each kind: the
    ARCHIVE/known/defect/     archive lets its own go, a bundle must still find them

SQLite with a write-ahead log and full synchronisation: when `say` returns, a power cut loses
nothing. The archive itself removes only files of its own, and these are none.
"""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from kenpin.camera.files.images import read_pixels
from kenpin.config.errors import ConfigError
from kenpin.runtime.bundles.durable import replace_file
from kenpin.runtime.bundles.layout import may_be_of, product_of

__all__ = [
    "KINDS",
    "KNOWN",
    "WORDS",
    "ArchivedFrame",
    "Review",
    "Reviews",
    "Says",
    "export_reviews",
    "frames",
    "kept",
    "last_reviewed",
]

# What a person said of a frame.
Says = Literal["good", "defect"]
# What a defect may be called; the same list for everybody, so that words can be counted.
WORDS = ("scratch", "spot", "stain", "band", "hole", "dent", "edge", "print", "foreign", "other")
KINDS = ("ng", "ok")
KNOWN = "known"
# Copies that are kept of each kind, the newest.
MOST_KNOWN = 200
Box = tuple[float, float, float, float]

_TABLE = """CREATE TABLE IF NOT EXISTS reviews (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    number INTEGER NOT NULL,
    says TEXT NOT NULL CHECK (says IN ('good', 'defect')),
    word TEXT NOT NULL,
    region TEXT,
    user TEXT NOT NULL,
    at REAL NOT NULL,
    bundle TEXT NOT NULL DEFAULT ''
)"""
# In files from before there was such a column nobody knows by which bundle.
_LATER = "ALTER TABLE reviews ADD COLUMN bundle TEXT NOT NULL DEFAULT ''"
_DIGITS = 12
_FOLDER_ENTRIES = 1000


@dataclass(frozen=True, slots=True)
class Review:
    """What somebody said of an archived frame.

    number  of the entry in the archive
    says    "good": it was falsely rejected; "defect": it was rightly so
    word    what kind of defect, of `WORDS`; empty for good ones
    region  left, top, right, bottom as shares of the frame; None: the frame as a whole
    at      wall clock, seconds
    bundle  the label of the one that judged it; empty where nobody knows
    """

    number: int
    says: Says
    word: str
    region: Box | None
    user: str
    at: float
    bundle: str = ""

    def shows(self, product: str) -> bool:
        """Whether the frame may show that product: a recipe's name."""
        return may_be_of(self.bundle, product)


@dataclass(frozen=True, slots=True)
class ArchivedFrame:
    """An entry of the archive.

    stem    its files' path without a suffix
    record  what its JSON says
    """

    number: int
    kind: str
    stem: Path
    record: dict[str, Any]

    @property
    def bundle(self) -> str:
        """The label of the bundle that judged it; empty if it does not say."""
        verdict = self.record.get("verdict")
        return str(verdict.get("bundle", "")) if isinstance(verdict, dict) else ""


class Reviews:
    """The reviews of one archive."""

    def __init__(self, archive: Path, now: Callable[[], float] = time.time) -> None:
        self._archive = archive
        self._now = now

    def say(
        self, number: int, says: Says, user: str, word: str = "", region: Box | None = None
    ) -> Review:
        """Add a review; it is on the disk when this returns.

        Raises
        ------
        ConfigError
            If there is no such frame, the words mean nothing, or nothing can be written.
        """
        found = entry(self._archive, number)
        if found is None:
            raise ConfigError(f"the archive holds no frame {number} any more")
        if (says == "defect") != (word in WORDS):
            raise ConfigError(
                f"{word!r} is no word for a defect; expected one of {', '.join(WORDS)}"
                if says == "defect"
                else "a good frame needs no word for a defect"
            )
        if region is not None and not _is_box(region):
            raise ConfigError(f"region {region}: expected left < right and top < bottom, 0 to 1")
        review = Review(number, says, word, region, user, self._now(), found.bundle)
        with self._opened() as base:
            base.execute(
                "INSERT INTO reviews (number, says, word, region, user, at, bundle) "
                "VALUES (?,?,?,?,?,?,?)",
                (number, says, word, region and json.dumps(region), user, review.at, review.bundle),
            )
        _keep(self._archive, review)
        return review

    def newest(self) -> dict[int, Review]:
        """What was said last of each frame, by its number.

        Raises
        ------
        ConfigError
            If it cannot be read.
        """
        if not (self._archive / "reviews.sqlite").exists():
            return {}
        with self._opened() as base:
            rows = base.execute(
                "SELECT number, says, word, region, user, at, bundle FROM reviews ORDER BY id"
            ).fetchall()
        return {
            number: Review(
                number, says, word, None if region is None else tuple(json.loads(region)), *rest
            )
            for number, says, word, region, *rest in rows
        }

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        file = self._archive / "reviews.sqlite"
        try:
            base = sqlite3.connect(file, timeout=10)
            try:
                base.execute("PRAGMA journal_mode = WAL")
                base.execute("PRAGMA synchronous = FULL")
                base.execute(_TABLE)
                columns = {row[1] for row in base.execute("PRAGMA table_info(reviews)")}
                if "bundle" not in columns:
                    base.execute(_LATER)
                with base:
                    yield base
            finally:
                base.close()
        except sqlite3.Error as error:
            raise ConfigError(
                f"{file}: {error}; look at the disk, or move a damaged file away"
            ) from error


def last_reviewed(archive: Path) -> int:
    """The highest number that anything was said of; 0 if of none.

    A review knows its frame by its number: an archive that was emptied goes on beyond it.
    """
    copies = [int(file.stem) for says in ("good", "defect") for file in kept(archive, says)]
    try:
        return max([*Reviews(archive).newest(), *copies], default=0)
    except ConfigError:
        # What cannot be read is the page's to say; frames are kept whatever becomes of it.
        return max(copies, default=0)


def kept(archive: Path, says: Says) -> list[Path]:
    """Copies of the frames that were said to be so, the oldest first."""
    return sorted((archive / KNOWN / says).glob(f"{'[0-9]' * _DIGITS}.png"))


def _copy_of(archive: Path, review: Review) -> Path:
    return archive / KNOWN / review.says / f"{review.number:0{_DIGITS}d}.png"


def _keep(archive: Path, review: Review) -> None:
    """Copy a frame that was reviewed, for whoever must know it when the archive does not."""
    found = entry(archive, review.number)
    if found is None:
        return
    for says in ("good", "defect"):
        (archive / KNOWN / says).mkdir(parents=True, exist_ok=True)
    data = found.stem.with_suffix(".png").read_bytes()
    copy = _copy_of(archive, review)
    replace_file(copy, data)
    other = "good" if review.says == "defect" else "defect"
    (archive / KNOWN / other / copy.name).unlink(missing_ok=True)
    for old in kept(archive, review.says)[:-MOST_KNOWN]:
        old.unlink(missing_ok=True)


def entry(archive: Path, number: int) -> ArchivedFrame | None:
    """The whole entry of that number; None if there is none, or no longer."""
    for kind in KINDS:
        stem = archive / kind / f"{number // _FOLDER_ENTRIES:09d}" / f"{number:0{_DIGITS}d}"
        record = _read_record(stem)
        if record is not None:
            return ArchivedFrame(number, kind, stem, record)
    return None


def frames(archive: Path, kind: str, before: int | None, count: int) -> list[ArchivedFrame]:
    """The newest entries of a kind, older ones than `before`."""
    found: list[ArchivedFrame] = []
    folders = [path for path in (archive / kind).glob("[0-9]*") if path.is_dir()]
    for folder in sorted(folders, reverse=True):
        for file in sorted(folder.glob(f"{'[0-9]' * _DIGITS}.json"), reverse=True):
            number = int(file.stem)
            if before is not None and number >= before:
                continue
            record = _read_record(file.with_suffix(""))
            if record is not None:
                found.append(ArchivedFrame(number, kind, file.with_suffix(""), record))
            if len(found) == count:
                return found
    return found


def export_reviews(archive: Path, folder: Path, product: str | None = None) -> dict[str, int]:
    """Copy reviewed frames into a dataset; how many of each kind, are gone, and lost their region.

    test/good/         frames that are good, most of them falsely rejected
    test/<word>/       real defects
    ground_truth/<word>/<name>_mask.png
                       255 inside the region, of a word whose frames all have one: whoever reads
                       the dataset cannot tell a defect without a region from one without pixels

    Parameters
    ----------
    product
        The recipe's name of the bundles that judged them, where the line has several.

    Raises
    ------
    ConfigError
        If the folder holds anything: old frames would mix with the new. If the frames are of
        several products and none is named: no bundle is for both.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder}: not empty; name a new folder")
    made: dict[str, int] = {"gone": 0, "regions": 0}
    masks: dict[str, dict[str, tuple[Box, tuple[int, int]] | None]] = {}
    reviews = Reviews(archive).newest()
    products = sorted({product_of(one.bundle) for one in reviews.values() if one.bundle})
    if product is None and len(products) > 1:
        raise ConfigError(f"{archive}: holds reviews of {', '.join(products)}; name one of them")
    for number, review in sorted(reviews.items()):
        if product is not None and not review.shows(product):
            continue
        found = entry(archive, number)
        source = found.stem.with_suffix(".png") if found else _copy_of(archive, review)
        if not source.exists():
            made["gone"] += 1
            continue
        part = f"test/{review.word}" if review.says == "defect" else "test/good"
        name = f"{number:0{_DIGITS}d}"
        target = folder / part / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        made[part] = made.get(part, 0) + 1
        if review.says == "defect":
            height, width = read_pixels(target).shape[:2]
            region = None if review.region is None else (review.region, (height, width))
            masks.setdefault(review.word, {})[name] = region
    for word, regions in masks.items():
        drawn = {name: region for name, region in regions.items() if region is not None}
        if len(drawn) < len(regions):
            made["regions"] += len(drawn)
            continue
        for name, (box, size) in drawn.items():
            _write_mask(folder / "ground_truth" / word / f"{name}_mask.png", box, size)
    return made


def _write_mask(file: Path, region: Box, size: tuple[int, int]) -> None:
    mask = np.zeros(size, np.uint8)
    height, width = size
    left, top, right, bottom = region
    rows = slice(math.floor(top * height), math.ceil(bottom * height))
    mask[rows, math.floor(left * width) : math.ceil(right * width)] = 255
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(cv2.imencode(".png", mask)[1].tobytes())


def _read_record(stem: Path) -> dict[str, Any] | None:
    try:
        tree = json.loads(stem.with_suffix(".json").read_bytes())
    except (OSError, ValueError):
        # Evicted since it was listed.
        return None
    return tree if isinstance(tree, dict) else None


def _is_box(region: Box) -> bool:
    left, top, right, bottom = region
    return 0 <= left < right <= 1 and 0 <= top < bottom <= 1
