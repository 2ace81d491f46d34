"""A threshold that no score lies above: refused, for then everything would be OK."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kenpin.config.errors import ConfigError
from kenpin.config.imported import ImportedSpec
from kenpin.config.methods import MethodSettings
from kenpin.runtime.bundles.manifest import (
    GoldenFrame,
    QuantizationRecord,
    ThresholdRecord,
    TwinScores,
)

__all__ = ["expect_within_reach"]


def expect_within_reach(
    method: MethodSettings,
    threshold: ThresholdRecord,
    guard: QuantizationRecord,
    golden: Sequence[GoldenFrame],
    twins: Iterable[TwinScores],
    ng: Iterable[float],
) -> None:
    """See that a network of somebody else's puts some defect above the threshold.

    Its numbers may end where nobody sees it: what Anomalib exports ends at 1, and a threshold
    that is extrapolated from a few good images may lie beyond.

    Parameters
    ----------
    guard, golden, twins
        Loud and faint defects that were drawn into good images.
    ng
        Scores of NG images, if there are any.

    Raises
    ------
    ConfigError
        If none of them lies above it.
    """
    if not isinstance(method, ImportedSpec):
        return
    drawn = [one.score for one in golden if one.kind == "twin"]
    drawn += [score for kind in twins for score in kind.scores]
    # Tiles that have a threshold each are in another measure before.
    if threshold.settings.each == "frame":
        drawn += [score for found in guard.scores.values() for score in found["twins"]]
    shown = [*drawn, *ng]
    highest = max(shown)
    if highest > threshold.ok:
        return
    beside = f" and {len(shown) - len(drawn)} NG images" if len(shown) > len(drawn) else ""
    remedy = (
        "give more good images or a larger threshold.false_rejects, so that the threshold is "
        'lower; or choose it, with threshold.method "fixed"'
    )
    if threshold.settings.method == "fixed":
        remedy = "choose a lower threshold.ok"
    elif threshold.settings.method == "cost":
        remedy = "give a larger threshold.escape_cost, so that the threshold is lower"
    other = "lower" if method.worse == "higher" else "higher"
    raise ConfigError(
        f"nothing would be NG: OK ends at {threshold.ok:.6g} ({threshold.source}), and of "
        f"{len(drawn)} drawn defects{beside} the network gives the highest {highest:.6g}, "
        f"which may be where its numbers end; {remedy}; if they are {other} where it is worse, set "
        f'method.worse to "{other}"; if it only sees defects that nobody draws, show some in '
        "images.ng"
    )
