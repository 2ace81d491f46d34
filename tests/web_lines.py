"""A small web, a bundle for it, and the slow definitions that the fast code must match."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from kenpin.camera.files.images import write_png
from kenpin.camera.synthetic import SyntheticWeb
from kenpin.compile.build import build
from kenpin.compile.progress import Steps
from kenpin.config.recipe import Recipe, load_recipe
from kenpin.runtime.bundles.bundle import Bundle

WIDTH, SEED = 160, 11

RECIPE = """
name = "small-web"
[images]
good = "{good}"
[frame]
geometry = "continuous"
width_px = 160
[tiles]
size_px = 96
halo_px = 16
[quantize]
calibration_tiles = 40
guard_tiles = 20
[report]
twins_each = 1
speed_s = 0
[method]
name = "padim"
dimensions = 20
[score]
smooth_sigma_px = 8.0
# So few short webs do not show all that a good one may be.
[threshold]
false_rejects = 0.0001
[engine]
batch = 4
"""


def write_webs(folder: Path, heights: Sequence[int], seed: int = SEED) -> Path:
    """Good webs of various lengths, one image each."""
    folder.mkdir(parents=True)
    for number, height in enumerate(heights):
        web = SyntheticWeb(height, WIDTH, seed)
        write_png(folder / f"{number:03d}.png", web.frame(number).pixels)
    return folder


def web_recipe(folder: Path, *changes: str, good: Path | None = None) -> Recipe:
    """A recipe for webs of unequal length, which are written too."""
    if good is None:
        good = write_webs(folder / "webs", (400, 333, 512, 290, 640, 401))
    recipe = folder / "web.toml"
    recipe.write_text(RECIPE.format(good=good))
    return load_recipe(recipe, changes)


def compile_web(folder: Path, *changes: str, good: Path | None = None) -> Bundle:
    """A bundle for continuous geometry."""
    recipe = web_recipe(folder, *changes, good=good)
    with Steps(Console(file=io.StringIO())) as steps:
        return build(recipe, folder / "store", steps, lowest=False).bundle


def some_web(lines: int, seed: int = SEED) -> NDArray[np.uint8]:
    """(lines, WIDTH) of good web that no bundle was fitted on."""
    return SyntheticWeb(lines, WIDTH, seed).frame(40).pixels.copy()


def spoiled(pixels: NDArray[np.uint8], *places: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """A copy with white boxes: (line, x, lines, width)."""
    out = pixels.copy()
    for line, x, height, width in places:
        out[line : line + height, x : x + width] = 255
    return out


def cut(pixels: NDArray[Any], heights: Iterable[int]) -> list[NDArray[Any]]:
    """Consecutive blocks of these heights, in turn for ever, until the web ends."""
    blocks, at = [], 0
    for height in heights:
        if at >= len(pixels):
            break
        blocks.append(pixels[at : at + height])
        at += height
    if at < len(pixels):
        blocks.append(pixels[at:])
    return blocks
