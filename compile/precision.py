"""INT8 or FP32: the model that goes into the bundle, and the proof that it may."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.compile.importing.imported_network import ImportedNetwork
from kenpin.compile.networks.guard import (
    QuantizationError,
    compare,
    sample_tiles,
    share_kept,
    with_twins,
)
from kenpin.compile.networks.quantize import (
    LARGEST,
    largest_weight,
    operations_in_float,
    quantize,
    quantize_within,
    quantized_operations,
)
from kenpin.compile.prepare import Prepared
from kenpin.compile.progress import Steps
from kenpin.config.recipe import SAFE_WEIGHT_BITS
from kenpin.runtime.bundles.manifest import QuantizationRecord
from kenpin.runtime.judging.engine import Engine
from kenpin.runtime.judging.lamp import Lamp

__all__ = ["choose_precision", "in_int8"]

U8 = NDArray[np.uint8]

# Of what a build draws at random: see `BuildTask.random`.
CALIBRATION_STREAM, GUARD_STREAM, CHOICE_STREAM = 1, 2, 8


def choose_precision(
    prepared: Prepared, fp32_model: Any, files: list[Path], lamp: Lamp, steps: Steps
) -> tuple[Any, QuantizationRecord]:
    """The model that goes into the bundle, and the proof that it may."""
    settings = prepared.recipe.quantize
    drawn = _Drawn(prepared, files, lamp)
    int8_model = None
    if settings.precision == "int8":
        with steps.step("quantise to INT8"):
            seen = drawn.calibration()
            int8_model = quantize(fp32_model, seen, settings.weight_bits)
    try:
        record = drawn.compared(fp32_model, int8_model, steps)
    except QuantizationError as error:
        steps.say(f"warning: {error}\nlooking for what must stay in float")
        with steps.step("choose what stays in float"):
            int8_model = _within(fp32_model, drawn)
        in_float, narrow = operations_in_float(int8_model), quantized_operations(int8_model)
        if not narrow:
            raise
        steps.say(
            f"{len(in_float)} of {len(in_float) + narrow} convolutions and products stay in float: "
            f"{', '.join(in_float)}"
        )
        record = drawn.compared(fp32_model, int8_model, steps)
        record = record.model_copy(update={"in_float": in_float})
    model = fp32_model if int8_model is None else int8_model
    largest = largest_weight(model)
    processors = "any" if largest <= LARGEST[SAFE_WEIGHT_BITS] else "vnni"
    if int8_model is None and processors == "vnni":
        steps.say(
            f"warning: the network is INT8 already, its weights go to {largest}: the bundle is for "
            'processors with VNNI alone; import it in float with quantize.precision = "int8", and '
            "it is for all"
        )
    return model, record.model_copy(update={"processors": processors})


def in_int8(
    prepared: Prepared, fp32_model: Any, files: list[Path], lamp: Lamp, in_float: Sequence[str]
) -> Any:
    """An INT8 copy of a network, its ranges over good tiles and, unless told not to, twins.

    Parameters
    ----------
    in_float
        Operations that stay in float, see `QuantizationRecord`.
    """
    drawn = _Drawn(prepared, files, lamp)
    bits = prepared.recipe.quantize.weight_bits
    return quantize(fp32_model, drawn.calibration(), bits, in_float)


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Tiles of good images, drawn for one purpose each, the same in every build."""

    prepared: Prepared
    files: list[Path]
    lamp: Lamp

    def tiles(self, count: int, rng: np.random.Generator) -> U8:
        """So many, of random images."""
        recipe, grid = self.prepared.recipe, self.prepared.grid
        turn, network = recipe.images.turn_deg, self.prepared.network
        # Networks of tiles see whole frames, in each half of what is drawn.
        tiled = isinstance(network, ImportedNetwork) and network.file.shape is not None
        if tiled:
            count = -(-count // (2 * len(grid))) * 2 * len(grid)
        return sample_tiles(
            self.files, grid, recipe.frame, count, rng, turn, self.lamp, in_order=tiled
        )

    def rng(self, stream: int) -> np.random.Generator:
        """Of one purpose."""
        return np.random.default_rng([self.prepared.recipe.images.seed, stream])

    def calibration(self) -> U8:
        """What the ranges of INT8 must cover."""
        settings, halo = self.prepared.recipe.quantize, self.prepared.recipe.tiles.halo_px
        rng = self.rng(CALIBRATION_STREAM)
        count = max(settings.calibration_tiles, 2 * self.prepared.batch)
        if settings.calibrate_on == "normals":
            return self.tiles(count, rng)
        normals = self.tiles(count // 2, rng)
        return np.concatenate([normals, with_twins(normals, halo, rng)])

    def compared(self, fp32_model: Any, int8_model: Any | None, steps: Steps) -> QuantizationRecord:
        """The guard; see `compare`."""
        recipe = self.prepared.recipe
        # In FP32 alone too: whether it sees them, and whether a threshold lies within its reach.
        alone = int8_model is None
        with steps.step("score loud pasted defects" if alone else "compare FP32 and INT8 on twins"):
            return compare(
                Engine(fp32_model),
                None if int8_model is None else Engine(int8_model),
                self.tiles(2 * recipe.quantize.guard_tiles, self.rng(GUARD_STREAM)),
                recipe.tiles.halo_px,
                recipe.method,
                recipe.quantize,
                recipe.images.seed,
            )


def _within(fp32_model: Any, drawn: _Drawn) -> Any:
    """INT8 as far as the guard's limits allow, found on other tiles than the guard's."""
    recipe = drawn.prepared.recipe
    settings = recipe.quantize
    normals = drawn.tiles(2 * settings.guard_tiles, drawn.rng(CHOICE_STREAM))
    kept = share_kept(
        Engine(fp32_model), normals, recipe.tiles.halo_px, recipe.method, recipe.images.seed
    )
    # Half of what is allowed: the guard looks at other tiles.
    allowed = min(1 - settings.min_score_ratio, settings.max_separation_loss) / 2
    return quantize_within(fp32_model, drawn.calibration(), kept, allowed, settings.weight_bits)
