"""How many of the last looks must lie outside all good images before that is no chance. Pure."""

from __future__ import annotations

import math
from functools import lru_cache

__all__ = ["outside_at_most", "votes_needed"]


@lru_cache(maxsize=256)
def outside_at_most(images: float, tails: int, doubt: float) -> float:
    """The share of further good pictures that lie outside all good images, at most.

    The share inside the range of n values is a Beta variable, whatever their distribution:
    Beta(n - 1, 2) between the lowest and the highest, Beta(n, 1) on one side of the highest.

    Parameters
    ----------
    images
        How many independent ones the range is of.
    tails
        1 or 2.
    doubt
        The chance that the share is larger.

    References
    ----------
    Wilks, Determination of Sample Sizes for Setting Tolerance Limits, 1941.
    """
    if tails == 1:
        return float(1 - doubt ** (1 / images))
    low, high = 0.0, 1.0
    for _ in range(60):
        share = (low + high) / 2
        inside = 1 - share
        # P(Beta(n - 1, 2) < inside): the chance that the share is larger.
        chance = images * inside ** (images - 1) - (images - 1) * inside**images
        low, high = (share, high) if chance > doubt else (low, share)
    return high


@lru_cache(maxsize=256)
def votes_needed(window: int, share: float, chance: float) -> int | None:
    """The fewest of `window` looks that lie outside by chance no more often than `chance`.

    None if even all of them might.

    Parameters
    ----------
    share
        Chance of one look to lie outside.
    """
    tail = 0.0
    for votes in range(window, -1, -1):
        tail += _binomial(window, votes, share)
        if tail > chance:
            return votes + 1 if votes < window else None
    return 0


def _binomial(n: int, k: int, p: float) -> float:
    if p in (0.0, 1.0):
        return float(k == round(n * p))
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(p) + (n - k) * math.log1p(-p))
