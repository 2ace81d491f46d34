"""The cells of a grid one by one: compiled, measured, kept, told."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from kenpin.camera.files.listing import ImageError
from kenpin.compile.bench.grid import Cell, Grid, cells_of
from kenpin.compile.bench.page import as_page
from kenpin.compile.bench.results import UNEXPECTED, BenchResults, Result, as_csv
from kenpin.compile.bench.track import Run, Tracker
from kenpin.compile.bench.tracked import Tracked
from kenpin.compile.build import build
from kenpin.compile.evaluation.dataset import read_dataset
from kenpin.compile.evaluation.evaluate import evaluate
from kenpin.compile.fingerprint import fingerprint, paths_in
from kenpin.compile.networks.guard import QuantizationError
from kenpin.compile.networks.lowest import ProcessorError
from kenpin.compile.progress import Steps
from kenpin.compile.reporting.build_report import BuildResult
from kenpin.config.errors import ConfigError, OutputError, kind_and_words
from kenpin.processes.cluster import Workers
from kenpin.runtime.bundles.durable import replace_file
from kenpin.runtime.bundles.manifest import BundleError
from kenpin.runtime.selftest import open_tested

__all__ = ["bench"]

# A cell that cannot be compiled is a row that says why, not the end of the bench.
_REFUSALS = (ConfigError, ImageError, QuantizationError, ProcessorError, BundleError)
# Of the bench's own: `bundles` is what people call the store of their line.
_STORE = ".cell"
_MB = 1e6


def bench(
    grid: Grid,
    folder: Path,
    say: Callable[[str], None],
    trackers: Mapping[str, Tracker] = {},
    title: str = "bench",
    cluster: Workers | None = None,
) -> list[Result]:
    """Do what `folder` does not have yet, and write bench.csv and bench.html after each cell.

    Parameters
    ----------
    trackers
        Are given each result once, those known from before, too; by what `--track` says.
    cluster
        Takes a part of each build and judges images; frames are timed here.

    Returns
    -------
    All results, in the grid's order.

    Raises
    ------
    ConfigError, ImageError
        If a data set cannot be read, or `folder` lies within what a recipe reads.
    OutputError
        At the end, if a tracker failed.
    """
    cells = list(cells_of(grid))
    _lies_apart(folder, cells)
    known = BenchResults(folder)
    tracked = Tracked(folder, trackers, say)
    # Only what was measured now says how long the rest will take.
    begun, done = time.monotonic(), 0
    results: list[Result] = []
    keys = [_key(cell) for cell in cells]
    # Trainings that a kill has left would go on, and not take the time that is measured.
    if (folder / _STORE).exists():
        shutil.rmtree(folder / _STORE)
    waiting = sum(known.find(key) is None for key in keys)
    say(f"{len(cells)} cells, {len(cells) - waiting} of them known from before")
    for cell, key in zip(cells, keys, strict=True):
        result = known.find(key)
        if result is None:
            result = _measured(cell, folder, cluster)
            known.add(key, result)
            done += 1
            left_s = (time.monotonic() - begun) / done * (waiting - done)
            say(f"{cell.label}: {_text(result)}; {left_s / 60:.0f} min left")
        if not result.why:
            tracked.give(key, Run(cell.label, _plain(cell.tree), _numbers(result)))
        results.append(result)
        replace_file(folder / "bench.csv", as_csv(results).encode())
        replace_file(folder / "bench.html", as_page(title, results).encode())
    if tracked.failed:
        name, why = next(iter(tracked.failed.items()))
        raise OutputError(
            f"--track {name}: {why}; all figures are in {folder / 'bench.csv'}: mend it and say "
            "the same again, and what it missed is given to it"
        )
    return results


def _key(cell: Cell) -> str:
    """Of everything that decides a cell's figures: recipe, images, other files, the program.

    The data set's folder is named by what it is made of.
    """
    files = sorted({line for path in _other_paths(cell) for line in fingerprint(path)})
    identity = [version("kenpin"), cell.set, cell.dataset.name, cell.tree, files]
    text = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _other_paths(cell: Cell) -> list[Path]:
    """What its recipe reads beside its data set."""
    try:
        paths = list(paths_in(cell.recipe.model_dump()))
    except ConfigError:
        return []
    dataset = cell.dataset.resolve()
    return [path for path in paths if not path.resolve().is_relative_to(dataset)]


def _lies_apart(folder: Path, cells: Iterable[Cell]) -> None:
    """What a bench writes would make every cell another one, time and again."""
    for path in {path for cell in cells for path in _other_paths(cell)}:
        if folder.resolve().is_relative_to(path.resolve()):
            raise ConfigError(
                f"{folder}: lies within {path}, which a recipe reads; name another folder with -o"
            )


def _measured(cell: Cell, folder: Path, cluster: Workers | None) -> Result:
    begun = time.monotonic()
    names = cell.set, cell.method, cell.backbone, cell.seed
    store = folder / _STORE
    store.mkdir()
    try:
        with Steps(Console(file=io.StringIO())) as steps:
            made = build(cell.recipe, store, steps, lowest=False, cluster=cluster)
            pipeline = open_tested(made.bundle)
            with steps.step("judge") as progress:
                dataset = read_dataset(cell.dataset, cell.recipe.images.turn_deg)
                found = evaluate(pipeline, dataset, progress, cluster=cluster)
        frame_ms, size_mb = _frame_ms(made), _bytes(made) / _MB
    except _REFUSALS as error:
        return Result(*names, why=str(error).splitlines()[0])
    except OSError as error:
        where = error.filename
        if not isinstance(where, str) or Path(where).resolve().is_relative_to(folder.resolve()):
            # A full disk would be the next cell's, too.
            raise
        return Result(*names, why=f"{where}: {error.strerror}; check the path and rights")
    except OutputError:
        raise
    except Exception as error:  # noqa: BLE001 the cells after it may be sound
        traceback.print_exc()
        why = f"{UNEXPECTED}{kind_and_words(error)}"
        return Result(*names, why=why)
    finally:
        # The bundle is named by its recipe and comes again from it; hundreds fill a disk.
        shutil.rmtree(store)
    images, pixels = found.images, found.pixels
    return Result(
        *names,
        images["auroc"], images["f1"], pixels["auroc"], pixels["aupro"],
        images["false_rejects"], images["good"], images["escapes"], images["ng"],
        images["threshold"], frame_ms, size_mb,
        round(time.monotonic() - begun, 1), found.bundle, refused=len(found.refused),
    )  # fmt: skip


def _frame_ms(made: BuildResult) -> float | None:
    """A frame's median time, as the build measured it; None of a web, which has no frames."""
    speed: dict[str, Any] = json.loads(made.report_file.read_text(encoding="utf-8"))["speed"]
    median = speed.get("median_ms")
    return None if median is None or made.bundle.manifest.web is not None else round(median, 3)


def _bytes(made: BuildResult) -> int:
    return sum(file.stat().st_size for file in made.bundle.folder.rglob("*") if file.is_file())


def _text(result: Result) -> str:
    if result.why:
        return f"refused: {result.why}"
    auroc = "-" if result.auroc is None else f"{result.auroc:.4f}"
    return (
        f"AUROC {auroc}, {result.false_rejects} of {result.good} rejected, {result.escapes} of "
        f"{result.ng} escape, {result.seconds:.0f} s"
        + (f"; {result.refused} test images were refused" if result.refused else "")
    )


def _plain(tree: dict[str, Any], above: str = "") -> dict[str, str]:
    """A recipe's settings as "tiles.size_px" to "256"."""
    found: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            found |= _plain(value, f"{above}{name}.")
        else:
            found[f"{above}{name}"] = str(value)
    return found


def _numbers(result: Result) -> dict[str, float]:
    names = (
        "auroc", "f1", "pixel_auroc", "aupro", "false_rejects", "good", "escapes", "ng",
        "threshold", "frame_ms", "bundle_mb", "seconds", "refused",
    )  # fmt: skip
    return {name: float(value) for name in names if (value := getattr(result, name)) is not None}
