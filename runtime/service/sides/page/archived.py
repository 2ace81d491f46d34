"""Archived frames as the page shows them, and what was said of them."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from kenpin.camera.files.images import read_pixels
from kenpin.runtime.judging.join import ScoreMap
from kenpin.runtime.judging.overlay import heated, on_canvas, striped
from kenpin.runtime.service.reviews import ArchivedFrame, Reviews, entry, frames
from kenpin.runtime.service.sides.page.pixels import LARGE_PX, QUALITY, eight_bits, fit_within
from kenpin.runtime.web.picture import under_the_map

__all__ = ["PER_PAGE", "ReviewedScores", "archive_tree", "archived_picture", "reviewed_scores"]

# Frames of the archive that are shown at a time.
PER_PAGE = 24
# Of reviews, the newest are counted; each is a file that must be read.
REVIEWS = 2000


def archive_tree(archive: Path, kind: str, before: int | None) -> dict[str, Any]:
    """The newest entries, older than `before`, each with what was said of it last."""
    said = Reviews(archive).newest()
    return {
        "frames": [
            _tree(one, said.get(one.number)) for one in frames(archive, kind, before, PER_PAGE)
        ]
    }


@dataclass(frozen=True, slots=True)
class ReviewedScores:
    """What reviewed frames scored, each with the bundle that judged it."""

    good: list[tuple[float, str]]
    defect: list[tuple[float, str]]


def reviewed_scores(archive: Path) -> ReviewedScores:
    """Of the newest reviews whose frames are still in the archive."""
    scores = ReviewedScores([], [])
    for number, review in list(Reviews(archive).newest().items())[-REVIEWS:]:
        found = entry(archive, number)
        verdict = {} if found is None else found.record.get("verdict") or {}
        if isinstance(verdict.get("score"), float):
            own = scores.good if review.says == "good" else scores.defect
            own.append((verdict["score"], str(verdict.get("bundle", ""))))
    return scores


def archived_picture(archive: Path, number: int, *, with_map: bool) -> bytes | None:
    """A JPEG of an entry; None if there is none, or no longer."""
    found = entry(archive, number)
    if found is None:
        return None
    canvas = on_canvas(eight_bits(read_pixels(found.stem.with_suffix(".png"))))
    map_file, described = found.stem.with_suffix(".npy"), found.record.get("map")
    limit = (found.record.get("verdict") or {}).get("thr")
    of_web = bool((found.record.get("verdict") or {}).get("web"))
    if with_map and described and limit and map_file.exists():
        values = np.load(io.BytesIO(map_file.read_bytes()), allow_pickle=False)
        stride_px = described["stride_px"]
        if not of_web:
            laid = ScoreMap(values, stride_px, canvas.shape[:2])
            heated(canvas, laid, limit)
            striped(canvas, laid)
        elif "frame_line" in described:
            lines = described["frame_line"], values, described["first_line"]
            canvas, laid = under_the_map(canvas, *lines, stride_px)
            heated(canvas, laid, limit)
    return bytes(simplejpeg.encode_jpeg(fit_within(canvas, LARGE_PX), QUALITY, colorspace="RGB"))


def _tree(one: ArchivedFrame, review: Any) -> dict[str, Any]:
    verdict = one.record.get("verdict") or {}
    return {
        "number": one.number,
        "written": one.record.get("written", ""),
        "reason": verdict.get("reason") or "",
        "score": verdict.get("score"),
        "limit": verdict.get("thr"),
        "bundle": verdict.get("bundle", ""),
        "review": None if review is None else asdict(review),
    }
