"""What a threshold would do: all scores that a reader counts while the line is dragged."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from kenpin.config.threshold import ThresholdSpec
from kenpin.runtime.bundles.manifest import Manifest
from kenpin.runtime.bundles.operating_point import operating_point, rejection_bounds
from kenpin.runtime.service.sides.page.archived import ReviewedScores

__all__ = ["threshold_tree"]


def threshold_tree(
    name: str,
    manifest: Manifest,
    seen: Sequence[tuple[float, str]],
    reviewed: ReviewedScores,
    alike: Collection[str],
) -> dict[str, Any]:
    """Scores of good images, of drawn defects, of NG images, of reviewed and of the last frames.

    of            the bundle's folder, which whoever changes its threshold names
    default       the threshold that keeps the default promise, to go back to
    worth, extrapolated
                  see `rejection_bounds`
    alike         bundles that score as the one in force does: the others' frames are left out
    """
    plain = [one for one in manifest.good_scores if not one.odd]
    scores, parts = [one.score for one in plain], [one.part for one in plain]
    kinds = dict.fromkeys(twin.kind for twin in manifest.twin_scores)

    def own(scored: Sequence[tuple[float, str]]) -> list[float]:
        return [score for score, bundle in scored if bundle in alike]

    return {
        "of": name,
        "ok": manifest.threshold.ok,
        "ng": manifest.threshold.ng,
        "source": manifest.threshold.source,
        "default": operating_point(scores, parts, ThresholdSpec().false_rejects).threshold,
        "good": scores,
        **rejection_bounds(scores, parts, manifest.threshold.settings.false_rejects),
        "twins": {
            kind: [s for twin in manifest.twin_scores if twin.kind == kind for s in twin.scores]
            for kind in kinds
        },
        "ng_scores": list(manifest.ng_scores.values()),
        "reviewed_good": own(reviewed.good),
        "reviewed_defects": own(reviewed.defect),
        "reviewed_others": sum(b not in alike for _, b in [*reviewed.good, *reviewed.defect]),
        "seen": own(seen),
        "alike": sorted(alike),
    }
