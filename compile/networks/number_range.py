"""How large, and how small, the numbers may be that a network gives: what is summed must fit."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kenpin.config.errors import ConfigError
from kenpin.config.imported import ImportedSpec
from kenpin.config.methods import MethodSettings

__all__ = ["expect_in_range"]

F32 = NDArray[np.float32]

# float32 ends at 3e38, and what is below 1e-38 some processors take for 0. Maps are summed, over
# 1e8 places at most; of features the squares are.
LARGEST_SUMMED: Final = 1e30
LARGEST_SQUARED: Final = 1e15


def expect_in_range(found: Iterable[F32], method: MethodSettings) -> None:
    """See that a network's numbers can be computed with.

    Parameters
    ----------
    found
        What it gives for good tiles, and for some with a drawn defect. All 0 is in range.

    Raises
    ------
    ConfigError
        If the largest is too large, or so small that it may count as nothing.
    """
    zero = method.zero if isinstance(method, ImportedSpec) else 0.0
    largest = max(abs(float(end) - zero) for one in found for end in (one.min(), one.max()))
    most, summed, small = LARGEST_SQUARED, "their squares", "their squares"
    if isinstance(method, ImportedSpec):
        most, summed, small = LARGEST_SUMMED, "them", "they"
    if largest > most:
        what = f"go to {largest:.1e}"
        expected = f"at most {most:.0e}, so that sums of {summed} stay numbers"
    elif 0 < largest < 1 / most:
        what = f"are {largest:.1e} at most"
        expected = f"some of {1 / most:.0e} or more, below which {small} may count as 0"
    else:
        return
    factor = 10.0 ** -math.floor(math.log10(largest))
    raise ConfigError(
        f"the network's numbers {what} for good tiles and drawn defects; expected {expected}: "
        f"multiply its output by {factor:.0e}, or so, where it is exported"
    )
