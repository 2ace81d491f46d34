"""Which batch and how many streams are fastest for a bundle on this box: tried out."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from kenpin.config.arguments import add_line_threads, whole
from kenpin.config.errors import ConfigError
from kenpin.config.exits import Exit
from kenpin.config.settings import problems
from kenpin.config.tuning import Tuning, tuning_file
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.bundles.durable import replace_file
from kenpin.runtime.bundles.manifest import BundleError
from kenpin.runtime.device_trial import let_in
from kenpin.runtime.judging.cores import line_threads
from kenpin.runtime.judging.engine import Engine
from kenpin.runtime.judging.proposals import SearchError
from kenpin.runtime.judging.scoring import load_scorer
from kenpin.runtime.judging.tiling import TileGrid

__all__ = ["BATCHES", "add_tune", "alike", "candidates", "choose", "measure", "write_tuning"]

# Tiles at a time that are tried.
BATCHES = (1, 2, 4, 8, 16)
# A setting must be this much faster than the bundle's own to be worth a change.
WORTHWHILE = 0.97
WARM_UP = 2


def candidates(
    bundle: Bundle, batches: Sequence[int], device: str, threads: int | None
) -> list[Tuning]:
    """The settings to try, the bundle's own first."""
    tiles = len(TileGrid.of(bundle.manifest.frame, bundle.manifest.tiles))
    cores = threads or len(os.sched_getaffinity(0))
    streams = sorted({1, 2, cores} & set(range(1, cores + 1))) if device == "CPU" else [1]
    own = bundle.manifest.features.batch
    # A web's tile rows may come several at a time.
    most = max(tiles, own)
    sizes = [own, *(batch for batch in sorted(set(batches)) if batch <= most and batch != own)]
    return [Tuning(device=device, batch=n, streams=s) for s in streams for n in sizes]


def alike(
    bundle: Bundle, settings: Sequence[Tuning], threads: int | None = None
) -> tuple[list[Tuning], dict[int, str]]:
    """The settings whose batch changes no golden frame's score, and why others are left out.

    Somebody else's network may take its own batch alone, or mix the tiles of another; one that
    is made of a network for each tile gives each place of the batch to one of them.
    """
    own = settings[0]
    left_out: dict[int, str] = {}
    for batch in sorted({one.batch or 0 for one in settings} - {own.batch or 0}):
        try:
            let_in(bundle, own.model_copy(update={"batch": batch}), threads)
        except BundleError as error:
            left_out[batch] = str(error).partition("\n")[0]
    return [one for one in settings if one.batch not in left_out], left_out


def measure(
    bundle: Bundle,
    settings: Sequence[Tuning],
    rounds: int,
    threads: int | None = None,
) -> list[tuple[Tuning, float]]:
    """Median milliseconds of a frame's tiles, all settings interleaved.

    Raises
    ------
    EngineError
        If the device cannot run the network at all.
    BundleError
        If the statistics do not fit the manifest's geometry.
    """
    if bundle.network is None:
        raise ValueError(f"{bundle.folder}: its network was let go; read the bundle again")
    m = bundle.manifest
    grid = TileGrid.of(m.frame, m.tiles)
    tiles = len(grid)
    # What the line runs: the network with the search that belongs to it, or without any.
    search = None
    with contextlib.suppress(SearchError):
        search = load_scorer(bundle.arrays, m.method, m.features, grid, threads).search
    arms = {}
    for tuning in settings:
        engine = Engine(
            bundle.network,
            precision=m.features.inference_precision,
            threads=threads,
            tuning=tuning,
            search=search,
        )
        arms[_key(tuning)] = (engine, engine.buffers(tiles))
    spent: dict[str, list[float]] = {key: [] for key in arms}
    for number in range(WARM_UP + rounds):
        for key, (engine, buffers) in arms.items():
            begun = time.perf_counter()
            engine.features(lambda _first, batch: len(batch), tiles, buffers)
            if number >= WARM_UP:
                spent[key].append((time.perf_counter() - begun) * 1e3)
    return [(tuning, float(np.median(spent[_key(tuning)]))) for tuning in settings]


def choose(measured: Sequence[tuple[Tuning, float]]) -> Tuning:
    """The fastest; the first one, the bundle's own, unless another is clearly faster."""
    own, own_ms = measured[0]
    best, best_ms = min(measured, key=lambda pair: pair[1])
    chosen = best if best_ms < WORTHWHILE * own_ms else own
    notes = {_key(tuning): round(ms, 3) for tuning, ms in measured}
    return chosen.model_copy(update={"measured": notes})


def write_tuning(bundle: Path, tuning: Tuning) -> Path:
    """Beside the bundle's folder, whole or not at all."""
    target = tuning_file(bundle)
    replace_file(target, f"{tuning.model_dump_json(indent=1)}\n".encode())
    return target


def add_tune(commands: Any) -> None:
    """Add `tune` to edge-doctor's subcommands."""
    tune = commands.add_parser(
        "tune", help="measure a bundle's network on this box; keep the fastest settings"
    )
    tune.add_argument("bundle", type=Path, help="its folder, or a store with a `current`")
    tune.add_argument(
        "--device",
        default="CPU",
        help="CPU, GPU, NPU, HETERO:GPU,CPU, ...: kept only if golden frames agree; default: CPU",
    )
    add_line_threads(tune)
    tune.add_argument(
        "--batches",
        type=whole,
        nargs="+",
        default=BATCHES,
        metavar="N",
        help="tiles of one inference, to try; default: " + " ".join(map(str, BATCHES)),
    )
    tune.add_argument("--rounds", type=whole, default=30, help="of all settings; default: 30")
    tune.set_defaults(action=_tune)


def _tune(options: argparse.Namespace) -> int:
    bundle = read_bundle(options.bundle)
    threads = line_threads(options.threads)
    sys.stdout.write(f"{bundle.label}, {threads} threads\n")
    try:
        settings = candidates(bundle, options.batches, options.device, threads)
    except ValidationError as error:
        raise ConfigError(f"--device: {problems(error)}") from None
    # A device that computes other scores has no use for fast ones.
    for refused in let_in(bundle, settings[0], threads).refused:
        sys.stdout.write(f"  {refused}\n")
    settings, left_out = alike(bundle, settings, threads)
    for batch, reason in left_out.items():
        sys.stdout.write(f"  batch {batch} is left out: {reason}\n")
    measured = measure(bundle, settings, options.rounds, threads)
    chosen = choose(measured)
    # Another batch is another network, for which a plug-in may take other ways.
    for answer in let_in(bundle, chosen, threads).answers:
        sys.stdout.write(f"  {answer}\n")
    for tuning, ms in measured:
        mark = "*" if _key(tuning) == _key(chosen) else " "
        sys.stdout.write(f"{mark} {_key(tuning):32} {ms:8.2f} ms a frame\n")
    file = write_tuning(bundle.folder, chosen)
    sys.stdout.write(f"{file}: written; the next start of the line uses it\n")
    return Exit.DONE


def _key(tuning: Tuning) -> str:
    return f"{tuning.device} batch {tuning.batch} streams {tuning.streams}"
