"""Scan lines in, map rows out: tile rows on the line count of the whole web."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kenpin.runtime.judging.blend import Look
from kenpin.runtime.judging.brightness import band_taps, cell_grey
from kenpin.runtime.judging.join import Joiner
from kenpin.runtime.judging.tile_network import TileNetwork
from kenpin.runtime.judging.verdict import Cause, Gap
from kenpin.runtime.web.pieces import MapStrip
from kenpin.runtime.web.rows import TileRows, row_features
from kenpin.runtime.web.smoothing import MapRows, StreamingBlur
from kenpin.runtime.web.strip_ends import HeldLines, StripEnds

__all__ = ["RowCheck", "StreamingMap", "TileWork", "counted"]

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]


class RowCheck(Protocol):
    """What is asked of the pixels of a tile row before its scores count."""

    ends: StripEnds | None

    def __call__(self, core: U8, line: int) -> tuple[Cause | None, F32 | None]:
        """A cause if the row cannot be judged; (cols,) or (rows, cols) weights of its map.

        Parameters
        ----------
        core : (core, W) or (core, W, 3) uint8
        line
            The web's number of its first line.
        """
        ...


def counted(
    joiner: Joiner, columns: NDArray[np.bool_], inside: F32 | None
) -> NDArray[np.bool_] | None:
    """(tiles, cells, cells) which places of a tile row are inspected; None: all.

    Parameters
    ----------
    joiner
        Of one tile row.
    columns : (cols,)
        That are inspected at all.
    inside : (cols,) or (rows, cols)
        Weights of this row's map, see `RowCheck`; None: 1.
    """
    places = columns if inside is None else columns & (inside > 0)
    return None if places.all() else joiner.split(np.broadcast_to(places, joiner.shape))


class _Unchecked:
    ends = None

    def __call__(self, core: U8, line: int) -> tuple[Cause | None, F32 | None]:  # noqa: ARG002
        return None, None


@dataclass
class TileWork:
    """Tiles that were due and tiles that went through the network."""

    due: int = 0
    scored: int = 0


class StreamingMap:
    """One web, from its first line to `finish`.

    Tile rows lie where `TileRows` puts them, and each is scored in the first
    call that has its last line of context. What comes out are strips and gaps
    that follow each other without a hole: `settled` is the line up to which
    everything was said.

    Every tile row goes through the distances alone, and always with all its
    tiles, so the arithmetic has one shape: the same lines give the same bits
    however they were cut into frames.

    network   its grid is of one tile row
    columns   (cols of the map,) bool, which columns are inspected at all
    check     see `RowCheck`
    """

    def __init__(
        self,
        network: TileNetwork,
        *,
        origin: int = 0,
        columns: NDArray[np.bool_] | None = None,
        check: RowCheck | None = None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        grid, engine, patch_stride = network.grid, network.engine, network.patch_stride_px
        self._joiner = Joiner(grid, patch_stride)
        self._cells = self._joiner.cells
        self._grid = grid
        self._engine = engine
        self._scorer, self._listen = network.scorer, network.listen
        self._stride_px = patch_stride
        self._look = network.look or Look((), patch_stride)
        self._lamp = network.lamp
        bands = [band_taps(sigma, patch_stride) for sigma in self._look.sigmas_px]
        self._blur = StreamingBlur(network.sigma_px / patch_stride, bands)
        self._looks = bool(bands)
        self._check = check or _Unchecked()
        self._held = HeldLines(self._check.ends.held_lines if self._check.ends else 0)
        self._beat = beat
        self.cols = -(-grid.width // patch_stride)
        self._columns = np.ones(self.cols, np.float32)
        if columns is not None:
            self._columns *= columns
        self._rows = TileRows(grid, engine.input_shape[1], origin)
        self.width = grid.width
        self.origin = self.settled = origin
        self.work = TileWork()
        self._last: int | None = None
        self._begin(at_web_start=True)

    @property
    def end(self) -> int:
        """The line that is to come next."""
        return self._rows.end + len(self._held)

    @property
    def latency_lines(self) -> int:
        """Lines that may have come without being judged yet, at most."""
        context = self._grid.core + self._grid.halo + self._blur.reach * self._stride_px - 1
        return context + self._held.most

    def feed(self, pixels: NDArray[Any]) -> Iterator[MapStrip | Gap]:
        """Take in the lines that follow; what is known now.

        Parameters
        ----------
        pixels : (n, W) or (n, W, 3) uint8
        """
        for block in self._held.push(pixels):
            yield from self._take_in(block)

    def _take_in(self, pixels: NDArray[Any]) -> Iterator[MapStrip | Gap]:
        """Lines that are certainly not among those at the web's end, or all are there."""
        at = 0
        while at < len(pixels):
            at += self._rows.take(pixels[at:])
            # Lines after a break that will never have their context are said at once.
            doomed = min(self._resumes, self._rows.end)
            if doomed > self.settled:
                yield self._gap(doomed, Cause.CONTEXT)
            for windows in self._rows.ready():
                yield from self._score(windows)

    def lose(
        self, lines: int, *, known: bool = True, cause: Cause = Cause.LOST
    ) -> Iterator[MapStrip | Gap]:
        """Lines that will never come, after those that did: the carry is broken."""
        for block in self._held.all():
            yield from self._take_in(block)
        if self.end > self.settled:
            failed = cause is Cause.FAILED
            yield self._gap(self.end, Cause.FAILED if failed else Cause.CONTEXT)
        ahead = self.end + lines
        if lines or not known:
            yield Gap(self.settled, ahead, cause, known)
            self.settled = ahead
        self._restart(ahead, known=known)

    def resume(self, line: int) -> None:
        """The web was under way already; all before this line is somebody else's."""
        self.settled = line
        self._restart(line, known=True)

    def _restart(self, line: int, *, known: bool) -> None:
        """The next line to come is this, and what is missing before it was seen by nobody here."""
        self._rows.restart(line)
        self._begin(at_web_start=False)
        if self._check.ends is not None:
            self._check.ends.interrupt(known=known)

    def finish(self) -> Iterator[MapStrip | Gap]:
        """The web ends here: its last lines, with the web continued past its end."""
        held, end = list(self._held.all()), self.end
        if self._check.ends is not None:
            self._check.ends.ended(held, end + sum(len(block) for block in held))
        for block in held:
            yield from self._take_in(block)
        self._last = -(-(self.end - self.origin) // self._stride_px)
        for windows in self._rows.finish():
            yield from self._score(windows)
        left = self._last - self._row
        if left > 0 and (self._canvas.count[:left] > 0).all():
            rows = self._taken(left)
            if rows is not None and (final := self._blur.push(rows)):
                yield self._strip(final)
        if self._row >= self._last and (final := self._blur.finish()):
            yield self._strip(final)
        if self.settled < self.end:
            yield self._gap(self.end, Cause.CONTEXT)

    def _begin(self, *, at_web_start: bool) -> None:
        """A segment starts at the line to come; its tile rows need all their context."""
        grid, row = self._grid, self._rows.next
        # Where cores overlap, the first rows after a break would lack some of their tiles.
        first_px = 0 if at_web_start else (row - 1) * grid.stride + grid.core
        self._canvas = _Canvas(self._cells, self.cols, looks=self._looks)
        self._row = row * grid.stride // self._stride_px
        self._last = None
        self._valid = first_px // self._stride_px
        self._blur.restart(self._valid, at_web_start=at_web_start)
        self._resumes = self.origin + self._blur.next * self._stride_px

    def _gap(self, end: int, cause: Cause) -> Gap:
        gap = Gap(self.settled, end, cause)
        self.settled = end
        return gap

    def _score(self, windows: list[U8]) -> Iterator[MapStrip]:
        """Tile rows through all the steps."""
        cols = self._grid.cols
        self.work.due += len(windows) * cols
        buffers, filled = row_features(self._engine, self._grid, windows, self._lamp)
        self.work.scored += filled
        for number, window in enumerate(windows):
            self._beat()
            tiles = buffers.tiles(number * cols, (number + 1) * cols)
            core = window[self._grid.halo : self._grid.halo + self._grid.core]
            cause, inside = self._check(core, self.origin + self._rows.next * self._grid.stride)
            if self._listen is not None and cause is None:
                counts = counted(self._joiner, self._columns > 0, inside)
                if counts is None or counts.any():
                    self._listen(tiles.features, counts)
            found = self._scorer.distances(tiles.features, tiles.rows)
            rows = self._joined(found.values, core, cause, inside)
            self._rows.next += 1
            if rows is not None and (final := self._blur.push(rows)):
                yield self._strip(final)

    def _joined(
        self, distances: F32, core: U8, cause: Cause | None, inside: F32 | None
    ) -> MapRows | None:
        """The map rows that no later tile row touches."""
        step = self._grid.stride // self._stride_px
        if not np.isfinite(distances).all():
            cause = Cause.NONFINITE
            distances = np.zeros_like(distances)
        canvas = self._canvas
        for c, tile in enumerate(distances):
            left = c * step
            part = tile[:, : self.cols - left]
            canvas.total[:, left : left + part.shape[1]] += part
            canvas.count[:, left : left + part.shape[1]] += 1
        if self._looks:
            canvas.grey[0] = cell_grey(core, self._stride_px)
        if inside is not None:
            canvas.weight *= inside
        if cause is not None:
            canvas.weight[:] = 0
            canvas.cause[:] = cause
        return self._taken(step)

    def _taken(self, count: int) -> MapRows | None:
        """The canvas's next rows, less those past the web's end or that lack some tiles."""
        if self._last is not None:
            count = max(0, min(count, self._last - self._row))
        rows = self._canvas.pop(count, self._row, self._columns)
        skip = min(count, max(0, self._valid - self._row))
        self._row += count
        return None if skip == count else rows.since(skip)

    def _strip(self, rows: MapRows) -> MapStrip:
        rows = _with_bands(rows, self._look)
        px = self._stride_px
        first = self.origin + rows.first * px
        # The last row of a web may reach past its last line.
        end = min(first + len(rows) * px, self.end)
        self.settled = end
        return MapStrip(
            first,
            end,
            rows.first,
            rows.values,
            rows.weight > 0,
            rows.bands,
            tuple(_gaps(rows, first, px, end)),
        )


class _Canvas:
    """The map rows that tile rows are still being added to."""

    def __init__(self, rows: int, cols: int, *, looks: bool) -> None:
        self.grey: F32 = np.zeros((int(looks), rows, cols), np.float32)
        self.total: F32 = np.zeros((rows, cols), np.float32)
        self.count: F32 = np.zeros((rows, cols), np.float32)
        self.weight: F32 = np.ones((rows, cols), np.float32)
        self.cause = np.zeros(rows, np.uint8)

    def pop(self, rows: int, number: int, columns: F32) -> MapRows:
        """Take the first rows off; they have this number in the web."""
        weight = self.weight[:rows] * columns
        values = self.total[:rows] / self.count[:rows] * weight
        grey = self.grey[:, :rows] * weight
        taken = MapRows(number, values, weight, self.cause[:rows].copy(), grey)
        # Grey is written anew with every tile row, as far as it reaches.
        self.grey[:, : self.grey.shape[1] - rows] = self.grey[:, rows:].copy()
        for array, new in ((self.total, 0), (self.count, 0), (self.weight, 1), (self.cause, 0)):
            array[: len(array) - rows] = array[rows:].copy()
            array[len(array) - rows :] = new
        return taken


def _with_bands(rows: MapRows, look: Look) -> MapRows:
    """Rows whose values are the joined map's; those that are no numbers are not inspected."""
    values = look.rows(rows.values, rows.bands)
    lost = ~np.isfinite(values).all(axis=1)
    weight, cause = rows.weight, rows.cause
    if lost.any():
        weight, cause = weight.copy(), cause.copy()
        values[lost] = weight[lost] = 0
        cause[lost & (cause == 0)] = Cause.NONFINITE
    return replace(rows, values=values * (weight > 0), weight=weight, cause=cause)


def _gaps(rows: MapRows, first: int, px: int, end: int) -> Iterator[Gap]:
    changes = np.flatnonzero(np.diff(rows.cause)) + 1
    bounds = [0, *(int(c) for c in changes), len(rows)]
    for a, b in pairwise(bounds):
        if rows.cause[a]:
            yield Gap(first + a * px, min(end, first + b * px), Cause(int(rows.cause[a])))
