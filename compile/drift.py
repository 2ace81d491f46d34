"""What the good images look like, for the box that watches whether frames still do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kenpin.compile.build_task import BuildTask
from kenpin.compile.operating_point.good_scores import GoodScores
from kenpin.runtime.bundles.manifest import DriftRecord
from kenpin.runtime.drift.look import QUANTITIES, PictureLook, look_at, mean_features
from kenpin.runtime.drift.material import Material
from kenpin.runtime.drift.reference import COLUMNS, MATERIAL
from kenpin.runtime.judging.blend import Look as Bands
from kenpin.runtime.judging.pipeline import Stages
from kenpin.runtime.judging.scoring import TileDistances

__all__ = ["drift_record", "independent"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

# More looks would tell a range of good images no better, and cost a second each hundred.
_MOST_LOOKS = 200
_FEWEST_LOOKS = 3
# Good material is judged by statistics of the other folds.
_FOLDS = 10
# What lamp and focus do to features is tried on so many of the looks.
_TRIED = 6
_GAINS = (0.5, 0.75, 1.3, 1.7)
_BLURS_PX = (0.7, 1.2, 2.0, 3.0)


def drift_record(task: BuildTask, good: GoodScores) -> DriftRecord | None:
    """Look at the good images, and write what the box compares with into the bundle's folder.

    Odd images show no range of good ones. None if there are too few others.
    """
    places = _places(good)
    if len(places) < _FEWEST_LOOKS:
        return None
    with task.steps.step("look at light, focus and material") as progress:
        eyes = _Eyes(task)
        looks: list[PictureLook] = []
        heard: list[F32] = []
        moved: list[list[F32]] = []
        tried = set(np.linspace(0, len(places) - 1, min(_TRIED, len(places))).astype(int))
        for pixels, strips in _pictures(task, places):
            rows = eyes.rows(pixels)
            for strip in strips:
                block = _block(task, pixels, strip)
                if len(looks) in tried:
                    moved.append(_moved(eyes, block))
                looks.append(look_at(block))
                heard.append(rows[min(strip, len(rows) - 1)])
                progress(len(looks), len(places))
    features = np.array(heard, np.float32)
    directions = np.array(moved, np.float32).mean(axis=0)
    parts = [task.images.parts.of(web, strip) for web, strip in places]
    apart = _held_out(features, directions, parts)
    values = np.array([one.values for one in looks])
    columns = np.array([one.columns for one in looks])
    np.save(task.folder / "drift_columns.npy", np.array([columns.min(axis=0), columns.max(axis=0)]))
    for name, array in Material.fitted(features, directions).arrays.items():
        np.save(task.folder / f"{name}.npy", array)
    most = float(len(set(parts))) if task.images.parts.how == "group" else np.inf
    series = dict(zip(QUANTITIES, values.T, strict=True))
    series |= {COLUMNS: columns.T, MATERIAL: apart}
    low, middle, high = values.min(axis=0), np.median(values, axis=0), values.max(axis=0)
    limits = zip(low.tolist(), middle.tolist(), high.tolist(), strict=True)
    return DriftRecord(
        looks=len(looks),
        independent={name: min(most, independent(found)) for name, found in series.items()},
        limits=dict(zip(QUANTITIES, limits, strict=True)),
        material=float(apart.max()),
    )


def independent(series: NDArray[Any]) -> float:
    """As how many independent values some values in a row count.

    Their number over the integrated autocorrelation time: one lamp that warms up through
    forty photographs has not shown forty brightnesses.

    Parameters
    ----------
    series : (n,) or (quantities, n)
        Of several quantities the mean autocorrelation counts.

    References
    ----------
    Sokal, Monte Carlo Methods in Statistical Mechanics, 1996, section 3; the sum ends
    before the first lag that is not positive.
    """
    rows = np.atleast_2d(np.asarray(series, np.float64))
    rows = rows - rows.mean(axis=1, keepdims=True)
    count = rows.shape[1]
    variances = np.square(rows).sum(axis=1)
    rows, variances = rows[variances > 0], variances[variances > 0]
    if not len(rows):
        return 1.0
    time = 1.0
    for lag in range(1, count // 2):
        alike = float(((rows[:, lag:] * rows[:, :-lag]).sum(axis=1) / variances).mean())
        if alike <= 0:
            break
        time += 2 * alike
    return float(count / time)


class _Eyes:
    """Mean features of a picture, as the box's own steps hear them."""

    def __init__(self, task: BuildTask) -> None:
        self._heard: list[F32] = []
        self._stages = task.bench.stages(_Hears(self._heard), Bands((), task.stride_px))

    def rows(self, pixels: NDArray[Any]) -> list[F32]:
        """(D,) float32 of an image of a part, or of each tile row of a web."""
        self._heard.clear()
        if isinstance(self._stages, Stages):
            self._stages.measure(pixels)
        else:
            for _ in self._stages.pieces([pixels]):
                pass
        return list(self._heard)


class _Hears:
    """A `Scorer` that measures nothing, and keeps the mean features of all that it is given."""

    search = None

    def __init__(self, heard: list[F32]) -> None:
        self._heard = heard

    def distances(self, features: F32, rows: NDArray[np.intp] | None = None) -> TileDistances:  # noqa: ARG002
        """Zeros."""
        self._heard.append(mean_features(features))
        return TileDistances(np.zeros(features.shape[:3], np.float32))


def _places(good: GoodScores) -> list[tuple[int, int]]:
    """Image, or web and strip, of what is looked at: evenly over all that is not odd."""
    plain = [place for place, one in zip(good.places, good.records, strict=True) if not one.odd]
    count = min(len(plain), _MOST_LOOKS)
    return [plain[number * len(plain) // count] for number in range(count)]


def _pictures(
    task: BuildTask, places: Sequence[tuple[int, int]]
) -> Iterator[tuple[NDArray[Any], list[int]]]:
    """Each image or web that has places, whole, and which of its strips they are."""
    for web, chosen in groupby(places, key=lambda place: place[0]):
        blocks = [task.bench.load(file) for file in task.images.webs[web]]
        pixels = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        yield pixels, [strip for _, strip in chosen]


def _block(task: BuildTask, pixels: NDArray[Any], strip: int) -> NDArray[Any]:
    """What the box looks at at once: an image of a part, or the lines of a strip's core."""
    if not task.strips:
        return pixels
    first = min(strip * task.grid.stride, max(0, len(pixels) - task.grid.core))
    return pixels[first : first + task.grid.core]


def _moved(eyes: _Eyes, pixels: NDArray[Any]) -> list[F32]:
    """How a picture's mean features change in other lights, and out of focus."""
    changed = [cv2.convertScaleAbs(pixels, alpha=gain) for gain in _GAINS]
    changed += [cv2.GaussianBlur(pixels, (0, 0), sigma) for sigma in _BLURS_PX]
    before = np.mean(eyes.rows(pixels), axis=0)
    return [np.mean(eyes.rows(np.asarray(one)), axis=0) - before for one in changed]


def _held_out(features: F32, moved: F32, parts: Sequence[int]) -> F64:
    """(n,) distances, each by statistics that have seen nothing of its fold's parts."""
    names = list(dict.fromkeys(parts))
    fold_of = {part: at * min(_FOLDS, len(names)) // len(names) for at, part in enumerate(names)}
    folds = np.array([fold_of[part] for part in parts])
    found = np.zeros(len(features))
    for fold in np.unique(folds):
        others = features[folds != fold]
        # Of very few parts, one may hold nearly all looks.
        fitted = Material.fitted(others if len(others) >= _FEWEST_LOOKS else features, moved)
        found[folds == fold] = [fitted.distance(one) for one in features[folds == fold]]
    return found
