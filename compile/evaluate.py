"""Accuracy of a bundle on a labelled dataset, through the very pipeline of the box."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.camera.files.images import ImageError, list_images, read_pixels
from kenpin.camera.frame import Frame
from kenpin.compile.metrics import (
    aupro,
    auroc,
    f1_at,
    pixel_auroc,
    within_group_auroc,
)
from kenpin.config.errors import ConfigError
from kenpin.runtime.judging.join import upsample
from kenpin.runtime.judging.pipeline import Pipeline
from kenpin.runtime.judging.verdict import Outcome
from kenpin.runtime.web.pipeline import WebPipeline

__all__ = ["Dataset", "Evaluation", "Labelled", "Scored", "evaluate", "read_dataset", "wide_side"]

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

GOOD = "good"
# A strip at least this many times as long as wide is also judged by squares.
STRIP_RATIO = 4


@dataclass(frozen=True, slots=True)
class Labelled:
    """A test image: its kind, "good" or a defect's name, and its mask's file if any."""

    file: Path
    kind: str
    mask: Path | None


Dataset = list[Labelled]


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of some things, images or tiles, and what the bundle said of them.

    kinds     the kind of each; "good" is the negative class
    groups    the image that each belongs to
    rejected  whether the verdict, or the bundle's threshold, says NG
    """

    scores: NDArray[np.float64]
    kinds: list[str]
    groups: NDArray[np.intp]
    rejected: Mask

    def summary(self, threshold: float) -> dict[str, Any]:
        """AUROC, F1, false rejects and escapes, as a whole and by kind of defect."""
        kinds = np.array(self.kinds)
        bad = kinds != GOOD
        by_kind = {}
        for kind in sorted(set(self.kinds) - {GOOD}):
            chosen = (kinds == kind) | ~bad
            escaped = int(np.count_nonzero(~self.rejected[kinds == kind]))
            by_kind[kind] = {
                "count": int(np.count_nonzero(kinds == kind)),
                "auroc": auroc(self.scores[chosen], bad[chosen]),
                "escapes": escaped,
            }
        return {
            "good": int(np.count_nonzero(~bad)),
            "ng": int(np.count_nonzero(bad)),
            "auroc": auroc(self.scores, bad),
            "f1": f1_at(self.scores, bad, threshold),
            "false_rejects": int(np.count_nonzero(self.rejected & ~bad)),
            "escapes": int(np.count_nonzero(~self.rejected & bad)),
            "threshold": threshold,
            "kinds": by_kind,
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All figures of one bundle on one dataset; `tiles` only for strips."""

    bundle: str
    images: dict[str, Any]
    pixels: dict[str, Any]
    tiles: dict[str, Any] | None
    scores: dict[str, float | None]


def read_dataset(folder: Path) -> Dataset:
    """The test images of an MVTec-like folder, in the order of their names.

    test/<kind>/*, with kind "good" for good ones, and
    ground_truth/<kind>/<stem>_mask.png for the others.

    Raises
    ------
    ConfigError
        If the layout is another, good images or defects are missing, or some
        but not all images of a kind have masks.
    """
    test = folder / "test"
    if not test.is_dir():
        raise ConfigError(
            f"{folder}: holds no folder test/; expected test/good/, test/<defect>/ and "
            "ground_truth/<defect>/"
        )
    found: Dataset = []
    for place in sorted(path for path in test.iterdir() if path.is_dir()):
        for file in list_images(place):
            mask = folder / "ground_truth" / place.name / f"{file.stem}_mask.png"
            if place.name == GOOD:
                found.append(Labelled(file, GOOD, None))
                continue
            if not mask.is_file() and mask.parent.is_dir():
                raise ConfigError(f"{mask}: is missing, but other images of {place.name} have one")
            found.append(Labelled(file, place.name, mask if mask.is_file() else None))
    kinds = {item.kind for item in found}
    if GOOD not in kinds or len(kinds) < 2:
        raise ConfigError(
            f"{test}: holds {sorted(kinds)}; expected good images and at least one kind of defect"
        )
    return found


def wide_side(height_px: int, width_px: int) -> int | None:
    """Side of the squares by which a strip is judged too; None if it is no strip."""
    short, long = sorted((height_px, width_px))
    return short if long >= STRIP_RATIO * short else None


def evaluate(
    pipeline: Pipeline | WebPipeline,
    dataset: Dataset,
    told: Callable[[int, int], None],
    *,
    tile_px: int | None = None,
) -> Evaluation:
    """Judge every image and compare with its label.

    An image that gets no score is NG and ranks above every scored one.

    Parameters
    ----------
    tile_px
        Also judge squares of this side, each by the highest value of the map
        inside it: a defect tile is one whose mask has any pixel. Within-strip
        figures compare only tiles of the same image, so that a difference
        between images cannot pass for the detection of a defect.
    """
    threshold = pipeline.thresholds.ok
    scores: list[float] = []
    by_name: dict[str, float | None] = {}
    rejected: list[bool] = []
    maps: list[F32] = []
    masks: list[Mask] = []
    tiles: list[tuple[float, bool, int]] = []
    empty = 0
    for number, item in enumerate(dataset):
        pixels = read_pixels(item.file)
        judged = pipeline.alone(Frame(pixels, 0, number, item.file.name))
        score = judged.verdict.score
        by_name[f"{item.kind}/{item.file.name}"] = score
        scores.append(np.inf if score is None else score)
        rejected.append(judged.verdict.outcome is not Outcome.OK)
        mask = _mask(item, pixels.shape[:2])
        if judged.score_map is not None and mask is not None:
            full = upsample(judged.score_map, *mask.shape)
            if item.kind == GOOD or mask.any():
                maps.append(full)
                masks.append(mask)
            else:
                empty += 1
            if tile_px:
                tiles.extend((*tile, number) for tile in _tiles(full, mask, tile_px))
        told(number + 1, len(dataset))
    images = Scored(
        _ranked(scores),
        [item.kind for item in dataset],
        np.arange(len(dataset)),
        np.array(rejected),
    )
    return Evaluation(
        bundle=pipeline.bundle.label,
        images={
            **images.summary(threshold),
            "unscored": sum(1 for score in scores if not np.isfinite(score)),
        },
        pixels=_pixel_summary(maps, masks, empty),
        tiles=_tile_summary(tiles, dataset, threshold, tile_px) if tile_px else None,
        scores=by_name,
    )


def _ranked(scores: list[float]) -> NDArray[np.float64]:
    values = np.array(scores)
    finite = values[np.isfinite(values)]
    top = float(finite.max()) if len(finite) else 0.0
    return np.where(np.isfinite(values), values, 2 * top + 1)


def _mask(item: Labelled, shape: tuple[int, ...]) -> Mask | None:
    """The defect's pixels; None where nobody drew them."""
    if item.kind == GOOD:
        return np.zeros(shape, bool)
    if item.mask is None:
        return None
    drawn = read_pixels(item.mask)
    drawn = drawn if drawn.ndim == 2 else drawn.max(axis=2)
    if drawn.shape != shape:
        raise ImageError(
            item.mask,
            f"mask of {drawn.shape[0]} x {drawn.shape[1]} px for an image of "
            f"{shape[0]} x {shape[1]}",
            "draw masks at their image's size",
        )
    return drawn > 0


def _tiles(full: F32, mask: Mask, side: int) -> list[tuple[float, bool]]:
    height, width = full.shape
    return [
        (
            float(full[y : y + side, x : x + side].max()),
            bool(mask[y : y + side, x : x + side].any()),
        )
        for y in range(0, height, side)
        for x in range(0, width, side)
    ]


def _pixel_summary(maps: list[F32], masks: list[Mask], empty: int) -> dict[str, Any]:
    if not any(mask.any() for mask in masks):
        return {"auroc": None, "aupro": None, "images": len(maps), "empty_masks": empty}
    return {
        "auroc": pixel_auroc(maps, masks),
        "aupro": aupro(maps, masks),
        "images": len(maps),
        "empty_masks": empty,
    }


def _tile_summary(
    tiles: list[tuple[float, bool, int]], dataset: Dataset, threshold: float, side: int
) -> dict[str, Any] | None:
    if not tiles or not any(bad for _, bad, _ in tiles):
        return None
    values = np.array([score for score, _, _ in tiles])
    groups = np.array([image for _, _, image in tiles], np.intp)
    bad = np.array([is_bad for _, is_bad, _ in tiles])
    kinds = [dataset[image].kind if is_bad else GOOD for _, is_bad, image in tiles]
    within = within_group_auroc(values, bad, groups)
    summary = Scored(values, kinds, groups, values > threshold).summary(threshold)
    return {**summary, "side_px": side, "within_image": asdict(within)}
