"""Where OK ends: thresholds from scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kenpin.compile.metrics import best_f1
from kenpin.config.errors import ConfigError
from kenpin.config.recipe import ThresholdSpec
from kenpin.runtime.bundles.bundle import ThresholdRecord

__all__ = ["by_hand", "calibrate"]


def calibrate(spec: ThresholdSpec, good: Sequence[float], ng: Sequence[float]) -> ThresholdRecord:
    """The thresholds that a recipe's method gives.

    Parameters
    ----------
    good
        Image scores of held-out good frames.
    ng
        Image scores of NG frames, for method "f1".

    Raises
    ------
    ConfigError
        If a score is not finite or a method lacks its scores.
    """
    if not all(math.isfinite(score) for score in (*good, *ng)):
        raise ConfigError("a held-out or NG image has no finite score; look at the images")
    if spec.method == "fixed":
        if spec.ok is None:
            raise ConfigError('threshold method "fixed" needs `ok`')
        ng_at = spec.ok if spec.ng is None else spec.ng
        return ThresholdRecord(ok=spec.ok, ng=ng_at, source="fixed by the recipe", settings=spec)
    if not good or (spec.method == "f1" and not ng):
        raise ConfigError(
            f'threshold method "{spec.method}" has {len(good)} good and {len(ng)} NG scores; '
            "hold out some good images, and for f1 give NG images too"
        )
    if spec.method == "f1":
        scores = np.array([*good, *ng])
        at, f1 = best_f1(scores, np.repeat([False, True], [len(good), len(ng)]))
        source = f"best F1 {f1:.3f} over {len(good)} good and {len(ng)} NG images"
        return _banded(max(0.0, at), source, spec)
    at = _quantile(sorted(good), spec.false_reject_rate)
    source = (
        f"{1 - spec.false_reject_rate:.4%} quantile of {len(good)} held-out good images "
        f"plus {spec.margin:.0%}"
    )
    if len(good) * spec.false_reject_rate < 1:
        source += f"; so few say little about one in {1 / spec.false_reject_rate:.0f}"
    return _banded(at * (1 + spec.margin), source, spec)


def by_hand(old: ThresholdRecord, ok: float, ng: float | None) -> ThresholdRecord:
    """Thresholds set by a person on a finished bundle."""
    settings = ThresholdSpec(method="fixed", ok=ok, ng=ng)
    return ThresholdRecord(
        ok=ok,
        ng=ok if ng is None else ng,
        source=f"set by hand; before: {old.ok:.6g} and {old.ng:.6g}, {old.source}",
        settings=settings,
    )


def _banded(ok: float, source: str, spec: ThresholdSpec) -> ThresholdRecord:
    return ThresholdRecord(ok=ok, ng=ok * (1 + spec.unsure_band), source=source, settings=spec)


def _quantile(ordered: list[float], rate: float) -> float:
    # The smallest score that rejects no more than `rate` of what was seen:
    # never interpolated between two, which would reject the upper one.
    allowed = math.floor(rate * len(ordered))
    return ordered[len(ordered) - 1 - allowed]
