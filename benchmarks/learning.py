"""How long a bundle takes to learn from 50 frames that were falsely rejected.

    python benchmarks/learning.py --frames 50

PatchCore and PaDiM at 256 x 1024 px and at 1024 x 2048 px, gabor, the frames of a synthetic web
with stripes that no good image has, and beside them 25 known defects and 25 known good ones: all
that `edge-run bundles update` does, at its niceness, with the cores that it may use.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from edge_run import machine
from numpy.typing import NDArray

import kenpin
from kenpin.camera.synthetic import SyntheticWeb, write_dataset
from kenpin.runtime.learning.challenge import Known
from kenpin.runtime.learning.update import update

U8 = NDArray[np.uint8]

SEED, TRAIN = 7, 16
RECIPE = """
name = "learns"
[images]
good = "{good}"
[frame]
height_px = {height}
width_px = {width}
[tiles]
size_px = 320
halo_px = 32
[quantize]
calibration_tiles = 32
guard_tiles = 16
[report]
twins_each = 1
speed_s = 0
[method]
{method}
"""
METHODS = {
    "patchcore, 2,000 rows": 'name = "patchcore"\ncoreset_rows = 2000\ncandidates = 20000',
    "padim, 1/16": 'name = "padim"\ngranularity = "1/16"\ndimensions = 100',
}


def known(name: str, pixels: U8, *, bad: bool) -> Known:
    """A frame that somebody has looked at."""
    return Known(name, hashlib.sha256(pixels.tobytes()).hexdigest(), bad, pixels.copy, by="jana")


def measure(method: str, height: int, width: int, frames: int) -> str:
    """One line of the table."""
    web = SyntheticWeb(height, width, SEED)
    wave = 16 * np.clip(np.sin(np.arange(width) / 3.0) * 3, 0, 1)

    def striped(number: int) -> U8:
        return np.clip(web.frame(500 + number).pixels + wave, 0, 255).astype(np.uint8)

    def spotted(number: int) -> U8:
        pixels = web.frame(700 + number).pixels.copy()
        pixels[40:64, 200:224] = 255
        return pixels

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_dataset(folder / "data", web, train=TRAIN, good=0, each=0)
        recipe = folder / "recipe.toml"
        good = folder / "data" / "train" / "good"
        recipe.write_text(
            RECIPE.format(good=good, height=height, width=width, method=METHODS[method])
        )
        bundle = kenpin.build(recipe, folder / "store", lowest=False).bundle
        lessons = [known(f"{n}.png", striped(n), bad=False) for n in range(frames)]
        others = [known(f"defect-{n}", spotted(n), bad=True) for n in range(25)]
        others += [known(f"good-{n}", web.frame(900 + n).pixels, bad=False) for n in range(25)]
        begun = time.monotonic()
        found = update(bundle, lessons, others, folder / "store", say=lambda step: print(" ", step))
        took = time.monotonic() - begun
        end = "made" if found.bundle else f"refused: {found.refused[0]}"
        return f"{method:24}{height} x {width}  {took:6.1f} s  {end}"


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=50)
    frames = parser.parse_args().frames
    print(machine(), f"{frames} frames", flush=True)
    os.nice(10)
    for height, width in ((256, 1024), (1024, 2048)):
        for method in METHODS:
            print(measure(method, height, width, frames), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
