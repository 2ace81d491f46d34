"""Features of good images, through the engine that the box will use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.compile.good_images.places import InspectedPlaces
from kenpin.compile.good_images.walk import GoodWalk
from kenpin.compile.progress import OnProgress
from kenpin.config.errors import ConfigError
from kenpin.config.frame import FrameSpec
from kenpin.config.images import ImagesSpec
from kenpin.runtime.judging.engine import Engine
from kenpin.runtime.judging.lamp import Lamp
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.web.rows import row_features

__all__ = ["FeatureReader", "ReaderOfSome", "Unit"]

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Bits = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """What is read at once: an image of a part, or a tile row of a web.

    web       which of the images or webs it is of, counted from 0
    row       of webs, the number of the tile row; otherwise 0
    features  (tiles, cells, cells, D) float32
    counts    (tiles, cells, cells) which places are inspected, of all tiles of the grid, also of
              those that were not asked for; None: all
    """

    web: int
    row: int
    features: F32
    counts: Bits | None = None


class FeatureReader:
    """Features of image files, through the engine that the box will use.

    One image is in memory at a time, so any number of them can be read.
    Images of webs may have any height; `images.joined` makes them blocks of one web.
    """

    def __init__(
        self,
        engine: Engine,
        grid: TileGrid,
        frame: FrameSpec,
        images: ImagesSpec,
        lamp: Lamp,
        places: InspectedPlaces | None = None,
    ) -> None:
        """`places`: of which `Unit` is to tell; None: all are inspected."""
        self._engine = engine
        self._grid = grid
        self._frame = frame
        self._lamp = lamp
        self._walk = GoodWalk(frame, images, grid, places)

    @property
    def cells(self) -> int:
        """Patch positions along a core's side."""
        return self._engine.output_shape[1]

    @property
    def dimensions(self) -> int:
        """Features per position."""
        return self._engine.output_shape[3]

    def read(
        self,
        files: Iterable[Path],
        tiles: NDArray[np.intp] | None = None,
        progress: OnProgress | None = None,
    ) -> Iterator[F32]:
        """The features of `units`, one after the other."""
        for unit in self.units(files, tiles, progress):
            yield unit.features

    def units(
        self,
        files: Iterable[Path],
        tiles: NDArray[np.intp] | None = None,
        progress: OnProgress | None = None,
    ) -> Iterator[Unit]:
        """Each file in turn; of webs each tile row in turn, so a file gives several.

        Of a recipe with `images.augment` each file's changed copies follow it.

        Parameters
        ----------
        tiles
            Only these tiles of the grid; None means all.

        Raises
        ------
        ConfigError
            If a feature is not finite: no statistics could be built on it.
        """
        files = list(files)
        if self._frame.geometry == "continuous":
            yield from self._read_webs(files, tiles, progress)
            return
        # A batch of a whole frame costs the same however few of its tiles are asked for, and each
        # place in it may be a network's of its own: see `ModelFiles`.
        numbers: Sequence[int]
        numbers, only = range(len(self._grid)), tiles
        if tiles is not None and self._engine.batch != len(self._grid):
            numbers, only = [int(n) for n in tiles], None
        for one in self._walk.photographs(files, progress):
            pixels = self._lamp.even(one.pixels)

            def fill(first: int, batch: U8, pixels: NDArray[Any] = pixels) -> int:
                return self._grid.fill(pixels, numbers[first:], batch)

            found = _finite(self._engine.features(fill, len(numbers))[0], one.file)
            yield Unit(one.number, 0, found if only is None else found[only], one.counts)

    def _read_webs(
        self, files: list[Path], tiles: NDArray[np.intp] | None, progress: OnProgress | None
    ) -> Iterator[Unit]:
        grid = self._grid
        for rows in self._walk.rows(files, progress):
            found = row_features(self._engine, grid, rows.windows, self._lamp)[0].features
            features = _finite(found, rows.file).reshape(
                len(rows.windows), grid.cols, *found.shape[1:]
            )
            told = zip(features, rows.counts, strict=True)
            for number, (row, counts) in enumerate(told, rows.first):
                yield Unit(rows.web, number, row if tiles is None else row[tiles], counts)


class ReaderOfSome(FeatureReader):
    """See `FeatureReader`: passes on only some of the units, as if the others were not there.

    Units are told by the number of their web among the files that are read.
    """

    def __init__(self, reader: FeatureReader, wanted: Callable[[int, int], bool]) -> None:
        """`wanted` is asked about the web and the tile row of each."""
        self._reader, self._wanted = reader, wanted

    @property
    def cells(self) -> int:
        """See `FeatureReader`."""
        return self._reader.cells

    @property
    def dimensions(self) -> int:
        """See `FeatureReader`."""
        return self._reader.dimensions

    def units(
        self,
        files: Iterable[Path],
        tiles: NDArray[np.intp] | None = None,
        progress: OnProgress | None = None,
    ) -> Iterator[Unit]:
        """See `FeatureReader`."""
        for unit in self._reader.units(files, tiles, progress):
            if self._wanted(unit.web, unit.row):
                yield unit


def _finite(features: F32, file: Path) -> F32:
    if not np.isfinite(features).all():
        raise ConfigError(
            f"{file}: the network gives features that are not finite; choose another "
            "backbone or weights"
        )
    return features
