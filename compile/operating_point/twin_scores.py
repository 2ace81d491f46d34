"""Faint defects drawn into good images, and their maps by a model that has not seen the part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from kenpin.compile.ahead import one_ahead
from kenpin.compile.methods.leave_out import Unseen
from kenpin.runtime.bundles.manifest import TwinScores
from kenpin.runtime.judging.inferred import Inferred
from kenpin.runtime.judging.overlay import on_canvas
from kenpin.runtime.judging.pipeline import Stages
from kenpin.runtime.judging.subtle_twins import Drawn, Subtle, draw, subtle_kinds
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.web.lanes import EdgeTracker
from kenpin.runtime.web.stages import WebStages

__all__ = ["APART_PX", "Twin", "TwinTask", "View", "draw_twins", "fields_of", "twin_scores"]

F32 = NDArray[np.float32]
Field = tuple[slice, slice]
Lines = tuple[int, int, int]

# A frame is divided into fields of about this side, and each gets a defect of its own: far
# enough apart, and a wide frame tells of many at once.
FIELD_PX = 256
# Neighbours' defects keep away from the border between them by so much: a map is smoothed, and its
# wide bands reach further, so that a loud one beside a faint one would be found in its place.
APART_PX = 32
# Of a defect's place this share is inspected, or another is tried.
INSPECTED = 0.9
TRIES = 20
# Around a defect so much is kept for people: hundreds of them, a few kB each.
VIEW_PX = 128
VIEW_QUALITY = 92


@dataclass(frozen=True)
class TwinTask:
    """What there is to draw into and to judge with.

    typical    numbers of the images or webs to draw into
    grid       of tiles in a frame; of a web, in a tile row
    stride_px  of the map
    reach_px   how far a defect shows beyond its own pixels
    inspected  (rows or 1, cols) of the map, whether anything counts there
    lines      of each web and each of its files the first line that counts, the one after the
               last, and how many there are; None where the ends of webs count, and of images
    edges      finds between which columns a web lies; None where nobody asks
    one_each   one defect an image, as the method itself says its score, and not the map
    heights    lines of each file of each web; None of images
    """

    unseen: Unseen
    typical: Sequence[int]
    grid: TileGrid
    stride_px: int
    reach_px: float
    inspected: NDArray[np.bool_]
    lines: Sequence[Sequence[Lines]] | None = None
    edges: EdgeTracker | None = None
    one_each: bool = False
    heights: Sequence[Sequence[int]] | None = None

    def row(self, web: int, at: int, share: float) -> int:
        """The tile row of a web in which a share of the length of one of its files ends."""
        if self.heights is None:
            return 0
        before, own, whole = (
            sum(self.heights[web][part]) for part in (slice(at), slice(at, at + 1), slice(None))
        )
        return int((before + share * own) / whole * int(self.unseen.parts.rows[web]))

    def fields(self, shape: tuple[int, ...], top: int = 0) -> list[Field]:
        """Where to draw in an area of that height and width, `top` lines down: once in each."""
        if self.one_each:
            return [(slice(top, top + shape[0]), slice(0, shape[1]))]
        return fields_of(shape, top)

    def room(self, web: int) -> list[int]:
        """Numbers of the files of a web that have lines enough to draw into."""
        if self.lines is None:
            return list(range(len(self.unseen.webs[web])))
        own = enumerate(self.lines[web])
        return [at for at, (first, end, _) in own if end - first >= self.grid.core]


@dataclass(frozen=True, slots=True)
class _Plan:
    """An image to draw into, or the place along a web where a piece of it begins."""

    part: int
    file: Path
    share: float
    kinds: list[Subtle]
    lines: slice


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """An image, or a piece of a web, with defects drawn into it."""

    part: int
    pixels: NDArray[Any]
    drawn: list[tuple[Subtle, Drawn]]


@dataclass(frozen=True, slots=True)
class View:
    """What a person would see of a defect: a piece of the image, and where it begins."""

    jpeg: bytes
    top_px: int
    left_px: int

    @classmethod
    def around(cls, pixels: NDArray[Any], place: Drawn) -> View:
        """`VIEW_PX` and more about a place."""
        height, width = pixels.shape[:2]
        side = max(VIEW_PX, place.bottom - place.top, place.right - place.left)
        top = max(0, min((place.top + place.bottom - side) // 2, height - side))
        left = max(0, min((place.left + place.right - side) // 2, width - side))
        piece = on_canvas(pixels[top : top + side, left : left + side])
        data = simplejpeg.encode_jpeg(piece, VIEW_QUALITY, colorspace="RGB")
        return cls(bytes(data), top, left)

    def pixels(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 red, green, blue."""
        return np.array(simplejpeg.decode_jpeg(self.jpeg, "RGB"), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Twin:
    """One faint defect, and the part of an image's maps where it shows.

    part   whose image it was drawn into
    area   rows and columns of the frame's map
    view   what a person would see
    score  of the image, where the method itself says it; None: of the map, joined, where it shows
    values, bands, inspected, times  as in `LeftOut`, of that area
    """

    what: Subtle
    view: View
    part: int
    area: Field
    values: F32
    bands: F32
    inspected: NDArray[np.bool_]
    times: F32
    score: float | None = None


def draw_twins(
    task: TwinTask, each: int, rng: np.random.Generator, progress: Callable[[int, int], None]
) -> Iterator[Twin]:
    """`each` twins of every kind, size and contrast, fewer where there is no room."""
    unseen = task.unseen
    plans = _planned(task, each, rng)
    pieces = (_piece(plan, task, rng) for plan in plans)
    for done, (piece, seen) in enumerate(one_ahead(pieces, partial(_inferred, unseen))):
        steps = unseen.stages(unseen.leave.without(piece.part))
        values, bands, inspected, times, score = _maps(steps, piece.pixels, seen)
        for kind, place in piece.drawn:
            rows, cols = _cells(place, task.stride_px, task.reach_px)
            yield Twin(
                kind, View.around(piece.pixels, place), piece.part, (rows, cols),
                values[rows, cols], bands[:, rows, cols],
                inspected[rows, cols], times[cols], score if task.one_each else None,
            )  # fmt: skip
        progress(done + 1, len(plans))


def _piece(plan: _Plan, task: TwinTask, rng: np.random.Generator) -> _Piece:
    pixels = task.unseen.load(plan.file)[plan.lines].copy()
    inspected = task.inspected
    if task.unseen.infer is None:
        height = min(len(pixels), 2 * (task.grid.core + task.grid.halo))
        start = int(plan.share * (len(pixels) - height + 1))
        pixels = np.ascontiguousarray(pixels[start : start + height])
        # Not where the piece ends, and is reflected.
        fields = task.fields((height // 2, task.grid.width), height // 4)
        inspected = _between_edges(task, pixels[height // 4 : height // 4 + height // 2])
    else:
        fields = task.fields(pixels.shape[:2])
    drawn = [
        (kind, place)
        for kind, field in zip(plan.kinds, fields, strict=False)
        if (place := _drawn(pixels, kind, field, inspected, task.stride_px, rng)) is not None
    ]
    return _Piece(plan.part, pixels, drawn)


def _between_edges(task: TwinTask, lines: NDArray[Any]) -> NDArray[np.bool_]:
    """(1, cols) what counts in some lines of a web; nothing where its edges are not found."""
    if task.edges is None:
        return task.inspected
    inside = task.edges.inside(lines[: len(lines) // task.stride_px * task.stride_px])
    return task.inspected & (np.zeros(1, np.bool_) if inside is None else inside > 0)


def _inferred(unseen: Unseen, piece: _Piece) -> Inferred | None:
    return None if unseen.infer is None else unseen.infer(piece.pixels)


def twin_scores(scored: Iterable[tuple[Subtle, float]]) -> list[TwinScores]:
    """Scores by kind, size and contrast.

    A twin's score is the highest value of the map where the defect is: what is found
    elsewhere in the image would have been found without it. Where the method itself says
    an image's score, it is that of the image with this defect alone.
    """
    scores: dict[Subtle, list[float]] = {}
    for what, score in scored:
        scores.setdefault(what, []).append(score)
    order = sorted(scores, key=lambda kind: (kind.kind, kind.size_px, kind.contrast))
    return [
        TwinScores(kind=k.kind, size_px=k.size_px, contrast=k.contrast, scores=scores[k])
        for k in order
    ]


def _planned(task: TwinTask, each: int, rng: np.random.Generator) -> list[_Plan]:
    """Which defects go into which images; images of one part follow each other."""
    grid, unseen = task.grid, task.unseen
    fields = len(task.fields((grid.height, grid.width)))
    kinds = subtle_kinds(min(FIELD_PX, grid.height, grid.width))
    order = rng.permutation(np.repeat(np.arange(len(kinds)), each))
    plans = []
    images = [int(web) for web in rng.permutation(np.array(task.typical)) if task.room(int(web))]
    if not images:
        return []
    for number, first in enumerate(range(0, len(order), fields)):
        web = images[number % len(images)]
        files = unseen.webs[web]
        at, share = int(rng.integers(len(files))), float(rng.random())
        along, lines = share, slice(None)
        if task.lines is not None:
            at = min(task.room(web), key=lambda one: abs(one - at))
            top, end, height = task.lines[web][at]
            along, lines = (top + share * (end - top)) / height, slice(top, end)
        mine = [kinds[n] for n in order[first : first + fields]]
        part = unseen.parts.of(web, task.row(web, at, along))
        plans.append(_Plan(part, files[at], share, mine, lines))
    return sorted(plans, key=lambda plan: plan.part)


def fields_of(shape: tuple[int, ...], top: int) -> list[Field]:
    """Fields within an area of that height and width, `top` lines down, apart from each other."""
    counts = [max(1, side // FIELD_PX) for side in shape[:2]]
    ends = [
        [side * n // count for n in range(count + 1)]
        for side, count in zip(shape[:2], counts, strict=True)
    ]
    rows, cols = ([_inset(own, n) for n in range(len(own) - 1)] for own in ends)
    return [
        (slice(top + high, top + low), slice(left, right))
        for high, low in rows
        for left, right in cols
    ]


def _inset(ends: Sequence[int], number: int) -> tuple[int, int]:
    """Where a field begins and ends, away from the neighbours that it has."""
    first = ends[number] + (APART_PX if number else 0)
    last = ends[number + 1] - (APART_PX if number + 2 < len(ends) else 0)
    return first, last


def _drawn(
    pixels: NDArray[Any],
    kind: Subtle,
    field: Field,
    inspected: NDArray[np.bool_],
    stride_px: int,
    rng: np.random.Generator,
) -> Drawn | None:
    """Draws where it is inspected; None where no such place is found."""
    before = pixels[field].copy()
    for _ in range(TRIES):
        place = draw(pixels, kind, field, rng)
        rows, cols = _cells(place, stride_px, 0)
        # A web's columns are inspected alike on all lines of a piece.
        own = inspected[:, cols] if len(inspected) == 1 else inspected[rows, cols]
        if own.mean() >= INSPECTED:
            return place
        pixels[field] = before
    return None


def _cells(place: Drawn, stride_px: int, reach_px: float) -> Field:
    """Rows and columns of the map where a defect shows."""
    low = [max(0, int((edge - reach_px) // stride_px)) for edge in (place.top, place.left)]
    high = [int(-(-(edge + reach_px) // stride_px)) for edge in (place.bottom, place.right)]
    return slice(low[0], high[0]), slice(low[1], high[1])


def _maps(
    steps: Stages | WebStages, pixels: NDArray[Any], seen: Inferred | None
) -> tuple[F32, F32, NDArray[np.bool_], F32, float | None]:
    if isinstance(steps, Stages):
        assert seen is not None, "a part's image was not run through the network"
        found = steps.conclude(seen)
        values = found.score_map.values
        times = np.ones(values.shape[1], np.float32)
        return values, found.bands, steps.inspected, times, found.score
    # What lies at the ends of the web was cut off, and this piece has none.
    return *steps.of_pieces().whole_maps(pixels), steps.lanes.times, None
