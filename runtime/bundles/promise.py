"""What a threshold promises, in words."""

from __future__ import annotations

from kenpin.runtime.bundles.operating_point import Point

__all__ = ["of_all", "promise"]


def promise(point: Point, *, strips: bool) -> str:
    """What a threshold promises, in words."""
    what = "strips" if strips else "images"
    head = (
        f"{of_all(point.false_rejects, what)}, with 95 % confidence at most "
        f"{100 * point.at_most:.2g} of 100"
    )
    if point.rule == "conformal":
        return f"{head}: the score that so many of {point.count} good {what} stay below"
    return (
        f"{head}: extrapolated by a Gumbel distribution from {point.count} good {what}, "
        f"which are too few to have seen it"
    )


def of_all(share: float, what: str) -> str:
    """A share of good things that are rejected, as people count."""
    if share >= 0.01:
        return f"of 100 good {what} {100 * share:.3g} {'is' if share == 0.01 else 'are'} rejected"
    return f"of {1 / share:.0f} good {what} 1 is rejected"
