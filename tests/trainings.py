"""Trainings of some steps, on some small frames."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from kenpin.camera.files.images import write_png
from kenpin.camera.synthetic import SyntheticWeb
from kenpin.compile.good_images.images import GoodImages
from kenpin.compile.networks.guard import sample_tiles
from kenpin.compile.prepare import Prepared, prepare
from kenpin.compile.progress import Steps
from kenpin.compile.training.network import TrainedNetwork
from kenpin.config.recipe import load_recipe
from kenpin.runtime.judging.engine import Engine
from kenpin.runtime.judging.lamp import Lamp

U8 = NDArray[np.uint8]

# Some seconds of training in all: what is tested is the way, not how much is learned.
BRIEF = "steps=2,every=1,batch=2,folds=2"
TINY = """
name = "tiny"
images.good = "good"
frame = { height_px = 32, width_px = 32 }
tiles = { size_px = 64, halo_px = 16 }
engine.batch = 2
method.name = "padim"
"""


def tiny_recipe(folder: Path) -> Path:
    """For eight small frames, of one tile each."""
    web = SyntheticWeb(64, 64, 5)
    (folder / "good").mkdir()
    for number in range(8):
        write_png(folder / "good" / f"{number}.png", web.frame(number).pixels[:32, :32].copy())
    recipe = folder / "tiny.toml"
    recipe.write_text(TINY)
    return recipe


def quiet() -> Steps:
    return Steps(Console(file=io.StringIO()))


def prepared_for(recipe: Path, method: str, *changes: str) -> tuple[Prepared, GoodImages]:
    """Before the network is trained."""
    prepared = prepare(load_recipe(recipe, [f"method={{{method}}}", *changes]))
    spec, frame = prepared.recipe.images, prepared.recipe.frame
    images = GoodImages.check(spec, frame, prepared.grid, lambda *_: None, prepared.edges)
    return prepared, images


def trained(recipe: Path, store: Path, method: str, *changes: str) -> TrainedNetwork:
    """After some steps."""
    prepared, images = prepared_for(recipe, method, *changes)
    network = prepared.network
    assert isinstance(network, TrainedNetwork)
    network.learn(images, prepared.walk(None), Lamp(None), quiet(), store)
    return network


def tiles_of(recipe: Path) -> U8:
    """Four tiles: white patches in every other one."""
    prepared, images = prepared_for(recipe, 'name="stfpm"')
    rng = np.random.default_rng(0)
    tiles = sample_tiles(images.files, prepared.grid, prepared.recipe.frame, 4, rng, 0, Lamp(None))
    tiles[::2, :, 20:30, 20:30] = 255
    return tiles


def maps_of(engine: Engine, tiles: U8) -> NDArray[np.float32]:
    """As the box's engine computes them."""

    def fill(first: int, batch: U8) -> int:
        part = tiles[first : first + len(batch)]
        batch[: len(part)] = part
        return len(part)

    return engine.features(fill, len(tiles))[0]
