"""What the network alone costs, as it is built and otherwise, for each scored pixel.

    python benchmarks/floor.py

INT8 networks of ResNet18 for PatchCore, batches of equal pixels on two streams, interleaved
in an order drawn anew each round. Tiles of other sizes spend another share of their pixels on
halos.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench_cases import Case, frame_of
from edge_run import machine

from kenpin.compile.networks.guard import with_twins
from kenpin.compile.networks.quantize import quantize
from kenpin.compile.prepare import prepare
from kenpin.config.recipe import Recipe
from kenpin.config.tuning import Tuning
from kenpin.runtime.judging.engine import Engine

AS_BUILT = "as built: mono uint8, 256 px, halo 32"


@dataclass(frozen=True)
class Variant:
    """How a network differs from the one as built."""

    size_px: int = 256
    halo_px: int = 32
    channels: int = 1
    layers: tuple[str, ...] = ("layer2", "layer3")
    int8: bool = True
    outside: bool = False


VARIANTS = {
    AS_BUILT: Variant(),
    "three channels": Variant(channels=3),
    "normalised outside, by numpy": Variant(outside=True),
    "FP32": Variant(int8=False),
    "layer 1 tapped, too": Variant(layers=("layer1", "layer2", "layer3")),
    "tiles of 512 px": Variant(size_px=512),
    "tiles of 128 px": Variant(size_px=128),
    "halo 0, whose features are worse": Variant(halo_px=0),
}


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=25)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        arms = {name: arm(variant, Path(folder)) for name, variant in VARIANTS.items()}
    spent: dict[str, list[float]] = {name: [] for name in arms}
    rng = np.random.default_rng(0)
    for number in range(options.rounds + 2):
        for name in rng.permutation(list(arms)):
            run, scored_px = arms[name]
            begun = time.perf_counter()
            run()
            if number >= 2:
                spent[name].append((time.perf_counter() - begun) * 1e3 / scored_px * 1e6)
    print(f"{machine()}, {options.rounds} rounds, ms for a million scored pixels")
    for name, values in spent.items():
        ratio = np.percentile(np.array(values) / np.array(spent[AS_BUILT]), [25, 50, 75])
        print(f"{name:40}{np.median(values):8.1f}   {ratio[1]:.2f} ({ratio[0]:.2f}-{ratio[2]:.2f})")
    return 0


def arm(variant: Variant, folder: Path) -> tuple[Callable[[], object], int]:
    """What runs as many pixels as 16 tiles of 256 px have, and how many of them are scored."""
    tiles = 16 * 256 * 256 // variant.size_px**2
    case = Case("resnet18", {"name": "patchcore", "share": "frame"}, tiles=tiles)
    table = case.recipe(variant.halo_px, folder).model_dump()
    core = variant.size_px - 2 * variant.halo_px
    table["tiles"] |= {"size_px": variant.size_px, "stride_px": None}
    table["frame"] |= {"channels": variant.channels, "height_px": core, "width_px": core * tiles}
    table["backbone"] |= {"layers": variant.layers}
    prepared = prepare(Recipe.model_validate(table))
    grid = prepared.grid
    pixels = frame_of(grid)
    pixels = np.tile(pixels, (-(-grid.height // len(pixels)), 1))[: grid.height]
    if variant.channels == 3:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    room = np.empty((tiles, variant.channels, grid.size, grid.size), np.uint8)
    grid.fill(pixels, range(tiles), room)
    batch = max(1, tiles // 4)
    model = prepared.network.model(batch)
    if variant.int8:
        seen = [room, with_twins(room, variant.halo_px, np.random.default_rng(0))]
        model = quantize(model, np.concatenate(seen))
    engine = Engine(model, tuning=Tuning(batch=batch, streams=2))
    features = engine.buffers(tiles)

    def run() -> None:
        if variant.outside:
            (room.astype(np.float32) / np.float32(255) - np.float32(0.45)) / np.float32(0.225)
        engine.features(lambda _, slots: len(slots), tiles, features)

    return run, tiles * core**2


if __name__ == "__main__":
    sys.exit(main())
