"""A build of more and more images of a megapixel: its peak memory, and seconds of a core.

    python benchmarks/many_images.py --images 100 200 400 800

Images are made on the fly in a folder for each size and removed afterwards; each build is a process
of its own. What does not change from one size to the next does not grow with the number of images.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from edge_run import machine

from kenpin.camera.files.images import write_png
from kenpin.camera.synthetic import SyntheticWeb
from kenpin.compile.build import build
from kenpin.compile.progress import Steps
from kenpin.config.console import plain_console
from kenpin.config.recipe import load_recipe

SIDE_PX = 1024
RECIPE = """
name = "many"
[images]
good = "good"
[frame]
height_px = {side}
width_px = {side}
[tiles]
size_px = 320
halo_px = 32
[backbone]
name = "gabor"
[method]
{method}
"""
METHODS = {
    "patchcore": 'name = "patchcore"\ncoreset_rows = 2000',
    "streamed": 'name = "patchcore"\ncoreset_rows = 2000\ncoreset = "streamed"',
    "padim": 'name = "padim"\ngranularity = "single"\ndimensions = 50',
}


def one_size(method: str, count: int) -> dict[str, float]:
    """MiB at the peak, seconds, and those of a core, the making of the images taken away."""
    with tempfile.TemporaryDirectory(prefix="kenpin-many-") as scratch:
        folder = Path(scratch)
        (folder / "good").mkdir()
        web = SyntheticWeb(SIDE_PX, SIDE_PX, 3)
        for number in range(count):
            write_png(folder / "good" / f"{number:05d}.png", web.frame(number).pixels)
        (folder / "recipe.toml").write_text(
            RECIPE.format(side=SIDE_PX, method=METHODS[method]), encoding="utf-8"
        )
        begun, at_work = time.perf_counter(), time.process_time()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with Steps(plain_console()) as steps:
            build(load_recipe(folder / "recipe.toml"), folder / "made", steps, lowest=False)
        return {
            "seconds": time.perf_counter() - begun,
            "core_seconds": time.process_time() - at_work,
            "before_mib": before / 1024,
            "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


def main(argv: Sequence[str] | None = None) -> int:
    """Each size in a process of its own; see the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[100, 200, 400, 800])
    parser.add_argument("--method", choices=list(METHODS), default="patchcore")
    parser.add_argument("--one", action="store_true", help="in this process, and print JSON")
    options = parser.parse_args(argv)
    if options.one:
        print("\n" + json.dumps(one_size(options.method, options.images[0])))
        return 0
    os.nice(10)
    print(f"{machine()}\n{options.method}, images of {SIDE_PX} x {SIDE_PX} px", flush=True)
    for count in options.images:
        command = [sys.executable, __file__, "--one", "--method", options.method]
        made = subprocess.run([*command, "--images", str(count)], capture_output=True, check=True)
        found = json.loads(made.stdout.splitlines()[-1])
        print(
            f"{count:6} images: {found['mib']:6.0f} MiB at the peak ({found['before_mib']:.0f} "
            f"before), {found['seconds']:7.1f} s, {found['core_seconds']:7.1f} s of a core",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
