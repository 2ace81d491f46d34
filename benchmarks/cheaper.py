"""Which network gives the most megapixels a second at equal accuracy: backbone, layers, grid, tile.

    python benchmarks/cheaper.py --networks .cache/cheaper
    ONEDNN_MAX_CPU_ISA=AVX2 python benchmarks/cheaper.py --networks .cache/cheaper

Needs ../shared: AITEX fabric 03, and ImageNet's weights. Each is fitted as PaDiM with columns and
50 dimensions, the same for all, and measured on the test strips once: AUROC of 256-px tiles
within strips. Then all are timed in turn, network alone and whole frame of 256 x 4096 px. With
--networks what was fitted is kept, and a second run only measures times.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench_cases import SHARED, WEIGHTS
from edge_run import machine
from peers import FABRIC, TILE_PX, labels

from kenpin.camera.files.images import read_pixels
from kenpin.camera.files.listing import list_images
from kenpin.compile.build import prepare
from kenpin.compile.evaluation.dataset import read_dataset
from kenpin.compile.metrics.scores import within_group_auroc
from kenpin.compile.networks.guard import with_twins
from kenpin.compile.networks.quantize import quantize, save
from kenpin.config.recipe import Recipe
from kenpin.config.tuning import Tuning
from kenpin.runtime.bundles.manifest import FeatureRecord
from kenpin.runtime.judging.engine import Engine
from kenpin.runtime.judging.join import Joiner
from kenpin.runtime.judging.pipeline import Stages
from kenpin.runtime.judging.scoring import load_scorer
from kenpin.runtime.judging.tile_network import TileNetwork
from kenpin.runtime.judging.tiling import TileGrid

HALO_PX, SIGMA_PX = 32, 4.0
SHRINKAGE = 0.01
CALIBRATION_TILES = 64


@dataclass(frozen=True)
class Variant:
    """A network: backbone, tapped layers, pixels from one feature to the next, core of a tile."""

    backbone: str
    layers: tuple[str, ...]
    grid_px: int = 8
    core_px: int = 256

    @property
    def name(self) -> str:
        """What it is called in the table."""
        core = f", cores of {self.core_px} px" if self.core_px != TILE_PX else ""
        return f"{self.backbone} {' '.join(self.layers)}, every {self.grid_px} px{core}"

    def recipe(self, height_px: int, width_px: int) -> Recipe:
        """PaDiM with columns, the same for all."""
        weights = WEIGHTS.get(self.backbone)
        return Recipe.model_validate(
            {
                "name": "cheaper",
                "images": {"good": "."},
                "frame": {"height_px": height_px, "width_px": width_px},
                "tiles": {"size_px": self.core_px + 2 * HALO_PX, "halo_px": HALO_PX},
                "backbone": {
                    "name": self.backbone,
                    "layers": self.layers,
                    "grid_px": self.grid_px,
                    "weights": weights and SHARED / "weights" / weights,
                },
                "method": {
                    "name": "padim",
                    "granularity": "columns",
                    "share": "frame",
                    "feature_ratio": None,
                    "dimensions": None,
                },
            }
        )


STRIDES = ("stride4", "stride8", "stride16")
MOBILE = ("features.3", "features.6", "features.13")
VARIANTS = (
    Variant("gabor", STRIDES),
    Variant("gabor", STRIDES[:2]),
    Variant("gabor", STRIDES, 16),
    Variant("gabor", STRIDES[:2], 16),
    Variant("resnet18", ("layer1", "layer2", "layer3")),
    Variant("resnet18", ("layer1", "layer2")),
    Variant("resnet18", ("layer1",)),
    Variant("resnet18", ("layer2",)),
    Variant("resnet18", ("layer1", "layer2"), 16),
    Variant("mobilenet_v2", MOBILE),
    Variant("mobilenet_v2", MOBILE[:2]),
    Variant("mobilenet_v2", MOBILE[:2], 16),
)


@dataclass
class Arm:
    """A variant, fitted."""

    name: str
    auroc: float
    floor: Callable[[], object]
    frame: Callable[[], object]


def main() -> int:
    """Fit, measure, print; write JSON if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="variants whose name holds this")
    parser.add_argument("--dimensions", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--networks", type=Path, help="folder that keeps what was fitted")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    strips = [read_pixels(file) for file in list_images(FABRIC / "train" / "good")]
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.networks or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        arms = [
            arm(variant, strips, folder, options.dimensions)
            for variant in VARIANTS
            if options.only in variant.name
        ]
        spent = timed(arms, options.rounds)
    print(f"{machine()}, {options.rounds} rounds")
    print("| network | AUROC | network ms | frame ms | MP/s | frame / network |")
    print("| --- | --- | --- | --- | --- | --- |")
    megapixels = strips[0].size / 1e6
    rows = []
    for found in arms:
        floor, frame = np.array(spent[found.name]["floor"]), np.array(spent[found.name]["frame"])
        low, ratio, high = np.percentile(frame / floor, [25, 50, 75])
        times = f"{np.median(floor):.1f} | {np.median(frame):.1f}"
        rate = megapixels / np.median(frame) * 1e3
        rows.append({"name": found.name, "auroc": found.auroc, "megapixels_s": rate})
        print(
            f"| {found.name} | {found.auroc:.3f} | {times} | {rate:.1f} | "
            f"{ratio:.2f} ({low:.2f}-{high:.2f}) |"
        )
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))
    return 0


def arm(variant: Variant, strips: list[np.ndarray], folder: Path, dimensions: int) -> Arm:
    """Quantise, fit on the good strips, and judge the test strips; or take it from the folder."""
    table = variant.recipe(*strips[0].shape).model_dump()
    kept = folder / f"{variant.name}, d = {dimensions}".replace(" ", "-").replace(",", "").replace(
        ".", "-"
    )
    table["method"]["dimensions"] = dimensions
    prepared = prepare(Recipe.model_validate(table))
    grid, tiles = prepared.grid, len(prepared.grid)
    xml = kept.with_suffix(".xml")
    if not xml.exists():
        seen = np.concatenate([_tiles(grid, strip) for strip in strips])
        seen = np.random.default_rng(0).permutation(seen)[: CALIBRATION_TILES // 2]
        seen = np.concatenate([seen, with_twins(seen, HALO_PX, np.random.default_rng(1))])
        save(quantize(prepared.network.model(4), seen), xml)
    engine = Engine(xml, tuning=Tuning(batch=4, streams=2))
    features = engine.buffers(tiles)
    stride = prepared.network.patch_stride_px
    statistics = kept.with_suffix(".npz")
    if not statistics.exists():
        np.savez(statistics, **_fitted(engine, grid, strips))
    arrays = dict(np.load(statistics))
    record = FeatureRecord(
        backbone=variant.backbone,
        layers=variant.layers,
        weights_sha256=None,
        patch_stride_px=stride,
        cells=prepared.joiner.cells,
        dimensions=prepared.network.dimensions,
        batch=4,
        inference_precision="f32",
    )
    scorer = load_scorer(arrays, Recipe.model_validate(table).method, record, grid)
    stages = Stages(TileNetwork(grid, engine, scorer, stride, SIGMA_PX))
    verdicts = kept.with_suffix(".json")
    if not verdicts.exists():
        verdicts.write_text(json.dumps(_auroc(stages, Joiner(grid, stride))))
    return Arm(
        variant.name,
        json.loads(verdicts.read_text()),
        lambda: engine.features(lambda _, slots: len(slots), tiles, features),
        lambda: stages.measure(strips[0]),
    )


def _tiles(grid: TileGrid, strip: np.ndarray) -> np.ndarray:
    room = np.empty((len(grid), 1, grid.size, grid.size), np.uint8)
    grid.fill(strip, range(len(grid)), room)
    return room


def _fitted(engine: Engine, grid: TileGrid, strips: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Mean and whitening of each column of positions, over all strips, tiles and rows."""
    seen = []
    for strip in strips:
        fill = lambda first, room, s=strip: grid.fill(s, range(first, len(grid)), room)  # noqa: E731
        seen.append(engine.features(fill, len(grid))[0].copy())
    columns = np.concatenate(seen).transpose(2, 0, 1, 3)
    columns = columns.reshape(len(columns), -1, columns.shape[-1]).astype(np.float64)
    mean = columns.mean(axis=1)
    apart = columns - mean[:, None]
    spread = apart.transpose(0, 2, 1) @ apart / (columns.shape[1] - 1)
    spread += SHRINKAGE * np.eye(spread.shape[1])
    # W.T @ W is the inverse, W lower-triangular.
    whitening = np.linalg.inv(np.linalg.cholesky(spread))
    return {"mean": mean[None].astype(np.float32), "whitening": whitening[None].astype(np.float32)}


def _auroc(stages: Stages, joiner: Joiner) -> float:
    bad, numbers = labels()
    scores = []
    for item in read_dataset(FABRIC).images:
        values = stages.measure(read_pixels(item.file)).score_map.values
        cells = TILE_PX * joiner.shape[1] // read_pixels(item.file).shape[1]
        scores.append(values.reshape(values.shape[0], -1, cells).max(axis=(0, 2)))
    return float(within_group_auroc(np.concatenate(scores), bad, numbers).pooled)


def timed(arms: list[Arm], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of network and frame, in an order drawn anew each round, the two of one network
    included: whichever comes second finds its weights in the caches."""
    spent: dict[str, dict[str, list[float]]] = {a.name: {"floor": [], "frame": []} for a in arms}
    order = np.random.default_rng(0)
    for number in range(rounds + 2):
        for place in order.permutation(len(arms)):
            for kind in order.permutation(["floor", "frame"]):
                begun = time.perf_counter()
                getattr(arms[place], kind)()
                if number >= 2:
                    spent[arms[place].name][kind].append((time.perf_counter() - begun) * 1e3)
    return spent


if __name__ == "__main__":
    sys.exit(main())
