"""How fast a box is beside another: the same two pieces of work, timed on both.

A recipe is searched for on a workstation, and its bundle runs on a box. What a frame takes
here, times how much longer the box takes for the same work, is what it takes there.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from kenpin.config.arguments import add_line_threads, not_negative
from kenpin.config.errors import ConfigError
from kenpin.config.exits import Exit
from kenpin.config.output import file_to_write
from kenpin.config.settings import Settings, problems
from kenpin.config.tuning import Tuning
from kenpin.runtime.judging.cores import line_threads
from kenpin.runtime.judging.engine import Engine
from kenpin.runtime.judging.telemetry import silence

silence()
import openvino as ov  # noqa: E402
from openvino import opset13 as ops  # noqa: E402

__all__ = ["Yardstick", "add_measure", "measure_box", "read_yardstick"]

F32 = NDArray[np.float32]

# Channels and stride of the network's layers: about what a ResNet18 does to its second stage.
LAYERS = ((32, 2), (64, 2), (64, 1), (64, 1), (128, 2), (128, 1))
TILES, SIDE = 4, 256
LEVELS = 256
# A bank of so many rows, and the patches of one tile.
PATCHES, DIMENSIONS, ROWS = 784, 128, 4000
WARM_UP, FEWEST = 3, 10


class Yardstick(Settings):
    """What `edge-doctor measure` writes: milliseconds for the same work everywhere.

    network_ms     an INT8 network on a few tiles
    arithmetic_ms  distances of a tile's patches to a bank, in float32
    """

    host: str
    processor: str
    cores: int = Field(ge=1)
    openvino: str
    network_ms: float = Field(gt=0)
    arithmetic_ms: float = Field(gt=0)

    def slower(self, here: Yardstick) -> tuple[float, float]:
        """How many times as long as here its network and its arithmetic take."""
        return self.network_ms / here.network_ms, self.arithmetic_ms / here.arithmetic_ms


def measure_box(threads: int | None = None, seconds: float = 3.0) -> Yardstick:
    """Time both pieces of work here, each for about that long.

    Parameters
    ----------
    threads
        Cores for the network; None: all.
    """
    engine = Engine(_network(), threads=threads, tuning=Tuning())
    buffers = engine.buffers(TILES)
    rng = np.random.default_rng(0)
    patches, bank = (
        rng.standard_normal((rows, DIMENSIONS)).astype(np.float32) for rows in (PATCHES, ROWS)
    )
    squares = np.einsum("md,md->m", bank, bank)

    def network() -> None:
        engine.features(lambda _first, batch: len(batch), TILES, buffers)

    def arithmetic() -> None:
        (squares - 2 * (patches @ bank.T)).min(axis=1)

    return Yardstick(
        host=platform.node(),
        processor=platform.processor() or platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        openvino=ov.__version__,
        network_ms=_median_ms(network, seconds),
        arithmetic_ms=_median_ms(arithmetic, seconds),
    )


def read_yardstick(file: Path) -> Yardstick:
    """What `edge-doctor measure` wrote on a box.

    Raises
    ------
    ConfigError
        If the file cannot be read or is something else.
    """
    try:
        return Yardstick.model_validate_json(file.read_bytes())
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from None
    except ValidationError as error:
        raise ConfigError(
            f"{file}: {problems(error)}; give the file that `edge-doctor measure` wrote on the box"
        ) from None


def _median_ms(work: Callable[[], None], seconds: float) -> float:
    spent: list[float] = []
    for _ in range(WARM_UP):
        work()
    end = time.monotonic() + seconds
    while len(spent) < FEWEST or time.monotonic() < end:
        begun = time.perf_counter()
        work()
        spent.append((time.perf_counter() - begun) * 1e3)
    return float(np.median(spent))


def _network() -> Any:
    """(TILES, 1, SIDE, SIDE) uint8 through convolutions in INT8; its weights mean nothing."""
    rng = np.random.default_rng(0)
    tiles = ops.parameter([TILES, 1, SIDE, SIDE], np.uint8, "tiles")
    value, channels = _quantised(ops.convert(tiles, "f32"), 0.0, 255.0), 1
    for width, stride in LAYERS:
        weights = rng.uniform(-1, 1, (width, channels, 3, 3)).astype(np.float32)
        kernel = _quantised(ops.constant(weights), -1.0, 1.0, LEVELS - 1)
        value = ops.convolution(value, kernel, [stride] * 2, [1, 1], [1, 1], [1, 1])
        value = _quantised(ops.relu(value), 0.0, float(channels * 9))
        channels = width
    return ov.Model([ops.transpose(value, ops.constant([0, 2, 3, 1]))], [tiles], "yardstick")


def _quantised(value: Any, low: float, high: float, levels: int = LEVELS) -> Any:
    bounds = [ops.constant(np.float32(bound)) for bound in (low, high)]
    return ops.fake_quantize(value, *bounds, *bounds, levels)


def add_measure(commands: Any) -> None:
    """Add `measure` to edge-doctor's subcommands."""
    measure = commands.add_parser(
        "measure", help="time fixed work here: how much slower than a workstation is this box?"
    )
    measure.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FILE.json",
        help="for edge-compile tune --measured",
    )
    add_line_threads(measure)
    measure.add_argument("--seconds", type=not_negative, default=3.0, help="for each; default: 3")
    measure.set_defaults(action=_measure)


def _measure(options: argparse.Namespace) -> int:
    file_to_write(options.output)
    found = measure_box(line_threads(options.threads), options.seconds)
    options.output.write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(
        f"{found.host}, {found.cores} cores: network {found.network_ms:.2f} ms, arithmetic "
        f"{found.arithmetic_ms:.2f} ms\n{options.output}: written; `edge-compile tune RECIPE "
        f"--measured {options.output.name}` searches for this box\n"
    )
    return Exit.DONE
