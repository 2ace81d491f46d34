"""Limits that what is no number comes through: on the box it must reach the verdict.

OpenVINO's CPU plug-in makes 0 of NaN in a clamp or a ReLU, and takes the other number in a
maximum. In a map 0 is perfectly good, so a place that nobody could measure would be passed.
Sums, products and absolute values keep NaN, and make it of what is infinite.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["at_least_zero", "at_most", "larger"]


def at_least_zero(x: Tensor) -> Tensor:
    """x to the bit, and 0 where it is negative."""
    return 0.5 * (x + x.abs())


def at_most(x: Tensor, limit: float) -> Tensor:
    """x to the bit, and the limit where it is above."""
    return x - at_least_zero(x - limit)


def larger(one: Tensor, other: Tensor) -> Tensor:
    """The larger of both, but for rounding."""
    return one + at_least_zero(other - one)
