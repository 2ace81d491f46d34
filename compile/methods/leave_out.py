"""Every good image judged by a model that has seen nothing of its own part.

What a model says of an image it was fitted on is flattery: PatchCore's bank holds rows
of that very image. Here each image, and each tile row of a web, is judged by the same
steps as on the box, by statistics less those of its own part, so that its map and its
score are those of a part never seen before. Nothing is held back for it: the bundle's
own statistics rest on all images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kenpin.compile.ahead import one_ahead
from kenpin.compile.good_images.parts import Parts
from kenpin.runtime.judging.inferred import Inferred
from kenpin.runtime.judging.pipeline import Stages
from kenpin.runtime.judging.scoring import Scorer, TileDistances
from kenpin.runtime.web.stages import WebStages

__all__ = ["Infer", "LeaveOut", "LeftOut", "Load", "StagesOf", "Unseen"]

F32 = NDArray[np.float32]
Index = NDArray[np.intp]
# Reads an image's pixels.
Load = Callable[[Path], NDArray[Any]]
# The steps of judging, with a scorer in them.
StagesOf = Callable[[Scorer], Stages | WebStages]
# What the network gives for an image's pixels.
Infer = Callable[[NDArray[Any]], Inferred]


class LeaveOut(Protocol):
    """A fitted method that can forget a part."""

    def without(self, part: int) -> Scorer:
        """The method as if it had seen nothing of this part; cheap when asked again."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class LeftOut:
    """An image, or a strip of a web, as judged without its own part.

    web     which of the images or webs, counted from 0
    strip   of webs, which strip, counted from 0, those that do not count included; otherwise 0
    part    its part, see `Parts`
    line    of webs, the line of the web where the strip begins; otherwise 0
    values  (rows, cols) float32, the joined, smoothed map, as the live pipeline makes it
    bands   (bands, rows, cols) float32, contrasts that were looked at beside it
    inspected  (rows, cols) bool, where anything counts
    times   (cols,) float32, what a lane's scores are divided by
    score   what the live pipeline would say of it
    """

    web: int
    strip: int
    part: int
    line: int
    values: F32
    bands: F32
    inspected: NDArray[np.bool_]
    times: F32
    score: float


@dataclass(frozen=True)
class Unseen:
    """The good images, and what judges each as if its part had never been seen.

    stages  makes the steps of the box around a scorer
    infer   runs an image through the network, for those steps; None of webs
    leave   forgets the part of an image
    webs    the files of each image, one, or of each web
    load    reads a file as the steps see it
    """

    stages: StagesOf
    leave: LeaveOut
    parts: Parts
    webs: Sequence[Sequence[Path]]
    load: Load
    infer: Infer | None

    def judge(
        self, progress: Callable[[int, int], None], only: Sequence[int] | None = None
    ) -> Iterator[LeftOut]:
        """Judge all good images, or some, by their numbers: part by part, one map at a time."""
        chosen = range(len(self.webs)) if only is None else only
        yield from self.in_turn(
            sorted(chosen, key=lambda web: (self.parts.parts_of(web)[0], web)), progress
        )

    def in_turn(
        self, order: Sequence[int], progress: Callable[[int, int], None]
    ) -> Iterator[LeftOut]:
        """Judge the images or webs with these numbers, one after the other."""
        for done, (web, seen) in enumerate(one_ahead(order, self._inferred)):
            own = self.parts.parts_of(web)
            single = len(own) == 1
            scorer = self.leave.without(own[0]) if single else _RowByRow(self, web)
            steps = self.stages(scorer)
            if isinstance(steps, WebStages):
                yield from self._strips(steps, web)
            else:
                assert seen is not None, "a part's image was not run through the network"
                found = steps.conclude(seen)
                values = found.score_map.values
                yield LeftOut(
                    web, 0, own[0], 0, values, found.bands, steps.inspected,
                    np.ones(values.shape[1], np.float32), found.score,
                )  # fmt: skip
            progress(done + 1, len(order))

    def _inferred(self, web: int) -> Inferred | None:
        """Of an image, what the network says of it, by whichever statistics it is judged."""
        if self.infer is None:
            return None
        (file,) = self.webs[web]
        return self.infer(self.load(file))

    def _strips(self, steps: WebStages, web: int) -> Iterator[LeftOut]:
        blocks = (self.load(file) for file in self.webs[web])
        for number, strip, score in steps.strips(blocks):
            line = strip.first_line
            part = self.parts.of(web, line // steps.grid.stride)
            yield LeftOut(
                web, number, part, line, strip.values, strip.bands, strip.inspected,
                steps.lanes.times, score,
            )  # fmt: skip


class _RowByRow:
    """A scorer for a web whose tile rows belong to several parts.

    Each tile row of a web goes through the distances alone and in its turn (see
    `StreamingMap`), so counting the calls tells which row it is.
    """

    search = None

    def __init__(self, unseen: Unseen, web: int) -> None:
        self._unseen, self._web = unseen, web
        self._row = 0

    def distances(self, features: F32, rows: Index | None = None) -> TileDistances:
        """See `Scorer`."""
        part = self._unseen.parts.of(self._web, self._row)
        self._row += 1
        return self._unseen.leave.without(part).distances(features, rows)
