"""Accuracy of a bundle on a labelled dataset, through the very pipeline of the box."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.camera.files.listing import ImageError
from kenpin.camera.frame import Frame
from kenpin.compile.evaluation.dataset import GOOD, Dataset, Labelled, doubts, drawn_defect
from kenpin.compile.metrics.pixels import aupro, pixel_auroc, pro_curve
from kenpin.compile.metrics.scores import auroc, f1_at, roc_curve, within_group_auroc
from kenpin.processes.cluster import Workers
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.join import upsample
from kenpin.runtime.judging.pipeline import Judgement, Pipeline
from kenpin.runtime.judging.verdict import Outcome, Reason, Verdict
from kenpin.runtime.maps import MapFolder
from kenpin.runtime.spread import AT_ONCE, opened, packed
from kenpin.runtime.web.pipeline import WebPipeline

__all__ = ["Evaluation", "Refused", "Scored", "evaluate", "wide_side"]

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

# A strip at least this many times as long as wide is also judged by squares.
STRIP_RATIO = 4


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
        """AUROC, F1, false rejects and escapes, as a whole and by kind of defect.

        AUROC, its curve and F1 are None where everything good, or everything bad, is missing.
        """
        kinds = np.array(self.kinds, str)
        bad = kinds != GOOD
        mixed = bool(bad.any() and not bad.all())
        by_kind = {}
        for kind in sorted(set(self.kinds) - {GOOD}):
            chosen = (kinds == kind) | ~bad
            escaped = int(np.count_nonzero(~self.rejected[kinds == kind]))
            by_kind[kind] = {
                "count": int(np.count_nonzero(kinds == kind)),
                "auroc": _auroc(self.scores[chosen], bad[chosen]),
                "escapes": escaped,
            }
        return {
            "good": int(np.count_nonzero(~bad)),
            "ng": int(np.count_nonzero(bad)),
            "auroc": _auroc(self.scores, bad),
            "roc": roc_curve(self.scores, bad) if mixed else None,
            "f1": f1_at(self.scores, bad, threshold) if mixed else None,
            "false_rejects": int(np.count_nonzero(self.rejected & ~bad)),
            "escapes": int(np.count_nonzero(~self.rejected & bad)),
            "threshold": threshold,
            "kinds": by_kind,
        }


def _auroc(scores: NDArray[np.float64], bad: Mask) -> float | None:
    return auroc(scores, bad) if bad.any() and not bad.all() else None


@dataclass(frozen=True, slots=True)
class Refused:
    """A test image that was not judged, and why: by the verdict's reason, or the reader's."""

    name: str
    kind: str
    why: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All figures of one bundle on one dataset.

    images   every figure leaves out what was refused
    tiles    only for strips
    scores   by name; None for an image that was refused
    good, ng scores of the images that were judged, by their labels
    notes    what a person should know before believing the figures
    """

    bundle: str
    images: dict[str, Any]
    pixels: dict[str, Any]
    tiles: dict[str, Any] | None
    scores: dict[str, float | None]
    good: list[float]
    ng: list[float]
    refused: list[Refused]
    notes: list[str]


def wide_side(height_px: int, width_px: int) -> int | None:
    """Side of the squares by which a strip is judged too; None if it is no strip."""
    short, long = sorted((height_px, width_px))
    return short if long >= STRIP_RATIO * short else None


def evaluate(
    pipeline: Pipeline | WebPipeline,
    dataset: Dataset,
    progress: Callable[[int, int], None],
    *,
    tile_px: int | None = None,
    maps: MapFolder | None = None,
    cluster: Workers | None = None,
) -> Evaluation:
    """Judge every image and compare with its label.

    An image that is NG by anything but its score, whatever it shows, was refused: on the
    line it is NG, but nothing was found in it, so it counts in no figure. So is a web of
    which some lines were not inspected, whatever the others score.

    Parameters
    ----------
    tile_px
        Also judge squares of this side, each by the highest value of the map
        inside it: a defect tile is one whose mask has any pixel. Within-strip
        figures compare only tiles of the same image, so that a difference
        between images cannot pass for the detection of a defect.
    maps
        Takes the map of every image.
    cluster
        Whose workers judge the images; None: they are judged here, with the same figures.
    """
    threshold = pipeline.thresholds.ok
    tally = _DatasetTally(tile_px)
    if cluster is None:
        looks: Iterator[_Look] = (_look(pipeline, each) for each in enumerate(dataset.images))
    else:
        looks = _spread(cluster, pipeline.bundle, dataset)
    for number, (item, look) in enumerate(zip(dataset.images, looks, strict=True)):
        if isinstance(look, str):
            if maps:
                maps.add(number, item.name, _unread(pipeline, number, look))
            tally.refuse(item, look)
        else:
            judged, shape = look
            if maps:
                maps.add(number, item.name, judged, (shape[0], shape[1]))
            # Figures compare with the bundle's one threshold; maps are written as the box has them.
            tally.add(item, number, pipeline.in_one_measure(judged), shape)
        progress(number + 1, len(dataset))
    images = Scored(
        np.array([score for _, score, _ in tally.judged]),
        [item.kind for item, _, _ in tally.judged],
        np.arange(len(tally.judged)),
        np.array([rejected for _, _, rejected in tally.judged], bool),
    )
    tiles = _tile_summary(tally.tiles, dataset, threshold, tile_px) if tile_px else None
    return Evaluation(
        bundle=pipeline.bundle.label,
        images=images.summary(threshold),
        pixels=_pixel_summary(tally.maps, tally.masks),
        tiles=tiles,
        scores=tally.scores,
        good=[score for item, score, _ in tally.judged if item.kind == GOOD],
        ng=[score for item, score, _ in tally.judged if item.kind != GOOD],
        refused=tally.refused,
        notes=[*dataset.notes, *doubts(tally.marked)],
    )


# What came of an image: a verdict with the image's shape, or why it cannot be read.
_Look = tuple[Judgement, tuple[int, ...]] | str


def _look(pipeline: Pipeline | WebPipeline, numbered: tuple[int, Labelled]) -> _Look:
    number, item = numbered
    try:
        pixels = item.pixels()
    except ImageError as error:
        return str(error)
    return pipeline.judge_single(Frame(pixels, 0, number, item.name)), pixels.shape


def _unread(pipeline: Pipeline | WebPipeline, number: int, why: str) -> Judgement:
    """What the line says of a frame that came to nothing."""
    verdict = Verdict.unjudged(
        Reason.INCOMPLETE_FRAME,
        why,
        thresholds=pipeline.thresholds,
        bundle=pipeline.bundle.label,
        frame_index=number,
    )
    return Judgement(verdict, None)


def _spread(cluster: Workers, bundle: Bundle, dataset: Dataset) -> Iterator[_Look]:
    """The same by the workers of a cluster, which read the images from the same paths."""
    seen = [replace(item, file=item.file.absolute()) for item in dataset.images]
    numbered = list(enumerate(seen))
    pieces = (numbered[first : first + AT_ONCE] for first in range(0, len(numbered), AT_ONCE))
    for looks in cluster.in_order(_look_at, cluster.send(packed(bundle)), pieces):
        yield from looks


def _look_at(pack: bytes, numbered: list[tuple[int, Labelled]]) -> list[_Look]:
    pipeline = opened(pack)
    return [_look(pipeline, each) for each in numbered]


class _DatasetTally:
    """What the images of a dataset came to, one after the other.

    judged    every image that got a score, the score, and whether it is NG
    scores    of every image by name; None if it was refused
    tiles     (score, whether it shows a defect, number of its image)
    marked    by name, the share of its image that a mask marks
    """

    def __init__(self, tile_px: int | None) -> None:
        self._tile_px = tile_px
        self.judged: list[tuple[Labelled, float, bool]] = []
        self.refused: list[Refused] = []
        self.scores: dict[str, float | None] = {}
        self.maps: list[F32] = []
        self.masks: list[Mask] = []
        self.tiles: list[tuple[float, bool, int]] = []
        self.marked: dict[str, float] = {}

    def refuse(self, item: Labelled, why: str) -> None:
        """Count an image that was not judged."""
        self.refused.append(Refused(item.name, item.kind, why))
        self.scores[item.name] = None

    def add(self, item: Labelled, number: int, judged: Judgement, shape: tuple[int, ...]) -> None:
        """Count the verdict about an image of that shape."""
        verdict, score = judged.verdict, judged.verdict.score
        if score is None or not np.isfinite(score) or not verdict.by_its_score:
            self.refuse(item, f"{verdict.reason}: {verdict.detail}")
            return
        self.scores[item.name] = score
        self.judged.append((item, score, verdict.outcome is not Outcome.OK))
        mask = np.zeros(shape[:2], bool) if item.kind == GOOD else None
        if item.mask is not None:
            mask = drawn_defect(item.mask, shape, item.turn_deg)
            self.marked[item.name] = float(mask.mean())
        if judged.score_map is None or mask is None:
            return
        full = upsample(judged.score_map, *mask.shape)
        if item.kind == GOOD or mask.any():
            self.maps.append(full)
            self.masks.append(mask)
        if self._tile_px:
            self.tiles.extend((*tile, number) for tile in _tiles(full, mask, self._tile_px))


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


def _pixel_summary(maps: list[F32], masks: list[Mask]) -> dict[str, Any]:
    compared = any(mask.any() for mask in masks) and not all(mask.all() for mask in masks)
    return {
        "auroc": pixel_auroc(maps, masks) if compared else None,
        "aupro": aupro(maps, masks) if compared else None,
        "pro": pro_curve(maps, masks) if compared else None,
        "images": len(maps),
    }


def _tile_summary(
    tiles: list[tuple[float, bool, int]], dataset: Dataset, threshold: float, side: int
) -> dict[str, Any] | None:
    if not tiles or not any(bad for _, bad, _ in tiles):
        return None
    values = np.array([score for score, _, _ in tiles])
    groups = np.array([image for _, _, image in tiles], np.intp)
    bad = np.array([is_bad for _, is_bad, _ in tiles])
    kinds = [dataset.images[image].kind if is_bad else GOOD for _, is_bad, image in tiles]
    # A scratch all along its strip leaves nothing good to compare it with.
    mixed = any(0 < bad[groups == image].sum() < (groups == image).sum() for image in set(groups))
    within = asdict(within_group_auroc(values, bad, groups)) if mixed else None
    summary = Scored(values, kinds, groups, values > threshold).summary(threshold)
    return {**summary, "side_px": side, "within_image": within}
