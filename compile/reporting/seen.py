"""What is worth seeing of a build: the good images once more, and twins, each with its map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.camera.files.listing import list_images, name_in
from kenpin.compile.operating_point.good_scores import GoodScores
from kenpin.compile.operating_point.joined import Joined
from kenpin.compile.operating_point.map_store import MapStore
from kenpin.compile.operating_point.odd_pictures import lines_of
from kenpin.compile.operating_point.twin_scores import Twin
from kenpin.compile.progress import OnProgress
from kenpin.compile.reporting.pictures import Picture, jpeg, pictured
from kenpin.runtime.judging.join import ScoreMap
from kenpin.runtime.judging.overlay import heated
from kenpin.runtime.judging.pipeline import Stages
from kenpin.runtime.judging.subtle_twins import Subtle
from kenpin.runtime.web.stages import WebStages

__all__ = ["Seen", "SeenTwins", "look_again", "look_at_ng", "look_at_twins", "samples"]

F32 = NDArray[np.float32]

# Of each kind of picture; a gallery that nobody looks through helps nobody.
MOST = 8
# The map of means and spreads is shown no finer: it is about a place, not a pixel.
CELLS = 128


@dataclass(frozen=True)
class Seen:
    """What the good images look like to the bundle.

    highest, usual  pictures of good images: the highest scores, and those about the median
    mean, spread    (rows, cols) of the map: the usual value, and its standard deviation;
                    of webs one row, over all lines
    """

    highest: list[Picture]
    usual: list[Picture]
    mean: F32
    spread: F32


@dataclass(frozen=True)
class SeenTwins:
    """Drawn defects: the loudest of those that are missed, the faintest that are found."""

    missed: list[Picture]
    found: list[Picture]


class _Places:
    """Mean and deviation of maps at each place, one map at a time."""

    def __init__(self) -> None:
        self._sums: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        self._count = 0

    def add(self, values: F32, *, web: bool) -> None:
        wide = values.astype(np.float64)
        rows = wide if web else wide[None]
        first, second = rows.sum(axis=0), (rows * rows).sum(axis=0)
        self._count += len(rows)
        before = self._sums
        self._sums = (first, second) if before is None else (before[0] + first, before[1] + second)

    def moments(self) -> tuple[F32, F32]:
        """(rows, cols) mean and standard deviation."""
        assert self._sums is not None, "a build has good images"
        mean = self._sums[0] / self._count
        spread = np.sqrt(np.maximum(self._sums[1] / self._count - mean * mean, 0))
        return _coarse(np.atleast_2d(mean)), _coarse(np.atleast_2d(spread))


def look_again(
    joined: Joined,
    good: GoodScores,
    threshold: float,
    stride_px: int,
    progress: OnProgress,
    *,
    web: bool,
) -> Seen:
    """Pictures and moments of the good images, each without its own part."""
    order = sorted(range(len(good.records)), key=lambda n: -good.records[n].score)
    highest = order[:MOST]
    middle = [n for n in order[MOST:] if not good.records[n].odd]
    start = max(0, len(middle) // 2 - MOST // 2)
    usual = middle[start : start + MOST]
    names = {good.places[n]: n for n in (*highest, *usual)}
    pictures: dict[int, Picture] = {}
    places = _Places()
    for found in joined.judge(progress):
        places.add(found.values, web=web)
        number = names.get((found.web, found.strip))
        if number is None:
            continue
        pixels = lines_of(joined, found, stride_px)
        values = ScoreMap(found.values, stride_px, pixels.shape[:2])
        one = good.records[number]
        note = "odd: it sets no threshold" if one.odd else ""
        pictures[number] = pictured(one.name, one.score, pixels, values, threshold, note)
    mean, spread = places.moments()
    return Seen([pictures[n] for n in highest], [pictures[n] for n in usual], mean, spread)


def look_at_twins(
    joined: Joined, twins: MapStore[Twin], threshold: float, stride_px: int
) -> SeenTwins:
    """Some of the drawn defects, at most one of each kind and size on each side."""
    scores = dict(joined.numbered(twins))
    by_contrast = sorted(scores, key=lambda n: (twins.items[n].what.what.contrast, scores[n]))
    missed = _varied([n for n in reversed(by_contrast) if scores[n] <= threshold], twins)
    # A faint one beside a loud one of the next field may be found by chance.
    usual = _usually_found(scores, twins, threshold)
    found = _varied([n for n in by_contrast if n in usual and scores[n] > threshold], twins)
    wanted = {*missed, *found}
    pictures = {
        number: _drawn(twins.items[number].what, values, scores[number], threshold, stride_px)
        for number, values in joined.maps_of(twins)
        if number in wanted
    }
    return SeenTwins([pictures[n] for n in missed], [pictures[n] for n in found])


def look_at_ng(
    stages: Stages | WebStages,
    folder: Path,
    scores: dict[str, float],
    load: Callable[[Path], NDArray[Any]],
    threshold: float,
    stride_px: int,
) -> tuple[list[Picture], list[Picture]]:
    """NG images as the bundle judges them: the lowest scores, and the highest.

    Of webs there are none: an NG recording is as long as a web.
    """
    if isinstance(stages, WebStages):
        return [], []
    order = sorted(scores, key=lambda name: scores[name])
    # A name that is no UTF-8 is told by another, by which no file can be opened.
    files = {name_in(folder, file): file for file in list_images(folder)}

    def shown(name: str) -> Picture:
        pixels = load(files[name])
        found = stages.measure(pixels)
        values = ScoreMap(found.score_map.values, stride_px, pixels.shape[:2])
        return pictured(name, scores[name], pixels, values, threshold)

    low = order[:MOST]
    high = [name for name in reversed(order) if name not in low][:MOST]
    return [shown(name) for name in low], [shown(name) for name in high]


def samples(files: Sequence[Path], folder: Path, load: Callable[[Path], Any]) -> list[Picture]:
    """Some of the good images, evenly over all."""
    count = min(len(files), MOST)
    chosen = [files[number * len(files) // count] for number in range(count)]
    return [pictured(name_in(folder, file), None, load(file)) for file in chosen]


def _usually_found(scores: dict[int, float], twins: MapStore[Twin], threshold: float) -> set[int]:
    """Twins of those kinds, sizes and contrasts of which at least half are found."""
    alike: dict[Subtle, list[int]] = {}
    for number in scores:
        alike.setdefault(twins.items[number].what.what, []).append(number)
    return {
        number
        for numbers in alike.values()
        if 2 * sum(scores[n] > threshold for n in numbers) >= len(numbers)
        for number in numbers
    }


def _varied(numbers: Sequence[int], twins: MapStore[Twin]) -> list[int]:
    """The first of each kind and size, as many as a gallery holds."""
    seen: dict[tuple[str, int], int] = {}
    for number in numbers:
        what = twins.items[number].what.what
        seen.setdefault((what.kind, what.size_px), number)
    return list(seen.values())[:MOST]


def _drawn(twin: Twin, values: F32, score: float, threshold: float, stride_px: int) -> Picture:
    what, view = twin.what, twin.view
    pixels = view.pixels()
    plain = Picture(
        f"{what.kind} of {what.size_px} px, {what.contrast} grey levels",
        score,
        jpeg(pixels),
        facts={"kind": what.kind, "size_px": what.size_px, "contrast": what.contrast},
    )
    # The map is known where the defect is, and the view shows more around it.
    rows, cols = twin.area
    top, left = rows.start * stride_px - view.top_px, cols.start * stride_px - view.left_px
    inside = pixels[max(0, top) :, max(0, left) :]
    inside = inside[: values.shape[0] * stride_px, : values.shape[1] * stride_px]
    if not inside.size:
        return plain
    hot = np.ascontiguousarray(inside)
    heated(hot, ScoreMap(values, stride_px, hot.shape[:2]), threshold)
    pixels[max(0, top) :, max(0, left) :][: hot.shape[0], : hot.shape[1]] = hot
    return replace(plain, heat=jpeg(pixels))


def _coarse(values: NDArray[np.float64]) -> F32:
    """Averaged down to at most `CELLS` places each way."""
    for axis in (0, 1):
        size = values.shape[axis]
        step = -(-size // CELLS)
        starts = np.arange(0, size, step)
        sums = np.add.reduceat(values, starts, axis=axis)
        counts = np.diff(np.append(starts, size))
        values = sums / (counts[:, None] if axis == 0 else counts)
    return values.astype(np.float32)
