"""Tile rows of a web: which lines each needs, and when they are all there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.runtime.judging.engine import Engine, FeatureBuffers
from kenpin.runtime.judging.lamp import Lamp
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.web.carry import Carry
from kenpin.runtime.web.ends import Ends

__all__ = ["TileRows", "row_features"]

U8 = NDArray[np.uint8]

_NO_LINES = np.empty((0, 1), np.uint8)

# Tiles that go through the network in one call: enough that the last, partly
# filled batch of a long frame costs little, few enough to stay in the cache.
TILES_AT_ONCE = 64


class TileRows:
    """The lines of a web, cut into tile rows on one line count.

    Tile row r scores lines r * stride to r * stride + core of the web, counted
    from `origin`, wherever frames begin; its window has `halo` lines more on
    each side. Past the web's own ends, and only there, it is continued: see `Ends`.

    grid    of one tile row: `TileGrid.of` gives it for continuous geometry
    next    the tile row that is cut next
    """

    def __init__(self, grid: TileGrid, channels: int, origin: int = 0) -> None:
        self.grid, self.origin = grid, origin
        self.next = 0
        self._at_once = max(1, TILES_AT_ONCE // grid.cols)
        shape = (grid.width,) if channels == 1 else (grid.width, channels)
        capacity = grid.size + grid.core + self._at_once * grid.stride
        self._carry = Carry(shape, capacity, origin)

    @property
    def end(self) -> int:
        """The line that is to come next."""
        return self._carry.end

    def take(self, lines: NDArray[Any]) -> int:
        """Copy in as many of these lines as fit; says how many."""
        return self._carry.take(lines)

    def ready(self) -> Iterator[list[U8]]:
        """Windows of the tile rows whose last line of context has come.

        Each is (size, W[, 3]) and good until the next `take`; whoever uses a
        list of them moves `next` on.
        """
        while windows := self._whole(self._at_once):
            yield windows
        # Besides the next tile row's context, what continues the web past its end.
        self._carry.drop_before(min(self._top_of(self.next), self.end - self._reach))

    def finish(self) -> Iterator[list[U8]]:
        """Windows of the remaining tile rows, one by one: the web ends here.

        Ends early where that would need lines that never came.
        """
        ends = self._ends(ended=True)
        while self.next < self.count:
            start = self._top_of(self.next)
            window = self._carry.continued(
                start, start + self.grid.size, (self.origin, self.end), ends
            )
            if window is None:
                return
            yield [window]

    @property
    def _reach(self) -> int:
        """Lines at an end of the web that say how it is continued there, at most."""
        return self.grid.core + self.grid.halo

    def _ends(self, *, ended: bool) -> Ends:
        """How the web is continued: the same, wherever frames begin and end."""
        first = max(self._carry.first, self.end - self._reach)
        tail = self._carry.window(first, self.end) if ended else None
        # Held until the first tile row is cut, and not asked for later.
        held = self._carry.first == self.origin
        head = min(self.end, self.origin + self._reach) if held else self.origin
        return Ends(self._carry.window(self.origin, head) if held else _NO_LINES, tail)

    @property
    def count(self) -> int:
        """Tile rows of the web, were it to end here."""
        length, grid = self.end - self.origin, self.grid
        return 1 + max(0, -(-(length - grid.core) // grid.stride)) if length else 0

    def restart(self, line: int) -> None:
        """Lines were lost; the next to come is `line`. No tile row reaches back over it."""
        self._carry.restart(line)
        grid = self.grid
        self.next = max(0, -(-(line - self.origin + grid.halo) // grid.stride))

    def _whole(self, most: int) -> list[U8]:
        windows: list[U8] = []
        while len(windows) < most:
            start = self._top_of(self.next + len(windows))
            stop = start + self.grid.size
            if stop > self.end:
                break
            if start >= self.origin:
                windows.append(self._carry.window(start, stop))
                continue
            window = self._carry.continued(
                start, stop, (self.origin, self.end), self._ends(ended=False)
            )
            assert window is not None, "the first lines are held until the first tile row"
            windows.append(window)
        return windows

    def _top_of(self, row: int) -> int:
        return self.origin + row * self.grid.stride - self.grid.halo


def row_features(
    engine: Engine, grid: TileGrid, windows: Sequence[U8], lamp: Lamp
) -> tuple[FeatureBuffers, int]:
    """What the network says of some tile rows, row by row, and how many tiles were filled in.

    Each is evened out by its own window, so that it does not matter where frames end.

    Returns
    -------
    For rows * cols tiles.
    """
    count = len(windows) * grid.cols
    even = [lamp.even(window) for window in windows]

    def fill(first: int, batch: U8) -> int:
        numbers = range(first, min(count, first + len(batch)))
        for slot, number in zip(batch, numbers, strict=False):
            tile = grid.columns(even[number // grid.cols], number % grid.cols)
            slot[...] = tile if tile.ndim == 2 else tile.transpose(2, 0, 1)
        return len(numbers)

    buffers = engine.buffers(count)
    _, filled = engine.features(fill, count, buffers)
    return buffers.tiles(0, count), filled
