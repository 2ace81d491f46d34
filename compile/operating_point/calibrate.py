"""Where OK ends: thresholds from scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kenpin.compile.metrics.scores import best_f1, midway
from kenpin.config.errors import ConfigError
from kenpin.config.recipe import ThresholdSpec
from kenpin.runtime.bundles.manifest import GoodScore, ThresholdRecord
from kenpin.runtime.bundles.operating_point import Point, operating_point
from kenpin.runtime.bundles.promise import promise

__all__ = ["calibrate"]


def calibrate(
    spec: ThresholdSpec, good: Sequence[GoodScore], ng: Sequence[float], *, strips: bool = False
) -> ThresholdRecord:
    """The thresholds that a recipe's method gives.

    Parameters
    ----------
    good
        Good images, each scored without its own part; odd ones set no threshold.
    ng
        Image scores of NG frames, for methods "f1" and "cost".
    strips
        Each score is that of a strip of a web.

    Raises
    ------
    ConfigError
        If a score is not finite or a method lacks its scores.
    """
    broken = [one.name for one in good if not math.isfinite(one.score)]
    if broken or not all(map(math.isfinite, ng)):
        named = f"{', '.join(broken[:3])} of the good images" if broken else "an NG image"
        raise ConfigError(f"{named}: no finite score; look at it, or leave it out")
    if spec.method == "fixed":
        assert spec.ok is not None, "the settings were validated"
        ng_at = spec.ok if spec.ng is None else spec.ng
        usual = _usual(good)
        return ThresholdRecord(
            ok=spec.ok, ng=ng_at, source="fixed by the recipe", settings=spec, usual=usual
        )
    typical = [one for one in good if not one.odd]
    if not typical or (spec.method != "false_rejects" and not ng):
        raise ConfigError(
            f'threshold method "{spec.method}" has {len(typical)} good and {len(ng)} NG scores; '
            "give good images, and for f1 and cost NG images too"
        )
    if spec.method == "false_rejects":
        point = _point(typical, spec)
        with_odd = _point(good, spec).threshold if len(good) > len(typical) else None
        record = _record(spec, typical, point.threshold, promise(point, strips=strips), point.rule)
        changed = {"at_most": point.at_most, "with_odd": with_odd}
        return record.model_copy(update=changed)
    scores = np.array([*(one.score for one in typical), *ng])
    bad = np.repeat([False, True], [len(typical), len(ng)])
    of = f"over {len(typical)} good and {len(ng)} NG images"
    if spec.method == "f1":
        at, f1 = best_f1(scores, bad)
        return _record(spec, typical, max(0.0, at), f"best F1 {f1:.3f} {of}", "f1")
    assert spec.escape_cost is not None, "the settings were validated"
    at, rejected, escaped = _cheapest(scores, bad, spec.escape_cost, spec.ng_share)
    source = (
        f"cheapest {of}, where one escape costs as much as {spec.escape_cost:g} false rejects and "
        f"{spec.ng_share:.3g} of all parts are NG: {rejected} good images are rejected, "
        f"{escaped} NG ones escape"
    )
    return _record(spec, typical, at, source, "cost")


def _point(good: Sequence[GoodScore], spec: ThresholdSpec) -> Point:
    return operating_point(
        [one.score for one in good], [one.part for one in good], spec.false_rejects
    )


def _usual(good: Sequence[GoodScore]) -> float:
    return float(np.median([one.score for one in good])) if good else 0.0


def _record(
    spec: ThresholdSpec, good: Sequence[GoodScore], ok: float, source: str, rule: str
) -> ThresholdRecord:
    return ThresholdRecord.model_validate(
        {
            "ok": ok,
            "ng": ok * (1 + spec.unsure_band),
            "source": source,
            "settings": spec,
            "rule": rule,
            "usual": _usual(good),
        }
    )


def _cheapest(
    scores: NDArray[np.float64], bad: NDArray[np.bool_], escape_cost: float, ng_share: float
) -> tuple[float, int, int]:
    """The threshold of the least expected cost a part, and whom it rejects and lets pass.

    The highest of several: it rejects the fewest.
    """
    levels = np.unique(scores)
    good, ng = np.sort(scores[~bad]), np.sort(scores[bad])
    rejected = len(good) - np.searchsorted(good, levels, "right")
    escaped = np.searchsorted(ng, levels, "right")
    cost = (1 - ng_share) * rejected / len(good) + ng_share * escape_cost * escaped / len(ng)
    best = len(levels) - 1 - int(np.argmin(cost[::-1]))
    at = float(levels[best])
    if best + 1 < len(levels):
        at = midway(at, float(levels[best + 1]))
    return at, int(rejected[best]), int(escaped[best])
