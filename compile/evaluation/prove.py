"""Whether a bundle says of good images what its imported network says by itself."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils._pytree import tree_leaves

from kenpin.compile.evaluation import anomalib_inferencer
from kenpin.compile.good_images.images import learned_from, load
from kenpin.compile.importing.exported_program import loaded
from kenpin.compile.importing.imported_network import ImportedNetwork
from kenpin.compile.importing.model_file import ANOMALIB_SCORE, read, static_batch
from kenpin.compile.importing.own_tiles import recipe_with_own_tiles
from kenpin.compile.layouts import recipe_with_images
from kenpin.compile.networks.guard import sample_tiles, tile_features, with_twins
from kenpin.compile.networks.twins import TWIN_KINDS, twin
from kenpin.config.errors import ConfigError
from kenpin.config.imported import ImportedSpec
from kenpin.config.recipe import Recipe
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.imported import ImportedScorer
from kenpin.runtime.judging.lamp import Lamp
from kenpin.runtime.judging.network import load_network
from kenpin.runtime.judging.openvino_core import new_core
from kenpin.runtime.judging.pipeline import Stages
from kenpin.runtime.judging.telemetry import silence
from kenpin.runtime.judging.tile_network import TileNetwork
from kenpin.runtime.judging.tiling import TileGrid

silence()
import openvino as ov  # noqa: E402

__all__ = ["ALLOWED", "Proof", "alone", "expect_provable", "prove"]

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

# Of the largest value that the network gives.
ALLOWED = 1e-4
IMAGES = 8


class ImageOutput(NamedTuple):
    """What is said of an image: a map, a score, or both."""

    map: F32 | None
    score: float | None


@dataclass(frozen=True, slots=True)
class Proof:
    """The largest differences, as a share of the largest value.

    count   images that were compared
    frames  whether they are whole frames, which the network sees at once; else tiles
    by      what ran the network alone
    """

    count: int
    frames: bool
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
        images = "whole frames" if self.frames else "tiles, each an image of its own"
        return (
            f"{self.count} {images}, half of them with a drawn defect: {verdict} ({self.by}), "
            f"{' and '.join(parts)} of the largest value; allowed is {ALLOWED:g}"
        )


def expect_provable(recipe: Recipe, anomalib: Path | None = None) -> None:
    """Before a build's minutes: whether its bundle can be proved.

    The network alone is asked about a grey image, so that whatever keeps it from an answer shows.

    Parameters
    ----------
    anomalib
        See `prove`.

    Raises
    ------
    ConfigError
        If the network gives features, whose maps are not its own, is to become INT8, or cannot
        be run alone.
    """
    recipe = recipe_with_own_tiles(recipe)
    network = ImportedNetwork(recipe)
    if not isinstance(network.method, ImportedSpec):
        raise ConfigError(
            f"--prove compares maps and scores, and {network.file.name} gives features, of which "
            f"{network.method.name} makes maps; leave it out"
        )
    if recipe.quantize.precision == "int8":
        raise ConfigError(
            f"--prove allows {ALLOWED:g} of the largest value, which INT8 does not keep; prove the "
            'network with quantize.precision = "fp32", and leave --prove out for INT8, which the '
            "build's guard compares with that"
        )
    size = network.size
    shape = (len(network.file.files), recipe.frame.channels, size, size)
    alone(network, np.full(shape, 128, np.uint8), anomalib)


def prove(recipe: Recipe, bundle: Bundle, anomalib: Path | None = None) -> Proof:
    """Run good images and twins of them through the bundle and through the network alone.

    Whole frames, as an inferencer sees them, where the network sees a frame at once; else tiles.

    Parameters
    ----------
    anomalib
        The Python of an environment with Anomalib, whose inferencer is asked; None takes
        this one's, if it is here.
    """
    recipe = recipe_with_own_tiles(recipe_with_images(recipe))
    network = ImportedNetwork(recipe)
    method = bundle.manifest.method
    assert isinstance(method, ImportedSpec), "`expect_provable` refuses others"
    frames = network.sees_frames
    images, judged = (_of_frames if frames else _of_tiles)(recipe, network, bundle, method)
    by, said = alone(network, images, anomalib)
    off: dict[str, list[float]] = {"map": [], "score": []}
    largest = {"map": 0.0, "score": 0.0}
    for (whole, score), found in zip(said, judged, strict=True):
        expected = _expected(whole, score, method, network)
        actual = {"map": found.map, "score": found.score}
        if whole is not None and found.map is not None:
            # Of a frame no map shows what its tile has besides.
            rows, cols = found.map.shape
            expected["map"] = expected["map"][:rows, :cols]
        for what, value in expected.items():
            off[what].append(float(np.abs(value - actual[what]).max()))
            largest[what] = max(largest[what], float(np.abs(value).max()))
    shares = {
        what: max(values) / (largest[what] or 1.0) if values else None
        for what, values in off.items()
    }
    return Proof(len(images), frames, by, shares["map"], shares["score"])


def _of_frames(
    recipe: Recipe, network: ImportedNetwork, bundle: Bundle, method: ImportedSpec
) -> tuple[U8, list[ImageOutput]]:
    """Good frames and twins of them, (N, C, H, W), each cut, run and joined as a box does it."""
    files = learned_from(recipe.images)
    rng = np.random.default_rng(recipe.images.seed)
    lamp, grid = Lamp(bundle.manifest.grey.even_to), TileGrid.of(recipe.frame, recipe.tiles)
    order = np.resize(rng.permutation(len(files)), IMAGES // 2)
    turn = recipe.images.turn_deg
    good = [lamp.even(load(files[number], recipe.frame, turn)) for number in order]
    kinds = np.resize(np.array(TWIN_KINDS), len(good))
    frames = good + [twin(one, kind, rng) for one, kind in zip(good, kinds, strict=True)]
    engine, _ = load_network(bundle, grid)
    # What a recipe makes of a map is no part of what its network says.
    stages = Stages(TileNetwork(grid, engine, ImportedScorer(method), network.patch_stride_px, 0.0))
    found = [stages.measure(one) for one in frames]
    judged = [ImageOutput(one.score_map.values, one.score) for one in found]
    planes = [np.atleast_3d(one).transpose(2, 0, 1) for one in frames]
    return np.stack(planes), judged


def _of_tiles(
    recipe: Recipe, network: ImportedNetwork, bundle: Bundle, method: ImportedSpec
) -> tuple[U8, list[ImageOutput]]:
    """Tiles of good images and twins of them, (N, C, S, S)."""
    files, grid = learned_from(recipe.images), TileGrid.of(recipe.frame, recipe.tiles)
    rng = np.random.default_rng(recipe.images.seed)
    lamp = Lamp(bundle.manifest.grey.even_to)
    # Networks of tiles see all of a frame's.
    each = 1 if network.file.shape is None else len(grid)
    count = -(-IMAGES // 2 // each) * each
    good = sample_tiles(
        files, grid, recipe.frame, count, rng, recipe.images.turn_deg, lamp, in_order=each > 1
    )
    tiles = np.concatenate([good, with_twins(good, recipe.tiles.halo_px, rng)])
    engine, _ = load_network(bundle, grid)
    # A tile's own threshold is no part of what its network says.
    scorer = ImportedScorer(method)
    found = [scorer.distances(own[None]) for own in tile_features(engine, tiles)]
    return tiles, [ImageOutput(one.values[0], one.score) for one in found]


def alone(
    network: ImportedNetwork, tiles: U8, anomalib: Path | None
) -> tuple[str, list[ImageOutput]]:
    """What ran the network as it is, image by image, and what it says of each tile, or frame.

    Anomalib's own inferencer, where the network is Anomalib's and a Python has it; else
    OpenVINO with what the recipe says of the input.

    Raises
    ------
    ConfigError
        If the Python that is named cannot run Anomalib's inferencer.
    """
    python = anomalib
    if python is None and find_spec("anomalib") is not None:
        python = Path(sys.executable)
    if not network.input.anomalib:
        python = None
        if anomalib is not None:
            raise ConfigError(
                f"{network.file.name}: has no output {ANOMALIB_SCORE}, as all that Anomalib "
                "exports have, so its inferencer cannot run it; leave --anomalib out"
            )
    files = network.file.files
    by, outputs = "", [ImageOutput(None, None)] * len(tiles)
    for first, file in enumerate(files):
        own = tiles[first :: len(files)]
        if python is not None:
            by, said = _by_anomalib(network, file, own, python)
        elif file.suffix == ".pt2":
            by, said = "torch, image by image", _by_torch(network, file, own)
        else:
            by, said = "OpenVINO, image by image", _by_openvino(network, file, own)
        outputs[first :: len(files)] = said
    return by, outputs


def _by_openvino(network: ImportedNetwork, file: Path, tiles: U8) -> list[ImageOutput]:
    model = read(file)
    model.reshape(network.input.shape(1))
    # A bundle computes in float32 whatever the file keeps, and rounds neither pixels nor results.
    ports = ov.preprocess.PrePostProcessor(model)
    if model.inputs[0].element_type == ov.Type.f16:
        ports.input().tensor().set_element_type(ov.Type.f32)
    for number, port in enumerate(model.outputs):
        if port.element_type == ov.Type.f16:
            ports.output(number).tensor().set_element_type(ov.Type.f32)
    model = ports.build()
    compiled = new_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    said, outputs = network.said, []
    for tile in tiles:
        found = compiled(network.input.tile(tile))
        values = {name: found[port] for port in compiled.outputs for name in port.get_names()}
        score = None if said.score is None else float(np.asarray(values[said.score]).max())
        outputs.append(ImageOutput(None if said.map is None else np.array(values[said.map]), score))
    return outputs


def _by_torch(network: ImportedNetwork, file: Path, tiles: U8) -> list[ImageOutput]:
    """The program itself, in torch, with as many images as it was traced for."""
    run, model = loaded(file).module(), read(file)
    half = model.inputs[0].element_type == ov.Type.f16
    names, at_once = [port.any_name for port in model.outputs], static_batch(model) or 1
    said, outputs = network.said, []
    for tile in tiles:
        image = torch.from_numpy(network.input.tile(tile)).expand(at_once, -1, -1, -1).contiguous()
        with torch.no_grad():
            found = tree_leaves(run(image.half() if half else image))
        values = dict(zip(names, (value[:1].numpy() for value in found), strict=True))
        score = None if said.score is None else float(values[said.score].max())
        outputs.append(ImageOutput(None if said.map is None else values[said.map], score))
    return outputs


def _by_anomalib(
    network: ImportedNetwork, file: Path, tiles: U8, python: Path
) -> tuple[str, list[ImageOutput]]:
    """Its inferencer in a process of its own: Anomalib's environment need not be kenpin's."""
    height, width = network.seen
    images = np.broadcast_to(tiles, (len(tiles), 3, *tiles.shape[2:]))[..., :height, :width]
    with tempfile.TemporaryDirectory() as folder:
        given, said = Path(folder, "images.npy"), Path(folder, "said.npz")
        np.save(given, images.transpose(0, 2, 3, 1).astype(np.float32) / np.float32(255))
        command = [str(python), anomalib_inferencer.__file__, str(file.resolve())]
        # It leaves a cache in the folder that it is run in.
        try:
            done = subprocess.run(
                [*command, str(given), str(said)], cwd=folder, capture_output=True, text=True
            )
        except OSError as error:
            raise ConfigError(
                f"--anomalib {python}: cannot be run ({error.strerror}); name the python of an "
                "environment that has Anomalib"
            ) from None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise ConfigError(f"{python}: cannot run Anomalib's OpenVINOInferencer: {last}")
        with np.load(said) as found:
            maps = list(found["maps"]) or [None] * len(tiles)
            scores = [float(score) for score in found["scores"]]
            by = f"Anomalib {found['version']}'s OpenVINOInferencer"
    return by, [ImageOutput(*one) for one in zip(maps, scores, strict=True)]


def _expected(
    whole: F32 | None, score: float | None, method: ImportedSpec, network: ImportedNetwork
) -> dict[str, Any]:
    """What the scorer must say: the worst of each cell of the core."""
    sign = 1.0 if method.worse == "higher" else -1.0

    def counted(value: Any) -> Any:
        return np.maximum(sign * (np.asarray(value, np.float64) - method.zero), 0)

    found: dict[str, Any] = {}
    if whole is not None:
        height, width = (n for n in whole.shape if n != 1)
        step, cell, side = network.seen[0] // height, network.patch_stride_px, network.size
        beyond = (0, side // step - height), (0, side // step - width)
        tile = np.pad(counted(whole.reshape(height, width)), beyond, "edge")
        halo, inside = network.halo_px // step, cell // step
        core = tile[halo : len(tile) - halo, halo : len(tile) - halo]
        cells = len(core) // inside
        found["map"] = core.reshape(cells, inside, cells, inside).max(axis=(1, 3))
    elif score is not None:
        found["map"] = counted(score)
    if whole is not None and score is not None and method.own_score:
        found["score"] = counted(score)
    return found
