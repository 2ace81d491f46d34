"""The images to learn from: found, checked, split, and brought to the frame's size."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kenpin.camera.files.images import read_pixels
from kenpin.camera.files.listing import list_images, list_others, name_in, printable
from kenpin.compile.good_images.grey_limits import unusual
from kenpin.compile.good_images.parts import Parts, WebFile, parts_of_files, parts_of_webs
from kenpin.compile.laid_out import is_laid_out
from kenpin.compile.progress import OnProgress
from kenpin.compile.words import NOT_GOOD, names_good
from kenpin.config.errors import ConfigError
from kenpin.config.frame import FrameSpec
from kenpin.config.images import ImagesSpec
from kenpin.config.recipe import ImageQualitySpec
from kenpin.runtime.bundles.manifest import DataRecord, GreyRange
from kenpin.runtime.judging.fitting import fitted, in_grey_levels, misfit
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.web.lanes import EdgeTracker
from kenpin.runtime.web.stages import grey_of_rows

__all__ = [
    "FEWEST_IMAGES",
    "GoodImages",
    "check_ng",
    "file_kept",
    "learned_from",
    "load",
    "named",
    "named_in",
    "refuse_dataset",
    "turned",
]

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

# Below this no quantile of held-out scores and no covariance means anything.
FEWEST_IMAGES = 4
# A recording of a web may be long: one to learn from and one to hold out.
FEWEST_WEBS = 2
# What follows the file's name in that of a strip of a web.
_STRIP = re.compile(r"#[0-9]+$")


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
    heights   lines of each file
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
    heights: tuple[int, ...] = ()

    @classmethod
    def check(
        cls,
        spec: ImagesSpec,
        frame: FrameSpec,
        grid: TileGrid,
        progress: OnProgress,
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
        files = _good_files(spec, frame)
        web = frame.geometry == "continuous"
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
            own = list(map(WebFile, contents, heights))
            blocks = [own] if spec.joined else [[file] for file in own]
            parts = parts_of_webs(files[: len(webs)], rows, spec.group, blocks)
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
            tuple(heights),
        )

    @property
    def webs(self) -> list[list[Path]]:
        """The files of each image or web."""
        return [self.files] if self.joined else [[file] for file in self.files]

    def file_of(self, web: int, line: int) -> Path:
        """The file of an image, or that in which a line of a web lies."""
        if not self.joined:
            return self.files[web]
        ends = np.cumsum(self.heights)
        return self.files[min(int(np.searchsorted(ends, line, "right")), len(self.files) - 1)]

    def names(self, places: Sequence[tuple[int, int, int]]) -> list[str]:
        """Of images their files' names; of strips of webs those and which of the file's it is.

        Parameters
        ----------
        places
            Of each, its image or web, its number there and the line where it begins; in this
            order. Those of which nothing is inspected may be missing.
        """
        plain = [name_in(self.folder, self.file_of(web, line)) for web, _, line in places]
        if not self.strips:
            return plain
        # A web begins with its first file's; each further block with the first that lies in it.
        first = {name_in(self.folder, files[0]): 0 for files in self.webs}
        return [
            f"{name}#{strip - first.setdefault(name, strip)}"
            for name, (_, strip, _) in zip(plain, places, strict=True)
        ]

    def keeps(self, keep: Sequence[str], name: str) -> bool:
        """Whether `images.keep` names an image, a strip of a web, or the file that it lies in."""
        file = file_kept(name) if self.strips else name
        spelt = {name, name.rpartition("/")[2], file, file.rpartition("/")[2]}
        return not spelt.isdisjoint(keep)

    def record(self, spec: ImagesSpec) -> DataRecord:
        """What the manifest keeps of it."""
        names = [name_in(self.folder, file) for file in self.files]
        return DataRecord(sha256=self.digest, fitted=names, seed=spec.seed, turn_deg=spec.turn_deg)

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
        If images lie in folders that are called as those of defects are, or some in one that
        is called good and others not.
    """
    if not folder.is_dir():
        return
    below = [file.parent.relative_to(folder) for file in list_images(folder)]
    good = {place for place in below if any(names_good(part) for part in place.parts)}
    for place in below:
        if any(part.lower() in NOT_GOOD for part in place.parts):
            raise ConfigError(
                f"{printable(folder)}: holds a folder {printable(place)}/, whose images would be "
                "learned as good; name the folder of the good ones, train/good/ for example"
            )
        if good and place not in good:
            others = "others of its own" if place == Path() else f"a folder {printable(place)}/"
            raise ConfigError(
                f"{printable(folder)}: holds a folder {printable(min(good))}/ and {others}, whose "
                "images would be learned as good; name the folder of the good ones"
            )


def check_ng(
    folder: Path, frame: FrameSpec, turn_deg: int, good: GoodImages, progress: OnProgress
) -> int:
    """Read every NG image once; how many there are.

    Raises
    ------
    ImageError, ConfigError
        If the folder holds none, or one cannot be read, is not the recipe's frame, or is
        learned from as good.
    """
    files = list_images(folder)
    learned = dict(zip(good.contents, good.files, strict=True))
    both = []
    for number, file in enumerate(files):
        _checked(file, frame, turn_deg)
        same = learned.get(hashlib.sha256(file.read_bytes()).hexdigest())
        if same is not None:
            both.append((file, same))
        progress(number + 1, len(files))
    if both:
        first, copy = (printable(file) for file in both[0])
        raise ConfigError(
            f"{len(both)} of the {len(files)} images in images.ng are among the good ones, too, "
            f"{first} as {copy} first; remove each where it does not belong, or name what is not "
            "good in images.exclude"
        )
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
        own = named_in(name, files, folder)
        if not own:
            raise ConfigError(
                f"{key}: {folder} holds no image {name!r}; give the names of good images"
            )
        found |= own
    return found


def named_in(name: str, files: Sequence[Path], folder: Path) -> set[Path]:
    """The files that a name fits, bare or as a path in the folder; there may be none."""
    return {f for f in files if name in (f.name, name_in(folder, f))}


def file_kept(name: str) -> str:
    """The file that a name in `images.keep` means: of a strip of a web, "roll.png#3", its own."""
    return _STRIP.sub("", name)


def learned_from(spec: ImagesSpec) -> list[Path]:
    """The images of a recipe's folder, in order, without those that it excludes.

    Raises
    ------
    ImageError
        If the folder cannot be read or holds no image.
    ConfigError
        If `images.exclude` fits none.
    """
    listed = list_images(spec.good)
    excluded = named(spec.exclude, listed, spec.good, "images.exclude")
    return [file for file in listed if file not in excluded]


def turned(pixels: NDArray[Any], turn_deg: int) -> NDArray[Any]:
    """An image turned clockwise by right angles."""
    # numpy turns anticlockwise.
    return np.ascontiguousarray(np.rot90(pixels, -turn_deg // 90)) if turn_deg else pixels


def load(file: Path, frame: FrameSpec, turn_deg: int = 0) -> NDArray[Any]:
    """An image as the pipeline's steps see it: turned, checked, and of the frame's size."""
    return fitted(_checked(file, frame, turn_deg), frame)


def _checked(file: Path, frame: FrameSpec, turn_deg: int) -> NDArray[Any]:
    pixels = turned(read_pixels(file), turn_deg)
    unfit = misfit(pixels, frame)
    if unfit:
        raise ConfigError(f"{printable(file)}: {unfit}")
    return in_grey_levels(pixels, frame)


def _good_files(spec: ImagesSpec, frame: FrameSpec) -> list[Path]:
    """The images to learn from, of which there must be enough."""
    if not is_laid_out(spec.good):
        refuse_dataset(spec.good)
    files = learned_from(spec)
    web = frame.geometry == "continuous"
    keep = [file_kept(name) if web else name for name in spec.keep]
    named(keep, list_images(spec.good), spec.good, "images.keep")
    fewest = FEWEST_WEBS if web else FEWEST_IMAGES
    if len(files) < fewest:
        raise ConfigError(
            f"{spec.good}: holds {len(files)} images, expected at least {fewest}, "
            "better 50; photograph more good material"
        )
    return files
