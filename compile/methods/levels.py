"""What sections of a frame, or methods, are divided by, so that one threshold suits all of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kenpin.runtime.bundles.operating_point import deviations_beyond

__all__ = ["gains"]

F64 = NDArray[np.float64]

# Peaks below are of places where nothing is inspected.
NOTHING = 1e-6


def gains(peaks: F64, own: NDArray[np.bool_], false_rejects: float) -> F64:
    """What each section's values are multiplied by, 1 in a section of the usual level.

    A level is where a section's good peaks usually end: their mean and so many deviations that
    one of all sections is passed as often as good parts may be rejected.

    Parameters
    ----------
    peaks : (images, sections) the highest value of each good image in each section
    own : (images,) which of them count; a section that is inspected in any of all has a say
    false_rejects
        Share of good images that is meant to be rejected.

    Returns
    -------
    (sections,)
    """
    live = peaks.max(axis=0) > NOTHING
    found = np.ones(len(live))
    if live.any():
        some = peaks[own][:, live]
        usual = np.maximum(some.mean(axis=0), NOTHING)
        deviation = some.std(axis=0, ddof=int(len(some) > 1)) / usual
        # Of a few images one section may be quiet by chance.
        deviation = np.maximum(deviation, np.median(deviation))
        level = usual * (1 + deviations_beyond(false_rejects / len(usual)) * deviation)
        found[live] = np.median(level) / level
    return found
