"""Which patches stand for all: the greedy choice of k centres, continued from some."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["covering_radius", "farthest_first"]

F32 = NDArray[np.float32]
Index = NDArray[np.intp]

# Queries whose distances to all rows are held at once.
BLOCK = 1024
# Of the rows' distances to each other. The least is the radius in the space that the rows were
# chosen in; imported banks, and those chosen in random directions, may hold a few rows that
# are nearer.
LOW = 0.05


def farthest_first(points: F32, gap: F32, radius: float, most: int) -> Index:
    """Points chosen greedily, each time the farthest from all that is there, until all are covered.

    Parameters
    ----------
    points : (N, D) float32
    gap : (N,) float32
        Squared distance of each to what is there already.
    radius
        Squared: what is nearer is covered.
    most
        Points that are chosen at most.

    Returns
    -------
    (at most `most`,) point numbers, in the order of choice.

    References
    ----------
    Sener and Savarese, ICLR 2018, algorithm 1 (arXiv:1708.00489).
    """
    gap = gap.copy()
    squares = np.einsum("nd,nd->n", points, points)
    picked: list[int] = []
    while len(picked) < min(most, len(points)):
        last = int(gap.argmax())
        if gap[last] <= radius:
            break
        picked.append(last)
        np.minimum(gap, squares - 2 * (points @ points[last]) + squares[last], out=gap)
        gap[last] = 0
    return np.array(picked, np.intp)


def covering_radius(bank: F32) -> float:
    """How near every patch that a bank was made from lies to one of its rows, from the bank alone.

    A greedy choice takes the point that is farthest from all rows before it, so that no two
    rows are nearer to each other than what it left uncovered at its last step.

    Parameters
    ----------
    bank : (M, D) float32, centred

    Returns
    -------
    A distance; 0 of a single row.
    """
    if len(bank) < 2:
        return 0.0
    squares = np.einsum("md,md->m", bank, bank)
    nearest = np.empty(len(bank), np.float32)
    for start in range(0, len(bank), BLOCK):
        block = bank[start : start + BLOCK]
        far = squares - 2 * (block @ bank.T) + squares[start : start + len(block), None]
        far[np.arange(len(block)), start + np.arange(len(block))] = np.inf
        nearest[start : start + len(block)] = far.min(axis=1)
    return float(np.sqrt(max(0.0, float(np.quantile(nearest, LOW)))))
