"""The images to learn from: found, checked, split, and brought to the frame's size."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kenpin.camera.files.images import read_pixels
from kenpin.camera.files.listing import list_images, list_others, name_in, printable
from kenpin.compile.augment import variants
from kenpin.compile.grey_limits import unusual
from kenpin.compile.parts import Parts, parts_of_files, parts_of_webs
from kenpin.config.augment import AugmentSpec
from kenpin.config.errors import ConfigError
from kenpin.config.frame import FrameSpec
from kenpin.config.recipe import ImageQualitySpec, ImagesSpec
from kenpin.runtime.bundles.bundle import DataRecord, GreyRange
from kenpin.runtime.judging.engine import Engine
from kenpin.runtime.judging.fitting import fitted, in_grey_levels, misfit
from kenpin.runtime.judging.lamp import Lamp
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.web.lanes import EdgeTracker
from kenpin.runtime.web.rows import TileRows, row_features
from kenpin.runtime.web.stages import grey_of_rows

__all__ = ["FeatureReader", "GoodImages", "Unit", "load", "named"]

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Progress = Callable[[int, int], None]

# Folders that hold what is not good, in datasets and in people's archives.
_NOT_GOOD = ("test", "ground_truth", "ng", "bad", "defect", "defects")

# Below this no quantile of held-out scores and no covariance means anything.
FEWEST_IMAGES = 4
# A recording of a web may be long: one to learn from and one to hold out.
FEWEST_WEBS = 2


@dataclass(frozen=True)
class GoodImages:
    """The good images of a recipe, all read and checked once.

    folder    the recipe's folder; files are called by their names below it
    files     in the order of their names
    parts     what each shows
    others    files of the folder that are no images
    grey      (mean, contrast) of each image, in file order; of each tile row of a web
    levels    mean of each image as a whole
    digest    SHA-256 over the names and contents of all files
    contents  SHA-256 of each file
    strips    they are webs, of which each tile row has a score
    joined    all files are one web
    """

    folder: Path
    files: list[Path]
    parts: Parts
    others: list[Path]
    grey: list[tuple[float, float]]
    levels: list[float]
    digest: str
    contents: list[str]
    strips: bool = False
    joined: bool = False

    @classmethod
    def check(
        cls,
        spec: ImagesSpec,
        frame: FrameSpec,
        grid: TileGrid,
        progress: Progress,
        edges: EdgeTracker | None = None,
    ) -> GoodImages:
        """Read every image once, and find out which of them show the same part.

        Raises
        ------
        ImageError
            If the folder is missing or an image cannot be read.
        ConfigError
            If there are too few images, one is not the recipe's frame, or
            `images.group`, `exclude` or `keep` fit none.
        """
        refuse_dataset(spec.good)
        listed = list_images(spec.good)
        excluded = named(spec.exclude, listed, spec.good, "images.exclude")
        named(spec.keep, listed, spec.good, "images.keep")
        files = [file for file in listed if file not in excluded]
        web = frame.geometry == "continuous"
        fewest = FEWEST_WEBS if web else FEWEST_IMAGES
        if len(files) < fewest:
            raise ConfigError(
                f"{spec.good}: holds {len(files)} images, expected at least {fewest}, "
                "better 50; photograph more good material"
            )
        grey, levels, heights, contents = [], [], [], []
        digest = hashlib.sha256()
        for number, file in enumerate(files):
            pixels = _checked(file, frame, spec.turn_deg)
            if web:
                grey += grey_of_rows(pixels, grid, edges)
            else:
                means, deviations = cv2.meanStdDev(pixels)
                grey.append((float(means.mean()), float(deviations.mean())))
            levels.append(float(pixels.mean()))
            heights.append(len(pixels))
            content = hashlib.sha256(file.read_bytes())
            contents.append(content.hexdigest())
            digest.update(name_in(spec.good, file).encode() + b"\0" + content.digest())
            progress(number + 1, len(files))
        if not web:
            parts = parts_of_files(files, spec.group, contents)
        else:
            webs = [sum(heights)] if spec.joined else heights
            rows = [replace(grid, height=height).rows for height in webs]
            parts = parts_of_webs(files[: len(webs)], rows, spec.group)
        return cls(
            spec.good,
            files,
            parts,
            list_others(spec.good),
            grey,
            levels,
            digest.hexdigest(),
            contents,
            web,
            spec.joined,
        )

    @property
    def webs(self) -> list[list[Path]]:
        """The files of each image or web."""
        return [self.files] if self.joined else [[file] for file in self.files]

    def name(self, web: int, strip: int) -> str:
        """Of an image its file's name; of a strip of a web that and its number."""
        file = name_in(self.folder, self.webs[web][0])
        return f"{file}#{strip}" if self.strips else file

    def record(self, seed: int) -> DataRecord:
        """What the manifest keeps of it."""
        names = [name_in(self.folder, file) for file in self.files]
        return DataRecord(sha256=self.digest, fitted=names, seed=seed)

    def grey_range(self, spec: ImageQualitySpec) -> GreyRange:
        """Brightness and contrast that a frame must have to be judged."""
        odd = unusual(self.grey, spec.grey_margin, spec.contrast_share)
        usual = [one for one, out in zip(self.grey, odd, strict=True) if not out]
        means, contrasts = zip(*usual, strict=True)
        return GreyRange(
            mean_min=max(0.0, min(means) - spec.grey_margin),
            mean_max=min(255.0, max(means) + spec.grey_margin),
            contrast_min=spec.contrast_share * min(contrasts),
            even_to=float(np.mean(self.levels)) if spec.even_light else None,
        )


def refuse_dataset(folder: Path) -> None:
    """See that a folder of good images is not a whole dataset.

    Raises
    ------
    ConfigError
        If folders inside it are called as those of defects are.
    """
    inner = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    for path in inner:
        if path.name.lower() in _NOT_GOOD:
            raise ConfigError(
                f"{printable(folder)}: holds a folder {path.name}/, whose images would be learned "
                "as good; name the folder of the good ones, train/good/ for example"
            )


def check_ng(folder: Path, frame: FrameSpec, turn_deg: int, progress: Progress) -> int:
    """Read every NG image once; how many there are.

    Raises
    ------
    ImageError, ConfigError
        If the folder holds none, or one cannot be read or is not the recipe's frame.
    """
    files = list_images(folder)
    for number, file in enumerate(files):
        _checked(file, frame, turn_deg)
        progress(number + 1, len(files))
    return len(files)


def named(names: Sequence[str], files: Sequence[Path], folder: Path, key: str) -> set[Path]:
    """The files of a folder that a setting names, each by its name or its path in the folder.

    Raises
    ------
    ConfigError
        If a name fits no file.
    """
    found: set[Path] = set()
    for name in names:
        own = {f for f in files if name in (f.name, name_in(folder, f))}
        if not own:
            raise ConfigError(
                f"{key}: {folder} holds no image {name!r}; give the names of good images"
            )
        found |= own
    return found


def load(file: Path, frame: FrameSpec, turn_deg: int = 0) -> NDArray[Any]:
    """An image as the pipeline's steps see it: turned, checked, and of the frame's size."""
    return fitted(_checked(file, frame, turn_deg), frame)


def _checked(file: Path, frame: FrameSpec, turn_deg: int) -> NDArray[Any]:
    pixels: NDArray[Any] = read_pixels(file)
    if turn_deg:
        # numpy turns anticlockwise.
        pixels = np.ascontiguousarray(np.rot90(pixels, -turn_deg // 90))
    unfit = misfit(pixels, frame)
    if unfit:
        raise ConfigError(f"{printable(file)}: {unfit}")
    return in_grey_levels(pixels, frame)


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """What is read at once: an image of a part, or a tile row of a web.

    web       which of the images or webs it is of, counted from 0
    row       of webs, the number of the tile row; otherwise 0
    features  (tiles, cells, cells, D) float32
    """

    web: int
    row: int
    features: F32


class FeatureReader:
    """Features of image files, through the engine that the box will use.

    One image is in memory at a time, so any number of them can be read.
    Images of webs may have any height; `joined` ones are blocks of one web.
    """

    def __init__(
        self,
        engine: Engine,
        grid: TileGrid,
        frame: FrameSpec,
        *,
        turn_deg: int = 0,
        joined: bool = False,
        lamp: Lamp,
        augment: AugmentSpec | None = None,
        seed: int = 0,
    ) -> None:
        self._lamp = lamp
        self._augment = augment
        self._seed = seed
        self._engine = engine
        self._grid = grid
        self._frame = frame
        self._turn_deg = turn_deg
        self._joined = joined

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
        progress: Progress | None = None,
    ) -> Iterator[F32]:
        """The features of `units`, one after the other."""
        for unit in self.units(files, tiles, progress):
            yield unit.features

    def units(
        self,
        files: Iterable[Path],
        tiles: NDArray[np.intp] | None = None,
        progress: Progress | None = None,
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
        numbers = range(len(self._grid)) if tiles is None else [int(n) for n in tiles]
        for done, file in enumerate(files):
            photograph = load(file, self._frame, self._turn_deg)
            for variant in variants(photograph, file, self._augment, self._seed):
                pixels = self._lamp.even(variant)

                def fill(first: int, batch: U8, pixels: NDArray[Any] = pixels) -> int:
                    return self._grid.fill(pixels, numbers[first:], batch)

                yield Unit(done, 0, _finite(self._engine.features(fill, len(numbers))[0], file))
            if progress:
                progress(done + 1, len(files))

    def _read_webs(
        self, files: list[Path], tiles: NDArray[np.intp] | None, progress: Progress | None
    ) -> Iterator[Unit]:
        rows = self._fresh()
        web = 0
        for done, file in enumerate(files):
            pixels = load(file, self._frame, self._turn_deg)
            while len(pixels):
                pixels = pixels[rows.take(pixels) :]
                for windows in rows.ready():
                    yield from self._of(rows, windows, tiles, file, web)
            if not self._joined or done + 1 == len(files):
                for windows in rows.finish():
                    yield from self._of(rows, windows, tiles, file, web)
                rows = self._fresh()
                web += 1
            if progress:
                progress(done + 1, len(files))

    def _fresh(self) -> TileRows:
        return TileRows(self._grid, self._frame.channels)

    def _of(
        self,
        rows: TileRows,
        windows: list[U8],
        tiles: NDArray[np.intp] | None,
        file: Path,
        web: int,
    ) -> Iterator[Unit]:
        features = _finite(
            row_features(self._engine, self._grid, windows, self._lamp)[0].features, file
        )
        first = rows.next
        rows.next += len(windows)
        found = features.reshape(len(windows), self._grid.cols, *features.shape[1:])
        for number, row in enumerate(found):
            yield Unit(web, first + number, row if tiles is None else row[tiles])


def _finite(features: F32, file: Path) -> F32:
    if not np.isfinite(features).all():
        raise ConfigError(
            f"{file}: the network gives features that are not finite; choose another "
            "backbone or weights"
        )
    return features
