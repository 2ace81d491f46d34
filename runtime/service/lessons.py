"""What people said of a line's frames, as a bundle learns from it and is tried by it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kenpin.camera.files.images import decode_pixels
from kenpin.camera.files.listing import list_images
from kenpin.config.errors import ConfigError
from kenpin.runtime.bundles.layout import may_be_of
from kenpin.runtime.learning.challenge import HASH_DIGITS, Known
from kenpin.runtime.service.reviews import KNOWN, Review, Reviews, Says, frames, kept

__all__ = ["Lessons", "lessons_in"]

# Of each kind, the newest: judging them before and after takes its time.
MOST_DEFECTS, MOST_GOOD = 50, 25


@dataclass(frozen=True)
class Lessons:
    """What there is to learn from, and what an updated bundle must still tell apart.

    wrong  frames that were falsely rejected, the newest last
    known  defects, and frames that were called OK
    """

    wrong: list[Known]
    known: list[Known]


def lessons_in(folder: Path, product: str) -> Lessons:
    """Of an archive, or of the dataset that `edge-run reviews export` wrote.

    Parameters
    ----------
    product
        The recipe's name. Of an archive of several, frames of others are left out: what is good
        of one product may be a defect of another.

    Raises
    ------
    ConfigError
        If it is neither.
    """
    if (folder / "reviews.sqlite").exists() or (folder / KNOWN).is_dir():
        return _of_archive(folder, product)
    if (folder / "test").is_dir():
        return _of_export(folder / "test")
    raise ConfigError(
        f"{folder}: holds no reviews; give a line's archive, or what `edge-run reviews export` "
        "wrote"
    )


def _of_archive(archive: Path, product: str) -> Lessons:
    said = Reviews(archive).newest()

    def own(says: Says) -> list[Path]:
        files = kept(archive, says)
        return [one for one in files if _shows(said.get(int(one.stem)), product)]

    wrong = [_known(file, bad=False, by=_by(said, file)) for file in own("good")]
    defects = []
    for file in own("defect")[-MOST_DEFECTS:]:
        review = said.get(int(file.stem))
        region = None if review is None else review.region
        defects.append(_known(file, bad=True, by=_by(said, file), region=region))
    good = [
        _known(one.stem.with_suffix(".png"), bad=False)
        for one in frames(archive, "ok", None, MOST_GOOD)
        if one.number not in said and may_be_of(one.bundle, product)
    ]
    return Lessons(wrong, [*defects, *good])


def _of_export(test: Path) -> Lessons:
    wrong = [_known(file, bad=False) for file in _images(test / "good")]
    others = sorted(one for one in test.iterdir() if one.is_dir() and one.name != "good")
    defects = [_known(file, bad=True) for folder in others for file in _images(folder)]
    return Lessons(wrong, defects[-MOST_DEFECTS:])


def _images(folder: Path) -> list[Path]:
    return list_images(folder) if folder.is_dir() else []


def _known(
    file: Path,
    *,
    bad: bool,
    by: str = "",
    region: tuple[float, float, float, float] | None = None,
) -> Known:
    data = file.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    # Numbers begin anew where an archive was emptied: the hash tells frames apart.
    name = f"{file.parent.name}/{file.stem}-{sha256[:HASH_DIGITS]}"
    return Known(name, sha256, bad, lambda: decode_pixels(file, file.read_bytes()), region, by)


def _shows(review: Review | None, product: str) -> bool:
    return review is None or review.shows(product)


def _by(said: Mapping[int, Review], file: Path) -> str:
    review = said.get(int(file.stem))
    return "" if review is None else review.user
