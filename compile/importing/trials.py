"""What is tried of a network before it is trusted: that a tile's result is its own, and stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kenpin.compile.importing.model_file import Named
from kenpin.config.errors import ConfigError

__all__ = ["Outputs", "expect_repeatable", "expect_slots_apart", "mixes_nothing"]

U8 = NDArray[np.uint8]

# Tiles in other slots of a batch give the same to so much of the largest value.
ALIKE = 1e-5
# Operations of OpenVINO that give another result each time.
RANDOM = frozenset({"RandomUniform", "Multinomial"})


class Outputs(NamedTuple):
    """A network's outputs of `batch` tiles, (batch, C, S, S) uint8, each (batch, …)."""

    batch: int
    of: Callable[[U8], list[NDArray[Any]]]


def expect_repeatable(used: Any, file: Named) -> None:
    """See that nothing that a network is used for is drawn at random, as in training.

    Parameters
    ----------
    used
        A model with the outputs that are used, and no others.

    Raises
    ------
    ConfigError
        If it draws.
    """
    drawn = {op.get_type_name() for op in used.get_ops()} & RANDOM
    if drawn:
        raise ConfigError(
            f"{file.name}: draws at random ({', '.join(sorted(drawn))}), so no frame would get the "
            "same score twice; export it in evaluation mode, or without sampling"
        )


def mixes_nothing(together: Outputs, alone: Outputs, tile: tuple[int, int, int]) -> bool:
    """Whether a network that takes any number says the same of tiles together and one by one."""
    shape = (together.batch, *tile)
    tiles = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    try:
        found, single = together.of(tiles), [alone.of(one[None]) for one in tiles]
    except RuntimeError:
        return False
    expected = [np.concatenate([one[number] for one in single]) for number in range(len(found))]
    return all(_alike(*pair) for pair in zip(expected, found, strict=True))


def expect_slots_apart(run: Outputs, tile: tuple[int, int, int], file: Named) -> None:
    """See that a tile's result is the same whatever lies in the other slots of a fixed batch.

    Raises
    ------
    ConfigError
        If it is not.
    """
    rng = np.random.default_rng(0)
    shape = (run.batch, *tile)
    # Faint among loud ones, and among dark ones: a network may divide by the largest of all.
    tiles = rng.integers(96, 160, shape, np.uint8)
    here = run.of(tiles)
    for others in (np.zeros(shape, np.uint8), rng.integers(0, 256, shape, np.uint8)):
        for slot in range(run.batch):
            mixed = others.copy()
            mixed[slot] = tiles[slot]
            if not all(_alike(a[slot], b[slot]) for a, b in zip(here, run.of(mixed), strict=True)):
                raise ConfigError(
                    f"{file.name}: takes {run.batch} images at once and mixes them: what it says "
                    "of one depends on the others; export it for one image, or for any number"
                )


def _alike(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two outputs are the same but for rounding; what is no number is so in both."""
    known = np.isfinite(one)
    if one.shape != other.shape or not np.array_equal(known, np.isfinite(other)):
        return False
    limit = ALIKE * np.abs(one[known]).max(initial=0)
    return np.allclose(one[known], other[known], rtol=0, atol=limit)
