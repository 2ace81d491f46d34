"""Small bundles from synthetic frames, each compiled once for all tests."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import kenpin
from kenpin.camera.frame import Pixels
from kenpin.camera.synthetic import SyntheticWeb, write_dataset
from kenpin.compile.reporting.build_report import BuildResult
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.blend import load_blend
from kenpin.runtime.judging.join import Joiner
from kenpin.runtime.judging.lamp import Lamp
from kenpin.runtime.judging.network import load_engine
from kenpin.runtime.judging.pipeline import Pipeline, Stages
from kenpin.runtime.judging.scoring import load_scorer
from kenpin.runtime.judging.tile_network import TileNetwork

HEIGHT, WIDTH, SEED = 128, 320, 3

RECIPE = """
name = "small"
[images]
good = "{good}"
[frame]
height_px = 128
width_px = 320
[tiles]
size_px = 192
halo_px = 32
[quantize]
calibration_tiles = 40
guard_tiles = 20
[report]
twins_each = 1
speed_s = 0
[method]
name = "patchcore"
coreset_rows = 300
candidates = 4000
[engine]
batch = 2
"""

# Half the time, for what INT8 has no part in.
IN_FLOAT = 'quantize.precision="fp32"'
PADIM = 'method={name="padim",granularity="columns",share="column",dimensions=20}'
# Anomalib's tile ensemble: no halo, overlapping tiles, a model for each.
ENSEMBLE = (
    "tiles={size_px=128,halo_px=0,stride_px=96}",
    'method={name="padim",granularity="1/16",share="tile",dimensions=20}',
)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that `make` has filled: once for a whole run, however many workers share it.

    KENPIN_TEST_BUILDS names where, if several runs share them: see `make test`.
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = Path(os.environ.get("KENPIN_TEST_BUILDS") or base / "shared") / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder.parent / f"{name}.done"
        if not done.exists():
            make(folder)
            done.touch()
    return folder


@dataclass(frozen=True)
class Workshop:
    """Where the frames lie and how to compile them."""

    data: Path
    recipe: Path

    @classmethod
    def at(cls, folder: Path) -> Workshop:
        """What `open` has written."""
        return cls(folder / "data", folder / "small.toml")

    @classmethod
    def open(cls, folder: Path) -> Workshop:
        """Write the frames and the recipe."""
        made = cls.at(folder)
        web = SyntheticWeb(HEIGHT, WIDTH, SEED)
        write_dataset(made.data, web, train=16, good=4, each=2)
        made.recipe.write_text(RECIPE.format(good=made.data / "train" / "good"))
        return made

    def build(self, store: Path, *changes: str, lowest: bool = False) -> BuildResult:
        """Compile, quietly, with some settings changed."""
        return kenpin.build(self.recipe, store, changes=changes, lowest=lowest)


def stages_of(bundle: Bundle, *, network: Bundle | None = None, exhaustive: bool) -> Stages:
    """From pixels to the map by a bundle's statistics.

    network     whose features are measured by them, if not its own
    exhaustive  every bank row is looked at, not what the network proposes
    """
    m = bundle.manifest
    grid, px = Pipeline(bundle).grid, m.features.patch_stride_px
    scorer = load_scorer(bundle.arrays, m.method, m.features, grid, exhaustive=exhaustive)
    assert (getattr(scorer, "search", None) is None) == exhaustive
    return Stages(
        TileNetwork(
            grid,
            load_engine(network or bundle, None),
            scorer,
            px,
            m.score.smooth_sigma_px,
            load_blend(bundle.arrays, m.blend, Joiner(grid, px).shape, px),
            Lamp(m.grey.even_to),
        )
    )


def with_patch(pixels: Pixels) -> Pixels:
    """A copy with a white patch, which no method may miss."""
    copy = pixels.copy()
    copy[50:70, 100:120] = 255
    return copy
