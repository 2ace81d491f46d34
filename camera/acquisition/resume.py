"""Where an acquisition process that died had got to."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Resume"]


@dataclass(frozen=True)
class Resume:
    """What its successor goes on from.

    index     of the next frame
    line      of the next scan line
    since_ns  when the last frame ended whose lines were counted, lost ones too; 0 if there was none
    """

    index: int = 0
    line: int = 0
    since_ns: int = 0
