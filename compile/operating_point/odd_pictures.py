"""Pictures of good images that look unlike the others, for a person to settle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.camera.files.images import write_png
from kenpin.compile.methods.leave_out import LeftOut, Unseen
from kenpin.compile.operating_point.good_scores import GoodScores
from kenpin.runtime.judging.join import ScoreMap
from kenpin.runtime.judging.overlay import overlay
from kenpin.runtime.judging.verdict import Reason, Thresholds, Verdict

__all__ = ["draw_odd", "lines_of"]

# A folder that nobody looks through helps nobody.
MOST = 50


def draw_odd(
    unseen: Unseen,
    good: GoodScores,
    thresholds: Thresholds,
    stride_px: int,
    folder: Path,
    progress: Callable[[int, int], None],
) -> list[str]:
    """Write a picture of each odd image, its map laid over it; the names of the pictures.

    The highest come first, `MOST` of them. A strip of a web is drawn alone.
    """
    drawn = [one.name for one, _ in good.odd][:MOST]
    names = {
        place: one.name
        for place, one in zip(good.places, good.records, strict=True)
        if one.name in drawn
    }
    if not names:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for found in unseen.judge(progress, sorted({web for web, _ in names})):
        name = names.get((found.web, found.strip))
        if name is None:
            continue
        pixels = lines_of(unseen, found, stride_px)
        values = ScoreMap(found.values, stride_px, pixels.shape[:2])
        files[name] = _file_name(name, strip=unseen.infer is None)
        picture = overlay(pixels, values, _verdict(name, found.score, thresholds))
        write_png(folder / files[name], picture)
    return [files[name] for name in drawn]


def _file_name(name: str, *, strip: bool) -> str:
    """Of `monday/7.jpg` monday_7.png; of its strip 3, `monday/7.jpg#3`, monday_7-strip3.png."""
    image, _, number = name.rpartition("#") if strip else (name, "", "")
    plain = str(Path(image).with_suffix("")).replace("/", "_")
    return f"{plain}-strip{number}.png" if strip else f"{plain}.png"


def lines_of(unseen: Unseen, found: LeftOut, stride_px: int) -> NDArray[Any]:
    """The image that was judged, or of a web the lines of the strip."""
    height = len(found.values) * stride_px
    parts, at = [], 0
    for file in unseen.webs[found.web]:
        pixels = unseen.load(file)
        parts.append(pixels[max(0, found.line - at) : max(0, found.line + height - at)])
        at += len(pixels)
    return np.concatenate(parts)


def _verdict(name: str, score: float, thresholds: Thresholds) -> Verdict:
    unlike = "unlike the other good images"
    found = Verdict.unjudged(Reason.DEFECT, unlike, thresholds=thresholds, bundle="")
    return replace(found, score=score, frame_name=name)
