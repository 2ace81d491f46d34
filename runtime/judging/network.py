"""A bundle's network, scorer and mask, as this box runs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kenpin.config.errors import ConfigError
from kenpin.config.tuning import Tuning, load_tuning
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.manifest import BundleError
from kenpin.runtime.judging.engine import CannotCompileError, DeviceError, Engine, EngineError
from kenpin.runtime.judging.join import Joiner
from kenpin.runtime.judging.processor import processor_name
from kenpin.runtime.judging.proposals import BankSearch, SearchError
from kenpin.runtime.judging.scoring import OnFeatures, Scorer, array_of, load_scorer
from kenpin.runtime.judging.tiling import TileGrid

__all__ = ["AS_USUAL", "Execution", "load_engine", "load_mask", "load_network"]

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Execution:
    """How a bundle's network and its distances are computed; the verdicts are the same.

    threads     cores for the network; None leaves it to OpenVINO
    exhaustive  search without proposals, as `load_scorer` says
    tuning      device, batch and streams; None takes those of the file beside the bundle
    overhear    told of the features of all tiles of which something is inspected
    """

    threads: int | None = None
    exhaustive: bool = False
    tuning: Tuning | None = None
    overhear: OnFeatures | None = None


# Threads as OpenVINO takes them, and the tuning that lies beside the bundle.
AS_USUAL = Execution()


def load_network(
    bundle: Bundle, grid: TileGrid, execution: Execution = AS_USUAL
) -> tuple[Engine, Scorer]:
    """What makes features of a bundle's tiles, and what measures them; it may search for it.

    Where this processor cannot compile the search, every bank row is measured, and
    `Engine.refused` says so.

    Raises
    ------
    BundleError
        As `load_engine` and `load_scorer`.
    """
    m, threads = bundle.manifest, execution.threads

    def scorer_of(*, exhaustive: bool) -> Scorer:
        return load_scorer(
            bundle.arrays, m.method, m.features, grid, threads, exhaustive=exhaustive
        )

    refused: tuple[str, ...] = ()
    try:
        scorer = scorer_of(exhaustive=execution.exhaustive)
    except SearchError as error:
        scorer, refused = scorer_of(exhaustive=True), (f"{error}, so every bank row is measured",)
    engine = load_engine(bundle, threads, scorer.search, execution.tuning)
    if scorer.search is not None and not engine.searches and engine.device == "CPU":
        # What it refused as a part of the network it would refuse alone.
        scorer = scorer_of(exhaustive=True)
    engine.refused = (*refused, *engine.refused)
    return engine, scorer


def load_engine(
    bundle: Bundle,
    threads: int | None,
    search: BankSearch | None = None,
    tuning: Tuning | None = None,
) -> Engine:
    """The bundle's network on this box.

    Parameters
    ----------
    search
        Of the scorer that the features go to.
    tuning
        How it is run; None: as the tuning beside the bundle says.

    Raises
    ------
    BundleError
        If it cannot be compiled, is not what the manifest says, or the tuning is damaged or
        names a device that is not there.
    """
    if bundle.network is None:
        raise ValueError(f"{bundle.folder}: its network was let go; read the bundle again")
    manifest = bundle.manifest
    f, t, c = manifest.features, manifest.tiles, manifest.frame.channels
    try:
        tuning = tuning or load_tuning(bundle.folder)
    except ConfigError as error:
        raise BundleError(str(error)) from error
    try:
        engine = Engine(
            bundle.network,
            precision=f.inference_precision,
            threads=threads,
            tuning=tuning,
            search=search,
        )
    except DeviceError as error:
        # Nothing is wrong with the bundle: another may have been named, or be there no more.
        raise BundleError(
            f"{error}; run `edge-doctor tune` for the CPU, or with --device for one that this box "
            "has"
        ) from error
    except CannotCompileError as error:
        # Compiled anew it would be the same network.
        raise BundleError(
            f"{error}; this processor, {processor_name()}, cannot run the bundle: give it to one "
            "with AVX2 or more, or make it of another network"
        ) from error
    except EngineError as error:
        raise BundleError(f"{error}; recompile the bundle") from error
    batch = tuning.batch or f.batch
    expected = ((batch, c, t.size_px, t.size_px), (batch, f.cells, f.cells, f.dimensions))
    if (engine.input_shape, engine.output_shape) != expected:
        raise BundleError(
            f"{bundle.folder}: the network maps {engine.input_shape} to {engine.output_shape}, "
            f"the manifest says {expected[0]} to {expected[1]}; recompile the bundle"
        )
    return engine


def load_mask(arrays: Mapping[str, F32], grid: TileGrid, patch_stride_px: int) -> F32 | None:
    """Where the parts are inspected, None if everywhere.

    Raises
    ------
    BundleError
        If the mask is not of the map's size, or nothing of it is inspected.
    """
    if "mask" not in arrays:
        return None
    mask = array_of(arrays, "mask", Joiner(grid, patch_stride_px).shape)
    if not (np.isin(mask, (0, 1)).all() and mask.any()):
        raise BundleError("statistics mask.npy is not 0 and 1, or all 0; recompile the bundle")
    return mask
