"""Where a web begins and ends along its run: what lies before and after is not inspected."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.config.web import EndsSpec, WebSpec, ZoneSpec

__all__ = ["HeldLines", "StripEnds", "is_material"]

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]


class StripEnds:
    """Zones at the first and the last lines of one web, and where its material begins and ends.

    All is exact to half a square of `patch_stride_px` lines. What is left out was ordered
    to be: it is no gap, and says nothing of any line.

    held_lines  nobody may be told of the newest so many: they may be the web's last
    """

    def __init__(self, web: WebSpec, width_px: int, patch_stride_px: int, origin: int) -> None:
        self._px, self._origin = patch_stride_px, origin
        middle = (np.arange(-(-width_px // patch_stride_px)) + 0.5) * patch_stride_px
        middle = np.minimum(middle, width_px - 0.5)
        zones = [zone for zone in web.ignore if not zone.endless]
        self._first = [(z.first_lines, _columns(z, middle)) for z in zones if z.first_lines]
        self._last = [(z.last_lines, _columns(z, middle)) for z in zones if z.last_lines]
        self._spec = web.ends
        # The line from which there is material, once it is known; and the one after its last.
        self._begins: int | None = None if web.ends else origin
        self._broken = False
        self._ends: int | None = None
        self._web_end: int | None = None
        found_within = web.ends.within_lines if web.ends else 0
        self.held_lines = max([found_within, *(lines for lines, _ in self._last)])

    def interrupt(self, *, known: bool) -> None:
        """Lines are missing here. What lay in them, nobody has seen: it may have been material.

        So from the next tile row on all is inspected; where nobody knows how many lines are
        missing, also what lies in a zone at the first lines, for it may be over.
        """
        self._broken = True
        if not known:
            self._first = []

    @property
    def any(self) -> bool:
        """Whether anything is left out at all."""
        return bool(self._first or self._last or self._spec)

    def ended(self, held: Sequence[U8], end_line: int) -> None:
        """The web ends before this line; its last `held_lines` are these, or fewer."""
        self._web_end = end_line
        spec = self._spec
        if spec is None or not held:
            return
        lines = np.concatenate(held)[-spec.within_lines :]
        material = np.flatnonzero(is_material(lines, spec))
        if len(material):
            self._ends = end_line - len(lines) + int(material[-1]) + 1 - spec.margin_lines

    def weights(self, core: U8, line: int) -> F32 | None:
        """(rows, cols) 0 where the map of a tile row is left out; None if nowhere.

        Parameters
        ----------
        core : (core, W) or (core, W, 3) uint8
        line
            The web's number of its first line. Tile rows come in order.
        """
        if not self.any:
            return None
        self._look(core, line)
        px = self._px
        cols = -(-core.shape[1] // px)
        middle = line + (np.arange(len(core) // px) + 0.5) * px
        left_out = np.zeros((len(middle), cols), np.bool_)
        since = middle - self._origin
        for lines, columns in self._first:
            left_out |= (since < lines)[:, None] & columns
        if self._web_end is not None:
            for lines, columns in self._last:
                left_out |= (middle >= self._web_end - lines)[:, None] & columns
        if self._spec is not None:
            begins = np.inf if self._begins is None else self._begins
            ends = np.inf if self._ends is None else self._ends
            left_out |= ((middle < begins) | (middle >= ends))[:, None]
        return None if not left_out.any() else (~left_out).astype(np.float32)

    def _look(self, core: U8, line: int) -> None:
        """Where the material begins, if that was not known and is to be seen now."""
        spec = self._spec
        if spec is None or self._begins is not None:
            return
        if self._broken:
            # No margin either: it would leave out material that lay there all along.
            self._begins = line
            return
        latest = self._origin + spec.within_lines
        material = np.flatnonzero(is_material(core[: max(0, latest - line)], spec))
        if len(material):
            self._begins = line + int(material[0]) + spec.margin_lines
        elif line + len(core) >= latest:
            # Later than it may begin: whatever lies here is inspected.
            self._begins = latest


class HeldLines:
    """The newest lines of a web, of which nobody may be told yet.

    most  how many, once so many have come; 0: none
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._blocks: deque[NDArray[Any]] = deque()
        self._lines = 0

    def __len__(self) -> int:
        return self._lines

    def push(self, pixels: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """Take in (lines, width) pixels; those that need not be held any more, in blocks."""
        if not self.most:
            yield pixels
            return
        # The caller's memory is a slot of the ring, and is used again.
        self._blocks.append(pixels.copy())
        self._lines += len(pixels)
        while self._lines > self.most:
            block = self._blocks.popleft()
            free = min(len(block), self._lines - self.most)
            if free < len(block):
                self._blocks.appendleft(block[free:])
            self._lines -= free
            yield block[:free]

    def all(self) -> Iterator[NDArray[Any]]:
        """All that are held; then none are."""
        while self._blocks:
            block = self._blocks.popleft()
            self._lines -= len(block)
            yield block


def _columns(zone: ZoneSpec, middle: NDArray[np.float64]) -> Mask:
    right = np.inf if zone.right_px is None else zone.right_px
    columns: Mask = (zone.left_px <= middle) & (middle < right)
    return columns


def is_material(lines: U8, spec: EndsSpec) -> Mask:
    """(n,) whether a line shows material over most of its width."""
    grey = lines if lines.ndim == 2 else lines.mean(axis=2)
    brighter = grey > spec.level
    material: Mask = (brighter if spec.web_is_brighter else ~brighter).mean(axis=1) > 0.5
    return material
