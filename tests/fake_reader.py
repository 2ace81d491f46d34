"""A `FeatureReader` without network or files: features that a test made up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kenpin.compile.methods.feature_reader import Unit

F32 = NDArray[np.float32]


class FakeReader:
    """Reads image n of (images, tiles, cells, cells, D) features from `files[n]`."""

    def __init__(self, images: F32) -> None:
        self._images = images
        self.files = [Path(f"{number:03}.png") for number in range(len(images))]
        self.cells = images.shape[2]
        self.dimensions = images.shape[4]
        self.images_read = 0

    def read(
        self,
        files: Iterable[Path],
        tiles: NDArray[np.intp] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[F32]:
        for unit in self.units(files, tiles, progress):
            yield unit.features

    def units(
        self,
        files: Iterable[Path],
        tiles: NDArray[np.intp] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[Unit]:
        files = list(files)
        for done, file in enumerate(files):
            features = self._images[self.files.index(file)]
            yield Unit(done, 0, features.copy() if tiles is None else features[tiles])
            self.images_read += 1
            if progress:
                progress(done + 1, len(files))


def features(
    seed: int = 0, images: int = 5, tiles: int = 6, cells: int = 4, dims: int = 3, offset: float = 0
) -> F32:
    """Random (images, tiles, cells, cells, D) features; every position has its own spread."""
    rng = np.random.default_rng(seed)
    shape = (images, tiles, cells, cells, dims)
    spread = rng.uniform(0.2, 3.0, shape[1:])
    return (offset + rng.normal(size=shape[1:]) + spread * rng.normal(size=shape)).astype(
        np.float32
    )
