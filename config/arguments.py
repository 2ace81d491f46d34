"""What command lines share: numbers, which are refused before anything begins, and the version."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable

__all__ = [
    "add_line_threads",
    "add_version",
    "not_negative",
    "positive",
    "seed_number",
    "share",
    "whole",
]


def add_version(parser: argparse.ArgumentParser) -> None:
    """Add `--version`."""
    # Not by an import: the package's front shows what lies above these settings.
    version = vars(sys.modules["kenpin"])["__version__"]
    parser.add_argument("--version", action="version", version=f"kenpin {version}")


def add_line_threads(parser: argparse.ArgumentParser) -> None:
    """Add `--threads`, of whoever measures a box as its line would load it."""
    parser.add_argument(
        "--threads", type=whole, help="the line's inspection.threads; default: the same as there"
    )


def positive(text: str) -> float:
    """A finite number above 0."""
    return _number(text, lambda value: 0 < value < math.inf, "more than 0")


def not_negative(text: str) -> float:
    """A finite number, 0 or more."""
    return _number(text, lambda value: 0 <= value < math.inf, "0 or more")


def share(text: str) -> float:
    """A number from 0 to 1."""
    return _number(text, lambda value: 0 <= value <= 1, "0 to 1")


def whole(text: str) -> int:
    """A whole number, 1 or more."""
    return _whole(text, 1)


def seed_number(text: str) -> int:
    """A whole number, 0 or more."""
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"found {text}, expected a whole number, {least} or more")
    return value


def _number(text: str, fits: Callable[[float], bool], expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not fits(value):
        raise argparse.ArgumentTypeError(f"found {text}, expected {expected}")
    return value
