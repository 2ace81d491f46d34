"""What is measured: networks with real or random weights, statistics of the right size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kenpin.camera.files.images import read_pixels
from kenpin.camera.files.listing import list_images
from kenpin.camera.synthetic import SyntheticWeb
from kenpin.compile.backbones import BACKBONES
from kenpin.compile.networks.guard import with_twins
from kenpin.compile.networks.quantize import quantize, save
from kenpin.compile.prepare import prepare
from kenpin.config.methods import MethodSettings, PadimSpec
from kenpin.config.recipe import Recipe
from kenpin.config.tuning import Tuning
from kenpin.runtime.bundles.manifest import FeatureRecord
from kenpin.runtime.judging.distance import mahalanobis, nearest
from kenpin.runtime.judging.engine import Engine, FeatureBuffers
from kenpin.runtime.judging.pipeline import Stages
from kenpin.runtime.judging.scoring import TileDistances, load_scorer
from kenpin.runtime.judging.sharing import (
    group_count,
    group_patches,
    model_count,
    model_of_tile,
    ungroup_patches,
)
from kenpin.runtime.judging.tile_network import TileNetwork
from kenpin.runtime.judging.tiling import TileGrid

SHARED = Path(__file__).resolve().parents[2] / "shared"
WEIGHTS = {
    "resnet18": "resnet18-imagenet-stem-to-layer3.pth",
    "mobilenet_v2": "mobilenet_v2-imagenet-features.pth",
}
SIGMA_PX = 4.0
CALIBRATION_TILES = 16


@dataclass(frozen=True)
class Case:
    """One method on one backbone.

    rows  of PatchCore's bank
    """

    backbone: str
    method: dict[str, Any]
    tiles: int = 16
    rows: int = 0

    @property
    def name(self) -> str:
        """What it is called in tables."""
        m = self.method
        if m["name"] == "patchcore":
            kind = f"PatchCore {self.rows}"
        else:
            kind = f"PaDiM {m['granularity']} d={m['dimensions']}"
        return f"{self.backbone} {kind} share={m['share']} {self.tiles} tiles"

    def recipe(self, halo_px: int, folder: Path) -> Recipe:
        """The recipe that its bundle would have."""
        core = 256 - 2 * halo_px
        weights = weights_file(self.backbone, folder)
        return Recipe.model_validate(
            {
                "name": "bench",
                "images": {"good": "."},
                "frame": {"height_px": core, "width_px": core * self.tiles},
                "tiles": {"size_px": 256, "halo_px": halo_px},
                "backbone": {"name": self.backbone, "weights": weights},
                "method": self.method,
            }
        )


def padim(granularity: str, dimensions: int, share: str = "frame") -> dict[str, Any]:
    """PaDiM's table of a recipe."""
    return {
        "name": "padim",
        "granularity": granularity,
        "dimensions": dimensions,
        "share": share,
    }


def cases() -> list[Case]:
    """All of them; the order is that of the table."""
    resnet = Case("resnet18", {"name": "patchcore", "share": "frame"}, rows=1000)
    tiled = {"name": "patchcore", "share": "tile"}
    found = [
        resnet,
        replace(resnet, rows=10_000),
        replace(resnet, method=tiled),
        *(
            replace(resnet, method=padim(granularity, d), rows=0)
            for granularity, d in (("columns", 100), ("1/16", 100), ("dense", 50), ("dense", 100))
        ),
        replace(resnet, method=padim("dense", 100, "tile"), rows=0),
    ]
    for backbone in ("gabor", "mobilenet_v2"):
        found.append(replace(resnet, backbone=backbone))
        found.append(replace(resnet, backbone=backbone, method=padim("columns", 50), rows=0))
    return found


def weights_file(backbone: str, folder: Path) -> Path | None:
    """The published weights where the repository has them beside it, or random ones."""
    if backbone not in WEIGHTS:
        return None
    published = SHARED / "weights" / WEIGHTS[backbone]
    if published.exists():
        return published
    file = folder / f"{backbone}-random.pth"
    if not file.exists():
        torch.manual_seed(0)
        family = BACKBONES.find(backbone)
        weights = family.weights
        assert weights is not None, "gabor has no weights"
        network = family.make(family.layers, 3)
        state = {}
        for name, value in network.state_dict().items():
            for start, inside in weights.rename.items():
                if inside and name.startswith(inside):
                    name = start + name.removeprefix(inside)
                    break
            state[name] = value[:, :3].contiguous() if name == weights.stem else value
        torch.save(state, file)
    return file


def frame_of(grid: TileGrid) -> np.ndarray:
    """A frame of the grid's size: fabric where the repository has it beside it, or synthetic."""
    folder = SHARED / "data" / "aitex_fabric03" / "train" / "good"
    if not folder.is_dir():
        return SyntheticWeb(grid.height, grid.width, 0).frame(0).pixels
    strips = [read_pixels(file) for file in list_images(folder)[:4]]
    joined = np.concatenate(strips, axis=1)
    across = -(-grid.width // joined.shape[1])
    return np.ascontiguousarray(np.tile(joined, across)[: grid.height, : grid.width])


@dataclass
class Bench:
    """A case set up: what is timed against what."""

    case: Case
    grid: TileGrid
    engine: Engine
    stages: Stages
    rival: Stages
    pixels: np.ndarray
    statistics_mib: float
    _buffers: FeatureBuffers

    @classmethod
    def set_up(
        cls, case: Case, folder: Path, tuning: Tuning, halo_px: int, threads: int | None
    ) -> Bench:
        """Quantise the network, or take it from the folder, and draw statistics."""
        recipe = case.recipe(halo_px, folder)
        prepared = prepare(recipe)
        grid = prepared.grid
        pixels = frame_of(grid)
        network = _network(case, folder, halo_px)
        alone = Engine(network, threads=threads, tuning=tuning)
        features, _ = alone.features(lambda n, b: grid.fill(pixels, range(len(grid))[n:], b), 16)
        arrays = statistics(recipe.method, grid, features, case.rows)
        record = FeatureRecord(
            backbone=case.backbone,
            layers=("",),
            weights_sha256=None,
            patch_stride_px=grid.core // features.shape[1],
            cells=features.shape[1],
            dimensions=features.shape[3],
            batch=alone.batch,
            inference_precision="f32",
        )
        scorer = load_scorer(arrays, recipe.method, record, grid, threads)
        stride = record.patch_stride_px
        engine = Engine(network, threads=threads, tuning=tuning, search=scorer.search)
        return cls(
            case,
            grid,
            alone,
            Stages(TileNetwork(grid, engine, scorer, stride, SIGMA_PX)),
            Stages(TileNetwork(grid, alone, Rival(arrays, recipe.method, grid), stride, SIGMA_PX)),
            pixels,
            sum(array.nbytes for array in arrays.values()) / 2**20,
            alone.buffers(len(grid)),
        )

    def floor(self) -> None:
        """OpenVINO alone on the IR, the tiles lying ready in its memory."""
        self.engine.features(lambda _, batch: len(batch), len(self.grid), self._buffers)


def _network(case: Case, folder: Path, halo_px: int) -> Path:
    dims = case.method.get("dimensions", 0)
    file = folder / f"{case.backbone}-{case.method['name']}-{dims}-{halo_px}.xml"
    if not file.exists():
        # The same network for frames of any number of tiles.
        recipe = replace(case, tiles=CALIBRATION_TILES).recipe(halo_px, folder)
        prepared = prepare(recipe)
        grid = prepared.grid
        batch = np.empty((len(grid), 1, grid.size, grid.size), np.uint8)
        grid.fill(frame_of(grid), range(len(grid)), batch)
        tiles = np.concatenate([batch, with_twins(batch, halo_px, np.random.default_rng(0))])
        model = prepared.network.model(recipe.engine.batch)
        save(quantize(model, tiles), file)
    return file


def statistics(
    method: MethodSettings, grid: TileGrid, features: np.ndarray, rows: int
) -> dict[str, np.ndarray]:
    """Random Gaussians; or a bank of rows drawn from the features, with noise of their size.

    Distances cost the same whatever the values; proposals are shown a bank that
    lies where the patches lie.
    """
    rng = np.random.default_rng(0)
    models, dims = model_count(grid, method.share), features.shape[3]
    if isinstance(method, PadimSpec):
        groups = group_count(features.shape[1], method.granularity)
        white = rng.standard_normal((models, groups, dims, dims), dtype=np.float32)
        # In place: a model for each of 16 tiles takes 1.4 GiB.
        white *= np.tri(dims, dtype=np.float32)
        return {
            "mean": rng.standard_normal((models, groups, dims), dtype=np.float32),
            "whitening": white,
        }
    patches = features.reshape(-1, dims)
    centre = patches.mean(axis=0)
    bank = patches[rng.integers(len(patches), size=(models, rows))] - centre
    bank += 0.3 * patches.std(axis=0) * rng.standard_normal(bank.shape, dtype=np.float32)
    return {"bank": bank, "bank_sq": np.einsum("kmd,kmd->km", bank, bank), "centre": centre}


class Rival:
    """The simplest correct numpy version: whole arrays at once, every row against every patch."""

    def __init__(
        self, arrays: dict[str, np.ndarray], method: MethodSettings, grid: TileGrid
    ) -> None:
        self._arrays, self._method = arrays, method
        self._tiles = [
            np.flatnonzero(model_of_tile(grid, method.share) == k)
            for k in range(model_count(grid, method.share))
        ]

    search = None

    def distances(self, features: np.ndarray, _rows: object = None) -> TileDistances:
        """As `Scorer` has it."""
        a, values = self._arrays, np.empty(features.shape[:3], np.float32)
        for k, tiles in enumerate(self._tiles):
            mine = features[tiles]
            if isinstance(self._method, PadimSpec):
                grouped = group_patches(mine, self._method.granularity)
                found = mahalanobis(grouped, a["mean"][k], a["whitening"][k])
                values[tiles] = ungroup_patches(found, mine.shape[:3], self._method.granularity)
            else:
                queries = mine.reshape(-1, mine.shape[3]) - a["centre"]
                found, _ = nearest(queries, a["bank"][k], a["bank_sq"][k])
                values[tiles] = found.reshape(mine.shape[:3])
        return TileDistances(values)
