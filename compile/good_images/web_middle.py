"""What of a web lies between its ends: where a build may cut pieces out of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.config.web import WebSpec
from kenpin.runtime.web.strip_ends import is_material

__all__ = ["middle_of", "taken_off"]


def taken_off(web: WebSpec) -> tuple[int, int]:
    """Lines that are left out at both ends of a piece which shows material from end to end."""
    margin = web.ends.margin_lines if web.ends else 0
    first = max([margin, *(zone.first_lines or 0 for zone in web.ignore)])
    last = max([margin, *(zone.last_lines or 0 for zone in web.ignore)])
    return first, last


def middle_of(web: WebSpec, blocks: Iterable[NDArray[Any]]) -> tuple[int, int]:
    """The first line of a whole web that counts over all its width, and the one after the last.

    The second is not above the first where none does.
    """
    spec = web.ends
    within = spec.within_lines if spec else 0
    head: list[NDArray[Any]] = []
    tail: list[NDArray[Any]] = []
    length = 0
    for block in blocks:
        if spec is not None:
            head.append(block[: max(0, within - length)])
            tail = [np.concatenate([*tail, block])[-within:]]
        length += len(block)
    begins, ends = 0, length
    if spec is not None and length:
        material = np.flatnonzero(is_material(np.concatenate(head), spec))
        begins = int(material[0]) + spec.margin_lines if len(material) else within
        material = np.flatnonzero(is_material(tail[0], spec))
        if len(material):
            ends = length - len(tail[0]) + int(material[-1]) + 1 - spec.margin_lines
    first = max([begins, *(zone.first_lines or 0 for zone in web.ignore)])
    last = max([0, *(zone.last_lines or 0 for zone in web.ignore)])
    return first, min(ends, length - last)
