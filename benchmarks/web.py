"""What a scanned line of a web costs, by the height of the frames it comes in.

    python benchmarks/web.py [--turns 4]

Compiles a small PaDiM bundle for a synthetic web of 1024 px, then judges the
same lines in frames of 64 to 4096 lines, the heights taking turns. The rival is
the network alone on the same tiles, in full batches.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from kenpin.camera.files.images import write_png
from kenpin.camera.frame import Frame
from kenpin.camera.synthetic import SyntheticWeb
from kenpin.compile.build import build
from kenpin.compile.progress import Steps
from kenpin.config.recipe import Recipe
from kenpin.runtime.judging.network import load_engine
from kenpin.runtime.web.pipeline import WebPipeline

WIDTH, LINES = 1024, 8192
HEIGHTS = (64, 128, 256, 512, 1024, 2048, 4096)


def recipe(good: Path) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "bench-web",
            "images": {"good": good},
            "frame": {"geometry": "continuous", "width_px": WIDTH},
            "tiles": {"size_px": 320, "halo_px": 32},
            "quantize": {"calibration_tiles": 32, "guard_tiles": 16},
            "method": {"name": "padim", "dimensions": 80},
            "engine": {"batch": 4},
        }
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=4)
    turns = parser.parse_args().turns
    with tempfile.TemporaryDirectory() as scratch:
        good = Path(scratch) / "good"
        good.mkdir()
        for number in range(4):
            web = SyntheticWeb(1024, WIDTH, 5)
            write_png(good / f"{number}.png", web.frame(number).pixels)
        with Steps(Console(file=io.StringIO())) as steps:
            bundle = build(recipe(good), Path(scratch) / "store", steps).bundle
        pixels = np.concatenate([SyntheticWeb(1024, WIDTH, 5).frame(9).pixels] * (LINES // 1024))
        pipeline = WebPipeline(bundle)
        spent: dict[int, list[float]] = {height: [] for height in HEIGHTS}
        rival = []
        for _ in range(turns):
            rival.append(network_alone(bundle, LINES // 256 * 4))
            for height in HEIGHTS:
                spent[height].append(once(pipeline, pixels, height))
    floor = np.median(rival) / LINES * 1e6
    print(f"network alone  {floor:6.2f} us a line  {WIDTH} px, batches of 4 tiles, {turns} turns")
    tallest = np.median(spent[HEIGHTS[-1]])
    for height, times in spent.items():
        line = np.array(times) / LINES * 1e6
        print(
            f"{height:5d} lines    {np.median(line):6.2f} us a line  "
            f"{np.median(times) / tallest:4.2f}x of {HEIGHTS[-1]} lines  "
            f"{np.median(line) / floor:4.2f}x the network alone  "
            f"spread {line.min():.2f}-{line.max():.2f}"
        )


def once(pipeline: WebPipeline, pixels: np.ndarray, height: int) -> float:
    """Seconds for the whole web in frames of one height."""
    frames = [Frame(pixels[a : a + height].copy(), 0, i)
              for i, a in enumerate(range(0, LINES, height))]  # fmt: skip
    pipeline.reset()
    begun = time.perf_counter()
    for frame in frames:
        pipeline.judge(frame, last=frame.index == len(frames) - 1)
    return time.perf_counter() - begun


def network_alone(bundle, tiles: int) -> float:  # type: ignore[no-untyped-def]
    """Seconds for so many tiles through the bundle's own network."""
    engine = load_engine(bundle, None)
    batch = np.random.default_rng(0).integers(0, 255, engine.input_shape, np.uint8)

    def fill(_first: int, slots: np.ndarray) -> int:
        slots[:] = batch
        return len(slots)

    engine.features(fill, engine.batch)
    begun = time.perf_counter()
    for _ in range(0, tiles, 64):
        engine.features(fill, 64)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
