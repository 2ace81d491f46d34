"""Which brightness and contrast good images have, whatever one odd file among them shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["unusual"]

# Makes the median absolute deviation of a normal distribution its sigma.
MAD_TO_SIGMA = 1.4826
# So far from the others a lamp does not drift by itself.
DEVIATIONS = 6.0


def unusual(grey: Sequence[tuple[float, float]], margin: float, share: float) -> NDArray[np.bool_]:
    """Which of (mean, contrast) lie so far from the others that limits from these refuse them.

    A lens cap among the good would otherwise let every dark frame pass.

    Parameters
    ----------
    margin, share
        As `grey_margin` and `contrast_share` of `image_quality`.
    """
    means, contrasts = np.array(grey, float).T
    middle = np.median(means)
    spread = MAD_TO_SIGMA * np.median(np.abs(means - middle))
    far = np.abs(means - middle) > max(DEVIATIONS * spread, margin)
    flat = contrasts < share * np.median(contrasts)
    odd: NDArray[np.bool_] = far | flat
    return odd
