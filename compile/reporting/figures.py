"""The figures of a report: what a person wants to know before the bundle goes to a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.camera.files.listing import name_in
from kenpin.compile.evaluation.trade import found
from kenpin.compile.good_images.images import GoodImages
from kenpin.compile.reporting.advice import Advice
from kenpin.compile.reporting.seen import Seen
from kenpin.compile.reporting.speed import Speed
from kenpin.config.recipe import Recipe
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.manifest import Manifest
from kenpin.runtime.bundles.operating_point import operating_point, rejection_bounds

__all__ = ["bundle_tree", "images_tree", "seen_tree"]

F32 = NDArray[np.float32]

# Rates of false rejects that the operating curve is drawn at.
RATES = tuple(float(rate) for rate in np.geomspace(0.001, 0.2, 19))


def bundle_tree(bundle: Bundle) -> dict[str, Any]:
    """What a report says of a bundle, whatever the report is about."""
    m = bundle.manifest
    return {
        "schema": 1,
        "name": m.name,
        "label": bundle.label,
        "versions": m.versions,
        "web": m.frame.geometry == "continuous",
        "frame": m.frame.model_dump(mode="json"),
        "tiles": m.tiles.model_dump(mode="json"),
        "features": m.features.model_dump(mode="json"),
        "method": m.method.model_dump(mode="json", exclude_none=True),
        "maps": None if m.blend is None else m.blend.chosen,
        "threshold": m.threshold.model_dump(mode="json"),
        "grey": m.grey.model_dump(mode="json"),
        "good": good_tree(m),
        "twins": [twin.model_dump(mode="json") for twin in m.twin_scores],
        "ng": [{"name": name, "score": score} for name, score in m.ng_scores.items()],
        "curve": curve(m),
    }


def good_tree(manifest: Manifest) -> dict[str, Any]:
    """The good images' scores, how many independent ones they are worth, and their tail."""
    typical = [one for one in manifest.good_scores if not one.odd]
    scores, parts = [one.score for one in typical], [one.part for one in typical]
    return {
        "scores": [one.model_dump(mode="json") for one in manifest.good_scores],
        **rejection_bounds(scores, parts, manifest.threshold.settings.false_rejects),
    }


def curve(manifest: Manifest) -> list[dict[str, Any]]:
    """The operating curve: thresholds for many rates, and what each finds."""
    typical = [one for one in manifest.good_scores if not one.odd]
    scores, parts = [one.score for one in typical], [one.part for one in typical]
    points = []
    for rate in RATES:
        point = operating_point(scores, parts, rate)
        kinds = found(manifest.twin_scores, point.threshold, lambda twin: twin.kind)
        points.append(
            {
                "rate": rate,
                "threshold": point.threshold,
                "at_most": point.at_most,
                "rule": point.rule,
                "found": {kind: share.tree() for kind, share in kinds.items()},
            }
        )
    return points


def images_tree(images: GoodImages, recipe: Recipe) -> dict[str, Any]:
    """How many images, what each shows, and what was left out and why."""
    left_out = [{"name": name, "why": "named in images.exclude"} for name in recipe.images.exclude]
    left_out += [
        {"name": name_in(images.folder, file), "why": "is no image"} for file in images.others
    ]
    return {
        "folder": str(images.folder),
        "count": len(images.files),
        "parts": len(images.parts),
        "how": images.parts.how,
        "kept": list(recipe.images.keep),
        "left_out": left_out,
    }


def seen_tree(seen: Seen, advice: Sequence[Advice], speed: Speed, bundle: Bundle) -> dict[str, Any]:
    """What was only measured along the way."""
    return {
        "kind": "build",
        "advice": [one.tree() for one in advice],
        "positions": {"mean": _rounded(seen.mean), "spread": _rounded(seen.spread)},
        "speed": speed.tree(),
        "memory": {
            "statistics_mib": sum(array.nbytes for array in bundle.arrays.values()) / 2**20,
            "bundle_mib": sum(
                (bundle.folder / name).stat().st_size for name in bundle.manifest.files
            )
            / 2**20,
        },
    }


def _rounded(values: F32) -> list[list[float]]:
    return [[float(f"{value:.4g}") for value in row] for row in values]
