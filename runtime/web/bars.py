"""What reaches across the whole web, in one piece or in several: joints, and bars of any kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["across_the_web"]

F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Of the inspected width, side by side.
WHOLE_SHARE = 0.9


def across_the_web(
    along: Sequence[float] | F64,
    left_px: Sequence[int],
    right_px: Sequence[int],
    inspected: Mask,
    near: float,
) -> Mask:
    """Which regions are, with those beside them, as wide as the web.

    Lanes, ignored zones and cloth that passes by chance cut a joint into pieces.

    Parameters
    ----------
    along
        Middles of the regions along the web.
    inspected : (W,) bool
        Columns that count.
    near
        Pieces of one bar lie so close along the web, in the unit of `along`.

    Returns
    -------
    (n,) bool
    """
    found = np.zeros(len(along), np.bool_)
    if not len(along):
        return found
    left, right = np.asarray(left_px, np.intp), np.asarray(right_px, np.intp)
    places = np.asarray(along, np.float64)
    cell = np.floor((places - places.min()) / near).astype(np.intp)
    order = np.argsort(cell, kind="stable")
    least = WHOLE_SHARE * inspected.sum()
    # Strips of the web twice as long as `near`, each over half of the next.
    for first in np.unique(np.concatenate([cell, cell - 1])):
        a, b = np.searchsorted(cell[order], (first, first + 2))
        own = order[a:b]
        if (right[own] - left[own]).sum() < least:
            continue
        edges = np.zeros(len(inspected) + 1, np.intp)
        np.add.at(edges, left[own], 1)
        np.add.at(edges, right[own], -1)
        if ((np.cumsum(edges)[:-1] > 0) & inspected).sum() >= least:
            found[own] = True
    return found
