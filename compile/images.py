"""The images to learn from: found, checked, split, and brought to the frame's size."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kenpin.camera.images import fit_to, list_images, list_others, read_pixels
from kenpin.config.errors import ConfigError
from kenpin.config.recipe import FrameSpec, ImageQualitySpec, ImagesSpec
from kenpin.runtime.bundle import DataRecord, GreyRange
from kenpin.runtime.engine import Engine
from kenpin.runtime.pipeline import misfit
from kenpin.runtime.tiling import TileGrid

__all__ = ["FeatureReader", "GoodImages", "Split", "load"]

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Progress = Callable[[int, int], None]

# Below this no quantile of held-out scores and no covariance means anything.
FEWEST_IMAGES = 4


@dataclass(frozen=True)
class Split:
    """Good images by what they are used for; every file is in exactly one part."""

    fitted: list[Path]
    held_out: list[Path]


@dataclass(frozen=True)
class GoodImages:
    """The good images of a recipe, all read and checked once.

    others    files of the folder that are no images
    grey      (mean, contrast) of each image, in file order
    digest    SHA-256 over the names and contents of all files
    """

    split: Split
    others: list[Path]
    grey: list[tuple[float, float]]
    digest: str

    @classmethod
    def check(cls, spec: ImagesSpec, frame: FrameSpec, progress: Progress) -> GoodImages:
        """Read every image once, and hold some out.

        Raises
        ------
        ImageError
            If the folder is missing or an image cannot be read.
        ConfigError
            If there are too few images or one is not the recipe's frame.
        """
        files = list_images(spec.good)
        if len(files) < FEWEST_IMAGES:
            raise ConfigError(
                f"{spec.good}: holds {len(files)} images, expected at least {FEWEST_IMAGES}, "
                "better 50; photograph more good material"
            )
        grey = []
        digest = hashlib.sha256()
        for number, file in enumerate(files):
            pixels = read_pixels(file)
            unfit = misfit(pixels, frame)
            if unfit:
                raise ConfigError(f"{file}: {unfit}")
            means, deviations = cv2.meanStdDev(pixels)
            grey.append((float(means.mean()), float(deviations.mean())))
            digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
            progress(number + 1, len(files))
        return cls(_split(files, spec), list_others(spec.good), grey, digest.hexdigest())

    def record(self, seed: int) -> DataRecord:
        """What the manifest keeps of it."""
        return DataRecord(
            sha256=self.digest,
            fitted=[file.name for file in self.split.fitted],
            held_out=[file.name for file in self.split.held_out],
            seed=seed,
        )

    def grey_range(self, spec: ImageQualitySpec) -> GreyRange:
        """Brightness and contrast that a frame must have to be judged."""
        means, contrasts = zip(*self.grey, strict=True)
        return GreyRange(
            mean_min=max(0.0, min(means) - spec.grey_margin),
            mean_max=min(255.0, max(means) + spec.grey_margin),
            contrast_min=spec.contrast_share * min(contrasts),
        )


def _split(files: list[Path], spec: ImagesSpec) -> Split:
    order = np.random.default_rng(spec.seed).permutation(len(files))
    count = min(max(1, round(spec.held_out * len(files))), len(files) - 2)
    held = {files[i] for i in order[:count]}
    return Split([f for f in files if f not in held], [f for f in files if f in held])


def load(file: Path, frame: FrameSpec) -> NDArray[Any]:
    """An image as the pipeline's steps see it: checked, and of the frame's size."""
    pixels = read_pixels(file)
    unfit = misfit(pixels, frame)
    if unfit:
        raise ConfigError(f"{file}: {unfit}")
    return fit_to(pixels, frame.height_px, frame.width_px) if frame.resize else pixels


class FeatureReader:
    """Features of image files, through the engine that the box will use.

    One image is in memory at a time, so any number of them can be read.
    """

    def __init__(self, engine: Engine, grid: TileGrid, frame: FrameSpec) -> None:
        self._engine = engine
        self._grid = grid
        self._frame = frame

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
        """(tiles, cells, cells, D) float32 features of each file in turn.

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
        numbers = range(len(self._grid)) if tiles is None else [int(n) for n in tiles]
        for done, file in enumerate(files):
            pixels = load(file, self._frame)

            def fill(first: int, batch: U8, pixels: NDArray[Any] = pixels) -> int:
                return self._grid.fill(pixels, numbers[first:], batch)

            features = self._engine.features(fill, len(numbers))[0]
            if not np.isfinite(features).all():
                raise ConfigError(
                    f"{file}: the network gives features that are not finite; choose another "
                    "backbone or weights"
                )
            yield features
            if progress:
                progress(done + 1, len(files))
