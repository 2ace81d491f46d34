"""Whether a bundle says of good tiles what its imported network says by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.camera.files.listing import list_images
from kenpin.compile.guard import sample_tiles, with_twins
from kenpin.compile.imported_network import ImportedNetwork
from kenpin.compile.layouts import recipe_with_images
from kenpin.config.errors import ConfigError
from kenpin.config.imported import ImportedSpec
from kenpin.config.recipe import Recipe
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.lamp import Lamp
from kenpin.runtime.judging.network import load_network
from kenpin.runtime.judging.telemetry import silence
from kenpin.runtime.judging.tiling import TileGrid

silence()
import openvino as ov  # noqa: E402

__all__ = ["ALLOWED", "Proof", "alone", "prove"]

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
# An image to (map, score) of the network alone; None where it gives none.
Alone = Callable[[U8], tuple[F32 | None, float | None]]

# Of the largest value that the network gives.
ALLOWED = 1e-4
TILES = 8


@dataclass(frozen=True, slots=True)
class Proof:
    """The largest differences, as a share of the largest value.

    by  what ran the network alone
    """

    tiles: int
    by: str
    map: float | None
    score: float | None

    @property
    def holds(self) -> bool:
        """Whether nothing differs by more than `ALLOWED`."""
        return all(part is None or part <= ALLOWED for part in (self.map, self.score))

    def __str__(self) -> str:
        parts = [
            f"{what}s to {off:.1g}"
            for what, off in (("map", self.map), ("score", self.score))
            if off is not None
        ]
        verdict = "as the network alone" if self.holds else "NOT as the network alone"
        return (
            f"{self.tiles} tiles, half of them with a drawn defect: {verdict} ({self.by}), "
            f"{' and '.join(parts)} of the largest value; allowed is {ALLOWED:g}"
        )


def prove(recipe: Recipe, bundle: Bundle) -> Proof:
    """Run good tiles and twins of them through the bundle and through the network alone.

    Raises
    ------
    ConfigError
        If the network gives features: what is made of them is not its own.
    """
    recipe = recipe_with_images(recipe)
    network = ImportedNetwork(recipe)
    method = bundle.manifest.method
    if not isinstance(method, ImportedSpec):
        raise ConfigError("--prove compares maps and scores, and this network gives features")
    grid = TileGrid.of(recipe.frame, recipe.tiles)
    rng = np.random.default_rng(recipe.images.seed)
    files = list_images(recipe.images.good)
    lamp = Lamp(bundle.manifest.grey.even_to)
    good = sample_tiles(files, grid, recipe.frame, TILES // 2, rng, recipe.images.turn_deg, lamp)
    tiles = np.concatenate([good, with_twins(good, recipe.tiles.halo_px, rng)])
    engine, scorer = load_network(bundle, grid, None)

    def fill(first: int, batch: U8) -> int:
        part = tiles[first : first + len(batch)]
        batch[: len(part)] = part
        return len(part)

    features, _ = engine.features(fill, len(tiles))
    by, run = alone(network)
    off: dict[str, list[float]] = {"map": [], "score": []}
    largest = {"map": 0.0, "score": 0.0}
    for tile, own in zip(tiles, features, strict=True):
        found = scorer.distances(own[None])
        whole, score = run(tile)
        expected = _expected(whole, score, method, network)
        told = {"map": found.values[0], "score": found.score}
        for what, value in expected.items():
            off[what].append(float(np.abs(value - told[what]).max()))
            largest[what] = max(largest[what], float(np.abs(value).max()))
    shares = {
        what: max(values) / (largest[what] or 1.0) if values else None
        for what, values in off.items()
    }
    return Proof(len(tiles), by, shares["map"], shares["score"])


def alone(network: ImportedNetwork) -> tuple[str, Alone]:
    """What runs the network as it is, image by image, and its name.

    Anomalib's own inferencer, where it is installed and the network is Anomalib's; else
    OpenVINO with what the recipe says of the input.
    """
    if network.anomalib and find_spec("anomalib") is not None:
        deploy = import_module("anomalib.deploy")
        inferencer = deploy.OpenVINOInferencer(
            network.file, device="CPU", config={"INFERENCE_PRECISION_HINT": "f32"}
        )

        def judged(tile: U8) -> tuple[F32 | None, float | None]:
            image = np.broadcast_to(tile, (3, *tile.shape[1:])).transpose(1, 2, 0)
            found = inferencer.predict(image.astype(np.float32) / np.float32(255))
            return np.asarray(found.anomaly_map), float(np.asarray(found.pred_score).max())

        return f"Anomalib {version('anomalib')}'s OpenVINOInferencer", judged
    core = ov.Core()
    model = core.read_model(network.file)
    model.reshape(network.input_shape(1))
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def ran(tile: U8) -> tuple[F32 | None, float | None]:
        found = compiled(network.shown(tile))
        values = {name: found[port] for port in compiled.outputs for name in port.get_names()}
        said = network.said
        score = None if said.score is None else float(np.asarray(values[said.score]).max())
        return (None if said.map is None else np.asarray(values[said.map])), score

    return "OpenVINO, image by image", ran


def _expected(
    whole: F32 | None, score: float | None, method: ImportedSpec, network: ImportedNetwork
) -> dict[str, Any]:
    """What the scorer must say: the worst of each cell of the core."""
    sign = 1.0 if method.worse == "higher" else -1.0

    def counted(value: Any) -> Any:
        return np.maximum(sign * (np.asarray(value, np.float64) - method.zero), 0)

    found: dict[str, Any] = {}
    if whole is not None:
        side = round(whole.size**0.5)
        step, cell = network.size // side, network.patch_stride_px
        halo, inside = network.halo_px // step, cell // step
        core = counted(whole.reshape(side, side))[halo : side - halo, halo : side - halo]
        cells = len(core) // inside
        found["map"] = core.reshape(cells, inside, cells, inside).max(axis=(1, 3))
    elif score is not None:
        found["map"] = counted(score)
    if whole is not None and score is not None and method.own_score:
        found["score"] = counted(score)
    return found
