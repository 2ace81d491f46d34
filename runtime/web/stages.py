"""Whole webs to maps and scores: what fits thresholds, tests boxes and measures accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kenpin.config.web import WebSpec
from kenpin.runtime.bundles.manifest import GreyRange
from kenpin.runtime.judging.engine import Engine
from kenpin.runtime.judging.tile_network import TileNetwork
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.judging.verdict import Gap
from kenpin.runtime.web.ends import Ends
from kenpin.runtime.web.lanes import EdgeTracker, LaneMap, RowChecks
from kenpin.runtime.web.pieces import MapStrip
from kenpin.runtime.web.stream import StreamingMap
from kenpin.runtime.web.strip_ends import StripEnds

__all__ = ["WebStages", "grey_of_rows", "slots_agree"]

F32 = NDArray[np.float32]


class WebStages:
    """The steps from scan lines to map rows, set up once, for any number of webs.

    lanes  which columns are judged, and by which thresholds
    """

    def __init__(self, network: TileNetwork, web: WebSpec, grey: GreyRange | None = None) -> None:
        self.network = network
        self.grid, self.engine = network.grid, network.engine
        self.patch_stride_px = network.patch_stride_px
        self.lanes = LaneMap.of(web, network.grid.width, network.patch_stride_px)
        self._web = web
        self._grey = grey

    def checks(self, origin: int = 0) -> RowChecks:
        """New checks of brightness, edges and ends, for a web that begins at this line."""
        edges, width, px = self._web.edges, self.grid.width, self.patch_stride_px
        tracker = None if edges is None else EdgeTracker(edges, width, px)
        ends = StripEnds(self._web, width, px, origin)
        return RowChecks(self._grey, tracker, ends if ends.any else None)

    def of_pieces(self) -> WebStages:
        """The same for pieces out of the middle of a web, which begin and end nowhere."""
        if not self._web.has_ends:
            return self
        return WebStages(self.network, self._web.without_ends, self._grey)

    def fresh(
        self,
        origin: int = 0,
        checks: RowChecks | None = None,
        beat: Callable[[], None] = lambda: None,
    ) -> StreamingMap:
        """A web that begins now, at a line number."""
        return StreamingMap(
            self.network,
            origin=origin,
            columns=self.lanes.inspected,
            check=checks or self.checks(origin),
            beat=beat,
        )

    def pieces(self, blocks: Iterable[NDArray[Any]]) -> Iterator[MapStrip | Gap]:
        """One whole web, from its first block to its last."""
        stream = self.fresh()
        for block in blocks:
            yield from stream.feed(block)
        yield from stream.finish()

    def scores(self, blocks: Iterable[NDArray[Any]]) -> list[float]:
        """The score of every strip of a web: one for each tile row."""
        return [score for _, _, score in self.strips(blocks)]

    def strips(self, blocks: Iterable[NDArray[Any]]) -> Iterator[tuple[int, MapStrip, float]]:
        """Every strip of a web that counts, with its number from the web's first and its score."""
        strips = (piece for piece in self.pieces(blocks) if isinstance(piece, MapStrip))
        for number, strip in enumerate(strips):
            if strip.inspected.any():
                yield number, strip, self.score(strip.values)

    def score(self, values: F32) -> float:
        """The highest value, each in the measure of its lane's threshold."""
        return float((values / self.lanes.times).max())

    def whole_maps(self, pixels: NDArray[Any]) -> tuple[F32, F32, NDArray[np.bool_]]:
        """Of one image that is a web by itself: its map, contrasts, and what is inspected.

        Returns
        -------
        (rows, cols) float32, 0 where nothing is inspected; (bands, rows, cols) float32;
        (rows, cols) bool.
        """
        rows, cols = -(-len(pixels) // self.patch_stride_px), len(self.lanes.times)
        values, inspected = np.zeros((rows, cols), np.float32), np.zeros((rows, cols), np.bool_)
        look = self.network.look
        bands = np.zeros((len(look.sigmas_px) if look else 0, rows, cols), np.float32)
        for piece in self.pieces([pixels]):
            if isinstance(piece, MapStrip):
                own = slice(piece.row, piece.row + len(piece.values))
                values[own], bands[:, own] = piece.values, piece.bands
                inspected[own] = piece.inspected
        return values, bands, inspected


def grey_of_rows(
    pixels: NDArray[Any], grid: TileGrid, edges: EdgeTracker | None = None
) -> list[tuple[float, float]]:
    """(mean, contrast) of the core of every tile row of a web, as `RowChecks` sees them."""
    whole = replace(grid, height=len(pixels))
    reach = grid.core + grid.halo
    ends = Ends(pixels[:reach], pixels[-reach:])
    found = []
    for row in range(whole.rows):
        lines = np.arange(row * grid.stride, row * grid.stride + grid.core)
        core = pixels[ends.index(lines, len(pixels))]
        if edges is not None:
            edges.inside(core)
            core = edges.between(core)
        means, deviations = cv2.meanStdDev(core)
        found.append((float(means.mean()), float(deviations.mean())))
    return found


def slots_agree(engine: Engine) -> bool:
    """Whether a tile's features and rows are the same bits in every slot of the batch.

    Frames of different heights put a tile into different slots beside
    different neighbours. On a processor where that changed its features, where
    a frame ends would change what is found.
    """
    rng = np.random.default_rng(0)
    batch = engine.batch
    tiles = rng.integers(0, 256, (2 * batch - 1, *engine.input_shape[1:]), np.uint8)
    tiles[::2] //= 8
    seen: dict[int, bytes] = {}
    # One tile further in each inference, so that every tile meets every slot.
    for first in range(batch):

        def fill(_: int, slots: NDArray[np.uint8], first: int = first) -> int:
            slots[:] = tiles[first : first + batch]
            return batch

        buffers = engine.buffers(batch)
        engine.features(fill, batch, buffers)
        for slot in range(batch):
            said = buffers.tiles(slot, slot + 1)
            found = said.features.tobytes() + (b"" if said.rows is None else said.rows.tobytes())
            if seen.setdefault(first + slot, found) != found:
                return False
    return True
