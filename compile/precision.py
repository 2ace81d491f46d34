"""INT8 or FP32: the model that goes into the bundle, and the proof that it may."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kenpin.compile.guard import compare, sample_tiles, with_twins
from kenpin.compile.prepare import Prepared
from kenpin.compile.progress import Steps
from kenpin.compile.quantize import LARGEST, largest_weight, quantize
from kenpin.config.recipe import SAFE_WEIGHT_BITS
from kenpin.runtime.bundles.manifest import QuantizationRecord
from kenpin.runtime.judging.engine import Engine
from kenpin.runtime.judging.lamp import Lamp

__all__ = ["choose_precision", "in_int8"]

# Of what a build draws at random: see `BuildTask.random`.
CALIBRATION_STREAM, GUARD_STREAM = 1, 2


def choose_precision(
    prepared: Prepared, fp32_model: Any, files: list[Path], lamp: Lamp, steps: Steps
) -> tuple[Any, QuantizationRecord]:
    """The model that goes into the bundle, and the proof that it may."""
    recipe, grid = prepared.recipe, prepared.grid
    settings, seed, halo = recipe.quantize, recipe.images.seed, recipe.tiles.halo_px
    turn = recipe.images.turn_deg
    int8_model = None
    if settings.precision == "int8":
        with steps.step("quantise to INT8"):
            int8_model = in_int8(prepared, fp32_model, files, lamp)
    with steps.step("compare FP32 and INT8 on twins"):
        rng = np.random.default_rng([seed, GUARD_STREAM])
        record = compare(
            Engine(fp32_model),
            None if int8_model is None else Engine(int8_model),
            sample_tiles(files, grid, recipe.frame, 2 * settings.guard_tiles, rng, turn, lamp),
            halo,
            recipe.method,
            settings,
            seed,
        )
    if int8_model is None:
        return fp32_model, record.model_copy(update={"processors": "any"})
    processors = "any" if largest_weight(int8_model) <= LARGEST[SAFE_WEIGHT_BITS] else "vnni"
    return int8_model, record.model_copy(update={"processors": processors})


def in_int8(prepared: Prepared, fp32_model: Any, files: list[Path], lamp: Lamp) -> Any:
    """An INT8 copy of a network, its ranges over good tiles and, unless told not to, twins."""
    recipe, grid = prepared.recipe, prepared.grid
    settings, turn = recipe.quantize, recipe.images.turn_deg
    rng = np.random.default_rng([recipe.images.seed, CALIBRATION_STREAM])
    count = max(settings.calibration_tiles, 2 * prepared.batch)
    if settings.calibrate_on == "normals":
        tiles = sample_tiles(files, grid, recipe.frame, count, rng, turn, lamp)
    else:
        normals = sample_tiles(files, grid, recipe.frame, count // 2, rng, turn, lamp)
        tiles = np.concatenate([normals, with_twins(normals, recipe.tiles.halo_px, rng)])
    return quantize(fp32_model, tiles, settings.weight_bits)
