"""Anomalib's own models on the tiles, in the steps and with the weights of benchmarks/methods.toml.

    .venv/bin/python benchmarks/trained_peers.py --python .venv-peers/bin/python
    … --only "mtd stfpm" --seeds 0 1 2

Needs ../shared and `make .venv-peers/installed`. The rival of docs/training.md's table: the same
images to learn from, cut into the same tiles, and the same test images; a frame's score is the
highest of its tiles'. Each model is trained once, on all good images, by Anomalib's own training
step. What was measured is kept in --work, so that the same command goes on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from edge_run import machine
from peers_kept import digest_of, peers_code

from kenpin.compile.bench.grid import Cell, cells_of, load_grid
from kenpin.compile.evaluation.dataset import GOOD, read_dataset
from kenpin.compile.good_images.images import learned_from, load
from kenpin.compile.metrics.scores import auroc
from kenpin.runtime.judging.tiling import TileGrid

HERE = Path(__file__).resolve().parent
GRID = HERE / "methods.toml"
# EfficientAD's teacher and the images that it is trained beside cannot be had here.
MODELS = (
    "patchcore", "padim", "dfm", "stfpm", "reverse_distillation", "fastflow", "cflow", "ganomaly",
)  # fmt: skip


def main() -> int:
    """Measure what is not known yet, and print a table."""
    options = _options()
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    print(f"{machine()}, the highest place of a tile's core counts", flush=True)
    print("| set | model | seed | image AUROC | steps | seconds to fit |")
    print("| --- | --- | --- | --- | --- | --- |")
    # Theirs have no mask.
    cells = [
        cell
        for cell in cells_of(load_grid(GRID))
        if cell.method in MODELS and cell.recipe.images.mask is None
    ]
    for cell, seed in itertools.product(cells, options.seeds):
        if re.search(options.only, f"{cell.set} {cell.method}"):
            found = _known(cell, seed, work, options.python)
            steps = f"{found['steps']} of {found['asked']}"
            shown = f"{found['auroc']:.3f} | {steps} | {found['fitted_s']:.0f}"
            print(f"| {cell.set} | {cell.method} | {seed} | {shown} |", flush=True)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", type=Path, required=True, help="of the peers' environment")
    parser.add_argument("--work", type=Path, default=HERE.parent / ".cache" / "trained_peers")
    parser.add_argument("--only", default="", help="a pattern of sets and models")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    return parser.parse_args()


def _known(cell: Cell, seed: int, work: Path, python: Path) -> dict[str, Any]:
    """What one model is worth: from before, or measured now."""
    recipe = cell.recipe
    tiles = _tiles(cell, work)
    job = {
        "model": cell.method,
        "good": str(tiles / "good.npy"),
        "shown": str(tiles / "shown.npy"),
        "halo_px": recipe.tiles.halo_px,
        "minutes": getattr(recipe.method, "minutes", 0),
        "steps": getattr(recipe.method, "steps", 0),
        "batch": getattr(recipe.method, "batch", 0),
        "seed": seed,
        "rows": getattr(recipe.method, "coreset_rows", 0),
        "weights": str(recipe.backbone.weights),
    }
    answer = work / f"{digest_of(job, peers_code())}.json"
    if not answer.exists():
        file, said = work / "job.json", work / "answer.json"
        file.write_text(json.dumps(job | {"answer": str(said)}))
        command = [python, HERE / "peers" / "anomalib_trained.py", file]
        log = work / "log.txt"
        with log.open("w") as told:
            ended = subprocess.run(command, check=False, stdout=told, stderr=told)
        if ended.returncode:
            raise SystemExit(f"{cell.set}, {cell.method}: ended with {ended.returncode}, see {log}")
        said.replace(answer)
    found: dict[str, Any] = json.loads(answer.read_text())
    frames = np.array(found["scores"]).reshape(-1, _per_frame(cell)).max(axis=1)
    bad = [image.kind != GOOD for image in read_dataset(cell.dataset).images]
    return found | {"auroc": auroc(frames, bad), "asked": job["steps"]}


def _per_frame(cell: Cell) -> int:
    return len(TileGrid.of(cell.recipe.frame, cell.recipe.tiles))


def _tiles(cell: Cell, work: Path) -> Path:
    """A folder with every tile of the good images, and of the test images in their order."""
    recipe = cell.recipe
    cut = [part.model_dump(mode="json") for part in (recipe.images, recipe.frame, recipe.tiles)]
    folder = work / f"tiles-{digest_of(str(cell.dataset), cut)}"
    if not (folder / "shown.npy").exists():
        folder.mkdir(exist_ok=True)
        shown = [image.file for image in read_dataset(cell.dataset).images]
        for name, files in (("good", learned_from(recipe.images)), ("shown", shown)):
            whole = folder / f"{name}.npy"
            begun = whole.with_stem(f"{name}-begun")
            np.save(begun, np.concatenate([_cut(cell, file) for file in files]))
            begun.replace(whole)
    return folder


def _cut(cell: Cell, file: Path) -> np.ndarray:
    """(tiles, S, S) of an image."""
    grid = TileGrid.of(cell.recipe.frame, cell.recipe.tiles)
    pixels = load(file, cell.recipe.frame, cell.recipe.images.turn_deg)
    return np.stack([grid.tile(pixels, number) for number in range(len(grid))])


if __name__ == "__main__":
    sys.exit(main())
