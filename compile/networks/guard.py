"""The guard of INT8: a quantised network must still see what it was built to find."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kenpin.compile.good_images.images import load
from kenpin.compile.methods.fitting import fitting_of
from kenpin.compile.metrics.scores import auroc
from kenpin.compile.networks.number_range import expect_in_range
from kenpin.compile.networks.twins import TWIN_KINDS, twin
from kenpin.config.errors import ConfigError
from kenpin.config.frame import FrameSpec
from kenpin.config.methods import MethodSettings
from kenpin.config.recipe import QuantizeSpec
from kenpin.runtime.bundles.manifest import QuantizationRecord
from kenpin.runtime.judging.engine import Engine
from kenpin.runtime.judging.imported import ImportedScorer
from kenpin.runtime.judging.lamp import Lamp
from kenpin.runtime.judging.scoring import Scorer
from kenpin.runtime.judging.tiling import TileGrid

__all__ = [
    "QuantizationError",
    "compare",
    "sample_tiles",
    "share_kept",
    "tile_features",
    "with_twins",
]

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
# (N, C, S, S) tiles to (N, cells, cells, D) features.
Run = Callable[[U8], F32]


class QuantizationError(Exception):
    """INT8 sees defects worse than the recipe allows."""


def sample_tiles(
    files: list[Path],
    grid: TileGrid,
    frame: FrameSpec,
    count: int,
    rng: np.random.Generator,
    turn_deg: int,
    lamp: Lamp,
    *,
    in_order: bool = False,
) -> U8:
    """(count, C, S, S) uint8: random tiles of random images, of any tile row of a web.

    Evened out as a whole, which is nearly what a window of a web is on the box.
    `in_order`: not random tiles, but those of a frame one after the other, again and again.
    """
    tiles = np.empty((count, frame.channels, grid.size, grid.size), np.uint8)
    order = np.resize(rng.permutation(len(files)), count)
    web = frame.geometry == "continuous"
    numbers = rng.random(count) if web else rng.integers(len(grid), size=count)
    if in_order:
        numbers = np.arange(count) % len(grid)
    # Each image is read once, however many tiles it gives.
    for index in np.unique(order):
        pixels = lamp.even(load(files[index], frame, turn_deg))
        whole = replace(grid, height=len(pixels)) if web else grid
        for slot in np.flatnonzero(order == index):
            number = int(numbers[slot] * len(whole)) if web else int(numbers[slot])
            whole.fill(pixels, [number], tiles[slot : slot + 1])
    return tiles


def with_twins(tiles: U8, halo_px: int, rng: np.random.Generator) -> U8:
    """An anomaly twin of every tile, the kinds in turn."""
    return np.stack(list(_twins(tiles, halo_px, rng)))


def _twins(tiles: U8, halo_px: int, rng: np.random.Generator) -> Iterator[U8]:
    for number, tile in enumerate(tiles):
        kind = TWIN_KINDS[number % len(TWIN_KINDS)]
        pasted = twin(tile.transpose(1, 2, 0), kind, rng, halo_px)
        yield pasted.reshape(tile.shape[1], tile.shape[2], -1).transpose(2, 0, 1)


def compare(
    fp32: Engine,
    int8: Engine | None,
    normals: U8,
    halo_px: int,
    method: MethodSettings,
    settings: QuantizeSpec,
    seed: int,
) -> QuantizationRecord:
    """Score the same normals and twins by both precisions.

    Half of the normals fit a small model of the recipe's method, on each
    precision's own features; the other half and its twins are scored. A
    tile's score is its largest distance.

    Parameters
    ----------
    int8
        None when the recipe asks for FP32: then only that column is filled.
    normals : (N, C, S, S) uint8

    Raises
    ------
    ConfigError
        If the network gives values that are no numbers, or too large or small to compute with.
    QuantizationError
        If INT8's scores of any kind of twin shrink below `min_score_ratio` of
        FP32's (the median of the kind: one odd twin must not fail a recipe),
        or twins and normals lose more than `max_separation_loss` of AUROC.
    """
    trial = _Trial.of(normals, halo_px, method, seed)
    engines: dict[Literal["fp32", "int8"], Engine] = {"fp32": fp32}
    if int8 is not None:
        engines["int8"] = int8
    scores: dict[Literal["fp32", "int8"], dict[Literal["normals", "twins"], list[float]]] = {}
    separation: dict[Literal["fp32", "int8"], float] = {}
    for name, engine in engines.items():
        good, bad = trial.scores(partial(tile_features, engine))
        scores[name] = {"normals": good, "twins": bad}
        separation[name] = _separation(good, bad)
    ratios = {} if int8 is None else _ratios(scores["fp32"]["twins"], scores["int8"]["twins"])
    record = QuantizationRecord(
        settings=settings, scores=scores, score_ratios=ratios, separation=separation
    )
    _enforce(record)
    return record


@dataclass(frozen=True, eq=False)
class _Trial:
    """Tiles that two precisions of one network are compared on.

    probes  normals that a small model of the recipe's method is fitted on
    normals, twins
            that it scores
    """

    probes: U8
    normals: U8
    twins: U8
    method: MethodSettings
    seed: int

    @classmethod
    def of(cls, tiles: U8, halo_px: int, method: MethodSettings, seed: int) -> _Trial:
        """Half of the tiles fit, the other half and its twins are scored."""
        half = len(tiles) // 2
        twins = with_twins(tiles[half:], halo_px, np.random.default_rng(seed))
        return cls(tiles[:half], tiles[half:], twins, method, seed)

    def scores(self, run: Run) -> tuple[list[float], list[float]]:
        """Scores of the normals and of the twins, on a network's own features."""
        probe = fitting_of(self.method).probe
        probes = _numbers(run(self.probes), "good tiles")
        normals = _numbers(run(self.normals), "good tiles")
        twins = _numbers(run(self.twins), "good tiles with a drawn defect")
        expect_in_range((probes, normals, twins), self.method)
        scorer = probe(self.method, probes, np.random.default_rng(self.seed))
        return _scores(normals, scorer), _scores(twins, scorer)


def share_kept(
    fp32: Engine, normals: U8, halo_px: int, method: MethodSettings, seed: int
) -> Callable[[Run], float]:
    """What tells of a network how much of FP32's scores it keeps: 1 is all.

    The lowest ratio of any kind of twin, less the separation that is lost.
    """
    trial = _Trial.of(normals, halo_px, method, seed)
    good, bad = trial.scores(partial(tile_features, fp32))
    separation = _separation(good, bad)

    def kept(run: Run) -> float:
        own_good, own_bad = trial.scores(run)
        lost = max(0.0, separation - _separation(own_good, own_bad))
        return min(1.0, *_ratios(bad, own_bad).values()) - lost

    return kept


def _numbers(features: F32, what: str) -> F32:
    """The features of tiles, none of which is NaN or infinite."""
    count = int((~np.isfinite(features).reshape(len(features), -1).all(axis=1)).sum())
    if count:
        raise ConfigError(
            f"the network gives values that are no numbers (NaN or infinite) for {count} of "
            f"{len(features)} {what}; a division by nothing, a logarithm of 0, or a training that "
            "diverged: mend the network, or train it again at a lower rate"
        )
    return features


def _separation(good: list[float], bad: list[float]) -> float:
    return auroc(np.array(good + bad), np.repeat([False, True], [len(good), len(bad)]))


def _ratios(fp32: list[float], int8: list[float]) -> dict[str, float]:
    """INT8's score over FP32's of the same twin: the median of each kind."""
    wide, narrow = np.array(fp32), np.array(int8)
    # What FP32 does not see either, no precision can lose.
    each = np.divide(narrow, wide, out=np.ones_like(wide), where=wide > 0)
    kinds = len(TWIN_KINDS)
    return {kind: float(np.median(each[n::kinds])) for n, kind in enumerate(TWIN_KINDS)}


def _enforce(record: QuantizationRecord) -> None:
    if not record.score_ratios:
        return
    limits = record.settings
    remedy = (
        "calibrate on normals and twins (`quantize.calibrate_on`), with more "
        "`quantize.calibration_tiles`, or set `quantize.precision` to fp32"
    )
    worst = min(record.score_ratios, key=lambda kind: record.score_ratios[kind])
    if not record.score_ratios[worst] >= limits.min_score_ratio:
        raise QuantizationError(
            f"INT8 shrinks the scores of pasted defects (kind {worst}) to "
            f"{record.score_ratios[worst]:.2f} of FP32's, allowed is "
            f"{limits.min_score_ratio:.2f}; {remedy}"
        )
    loss = record.separation["fp32"] - record.separation["int8"]
    if not loss <= limits.max_separation_loss:
        raise QuantizationError(
            f"INT8 separates pasted defects from normals with AUROC "
            f"{record.separation['int8']:.3f}, FP32 with {record.separation['fp32']:.3f}; "
            f"allowed is a loss of {limits.max_separation_loss:.3f}; {remedy}"
        )


def tile_features(engine: Engine, tiles: U8) -> F32:
    """(N, cells, cells, D) features of (N, C, S, S) tiles."""

    def fill(first: int, batch: U8) -> int:
        part = tiles[first : first + len(batch)]
        batch[: len(part)] = part
        return len(part)

    return engine.features(fill, len(tiles))[0]


def _scores(features: F32, scorer: Scorer) -> list[float]:
    # Distances one tile at a time: a scorer expects the tiles of one frame.
    found = [scorer.distances(one[None]) for one in features]
    if isinstance(scorer, ImportedScorer) and scorer.spec.own_score:
        # Its network's score is an image's, and the map only says where.
        return [float(f.score) for f in found if f.score is not None]
    return [float(f.values.max()) for f in found]
