"""Good images one after the other, with what of them is inspected: parts, or tile rows of webs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.compile.good_images.augment import variants
from kenpin.compile.good_images.images import load
from kenpin.compile.good_images.places import InspectedPlaces, WebPlaces
from kenpin.compile.progress import OnProgress
from kenpin.config.frame import FrameSpec
from kenpin.config.images import ImagesSpec
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.web.rows import TileRows

__all__ = ["GoodWalk", "Photograph", "Rows"]

U8 = NDArray[np.uint8]
Bits = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Photograph:
    """An image of a part, or a changed copy of it.

    number   of its file among those that are walked through
    pixels   (H, W) or (H, W, 3) uint8, as bright as they are
    changed  whether it is a copy, made by `images.augment`
    counts   (tiles, cells, cells) which places are inspected; None: all
    """

    number: int
    file: Path
    pixels: U8
    changed: bool
    counts: Bits | None


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Tile rows of a web, one after the other.

    web      its number among those that are walked through
    first    number of the first of them
    windows  (size, W) or (size, W, 3) uint8 of each, as bright as they are
    counts   (tiles, cells, cells) of each: which places are inspected; None: all
    """

    web: int
    first: int
    file: Path
    windows: Sequence[U8]
    counts: Sequence[Bits | None]


@dataclass(frozen=True, slots=True, eq=False)
class _Web:
    """The web that is being walked along."""

    number: int
    rows: TileRows
    places: WebPlaces | None


@dataclass(frozen=True)
class GoodWalk:
    """A walk through image files; one of them is in memory at a time.

    places  what of them is inspected; None: everything
    """

    frame: FrameSpec
    images: ImagesSpec
    grid: TileGrid
    places: InspectedPlaces | None

    def photographs(
        self, files: Sequence[Path], progress: OnProgress | None
    ) -> Iterator[Photograph]:
        """Each file in turn; with `images.augment` its changed copies follow it."""
        for done, file in enumerate(files):
            for copy, (pixels, counts) in enumerate(self._variants(file)):
                yield Photograph(done, file, pixels, copy > 0, counts)
            if progress:
                progress(done + 1, len(files))

    def _variants(self, file: Path) -> Iterator[tuple[U8, Bits | None]]:
        pixels = load(file, self.frame, self.images.turn_deg)
        augment, seed = self.images.augment, self.images.seed
        places = self.places
        if augment is None or places is None or places.pixels is None:
            for variant in variants(pixels, file, augment, seed):
                yield variant, None if places is None else places.tiles
            return
        # The mask lies under its image, wherever that is moved.
        for variant in variants(np.dstack([pixels, places.pixels]), file, augment, seed):
            image = variant[..., 0] if pixels.ndim == 2 else variant[..., :-1]
            yield np.ascontiguousarray(image), places.of_pixels(variant[..., -1])

    def rows(self, files: Sequence[Path], progress: OnProgress | None) -> Iterator[Rows]:
        """The tile rows of webs: a file is one, or with `images.joined` all files together."""
        web = self._fresh(0)
        for done, file in enumerate(files):
            pixels = load(file, self.frame, self.images.turn_deg)
            for block in [pixels] if web.places is None else web.places.known(pixels):
                yield from self._taken(web, block, file)
            if not self.images.joined or done + 1 == len(files):
                for block in [] if web.places is None else web.places.rest(web.rows.end):
                    yield from self._taken(web, block, file)
                for windows in web.rows.finish():
                    yield self._told(web, windows, file)
                web = self._fresh(web.number + 1)
            if progress:
                progress(done + 1, len(files))

    def _fresh(self, number: int) -> _Web:
        places = None if self.places is None else self.places.fresh()
        return _Web(number, TileRows(self.grid, self.frame.channels), places)

    def _taken(self, web: _Web, pixels: NDArray[Any], file: Path) -> Iterator[Rows]:
        while len(pixels):
            pixels = pixels[web.rows.take(pixels) :]
            for windows in web.rows.ready():
                yield self._told(web, windows, file)

    def _told(self, web: _Web, windows: Sequence[U8], file: Path) -> Rows:
        first, grid = web.rows.next, self.grid
        web.rows.next += len(windows)
        cores = (window[grid.halo : grid.halo + grid.core] for window in windows)
        counts = [
            None if web.places is None else web.places.of_row(core, row)
            for row, core in enumerate(cores, first)
        ]
        return Rows(web.number, first, file, windows, counts)
