"""Proposed neighbours against the exhaustive search, over every frame of a data set.

    python benchmarks/agreement.py BUNDLE ../shared/data/mtd --json agreement.json

The same features go through both. `verdicts that differ` must be 0.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from kenpin.camera.files.listing import list_images
from kenpin.compile.good_images.images import load
from kenpin.compile.metrics.scores import auroc
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.judging.join import Joiner, smooth
from kenpin.runtime.judging.network import load_engine, load_mask
from kenpin.runtime.judging.scoring import load_scorer
from kenpin.runtime.judging.tiling import TileGrid


def main() -> int:
    """Print the agreement; write JSON if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", type=Path, help="with test/good and test/<defect>")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = compare(read_bundle(options.bundle), options.data)
    for name, value in found.items():
        print(f"{name:44} {value}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    return 0 if found["verdicts that differ"] == 0 else 1


def compare(bundle: Bundle, data: Path) -> dict[str, float | int | str]:
    """How far the two searches agree."""
    m = bundle.manifest
    grid = TileGrid.of(m.frame, m.tiles)
    engine = load_engine(bundle, None)
    searches = [
        load_scorer(bundle.arrays, m.method, m.features, grid, exhaustive=exhaustive)
        for exhaustive in (False, True)
    ]
    joiner = Joiner(grid, m.features.patch_stride_px)
    mask = load_mask(bundle.arrays, grid, m.features.patch_stride_px)
    scores: list[list[float]] = [[], []]
    labels: list[bool] = []
    patches = wrong = 0
    most = 0.0
    for folder in sorted((data / "test").iterdir()):
        for file in list_images(folder):
            pixels = load(file, m.frame)

            def fill(first: int, batch: np.ndarray, pixels: np.ndarray = pixels) -> int:
                return grid.fill(pixels, range(len(grid))[first:], batch)

            features, _ = engine.features(fill, len(grid))
            proposed, exhaustive = (search.distances(features) for search in searches)
            labels.append(folder.name != "good")
            patches += exhaustive.values.size
            excess = proposed.values / np.maximum(exhaustive.values, 1e-6) - 1
            wrong += int((excess > 1e-5).sum())
            most = max(most, float(excess.max()))
            for kept, found in zip(scores, (proposed, exhaustive), strict=True):
                joined = smooth(joiner.join(found.values), m.score.smooth_sigma_px, mask)
                kept.append(float(joined.values.max()) if found.score is None else found.score)
    a, b = np.array(scores)
    truth = np.array(labels)
    t = m.threshold
    differ = ((a <= t.ok) != (b <= t.ok)) | ((a <= t.ng) != (b <= t.ng))
    return {
        "bundle": bundle.label,
        "frames": len(truth),
        "patches": patches,
        "share of patches with a farther row": round(wrong / patches, 5),
        "largest excess of a patch's distance": round(most, 5),
        "largest change of a frame's score": round(float(np.abs(a / b - 1).max()), 6),
        "verdicts that differ": int(differ.sum()),
        "AUROC proposed": round(auroc(a, truth), 5),
        "AUROC exhaustive": round(auroc(b, truth), 5),
    }


if __name__ == "__main__":
    sys.exit(main())
