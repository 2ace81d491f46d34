"""Good images judged by both maps joined, each without its own part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kenpin.compile.methods.leave_out import LeftOut, Unseen
from kenpin.compile.operating_point.blending import Blender, Way
from kenpin.compile.operating_point.map_store import Item, MapStore
from kenpin.compile.operating_point.sections import Sectioned
from kenpin.compile.operating_point.twin_scores import Twin
from kenpin.runtime.judging.subtle_twins import Subtle

__all__ = ["Joined", "keep_images", "keep_twins"]

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Joined(Unseen):
    """`Unseen` whose maps were looked at before, and are joined in a way that was chosen.

    way  None: the network alone, as its method joins nothing; then there is no blender
    """

    store: MapStore[LeftOut]
    blender: Blender | Sectioned | None
    way: Way | None

    def judge(
        self, progress: Callable[[int, int], None], only: Sequence[int] | None = None
    ) -> Iterator[LeftOut]:
        """See `Unseen`."""
        if self.way is None or self.blender is None:
            for number, item in enumerate(self.store.items):
                if only is None or item.what.web in only:
                    network, _, _ = self.store.maps(number)
                    yield replace(item.what, values=network[0])
            return
        joined = self.blender.joined(self.store, self.way)
        for done, (number, values) in enumerate(joined, 1):
            item = self.store.items[number]
            progress(done, len(self.store))
            if only is None or item.what.web in only:
                score = float((values / item.times).max())
                yield replace(item.what, values=values, score=score)

    def scored(self, twins: MapStore[Twin]) -> Iterator[tuple[Subtle, float]]:
        """What was drawn, and the highest joined value where it is."""
        for number, score in self.numbered(twins):
            yield twins.items[number].what.what, score

    def numbered(self, twins: MapStore[Twin]) -> Iterator[tuple[int, float]]:
        """The number of each twin, and its score."""
        for number, values in self.maps_of(twins):
            twin = twins.items[number]
            own = twin.what.score
            yield number, float((values / twin.times).max()) if own is None else own

    def maps_of(self, twins: MapStore[Twin]) -> Iterator[tuple[int, F32]]:
        """The number of each twin, and its joined map."""
        if self.way is None or self.blender is None:
            for number in range(len(twins)):
                network, _, _ = twins.maps(number)
                yield number, network[0]
            return
        yield from self.blender.joined(twins, self.way)


def keep_images(
    unseen: Unseen, store: MapStore[LeftOut], progress: Callable[[int, int], None]
) -> None:
    """Look at all good images, and keep what was seen."""
    everything = slice(None), slice(None)
    nothing = np.empty(0, np.float32)
    for found in unseen.judge(progress):
        kept = replace(found, values=nothing, bands=nothing)
        item = Item(kept, found.part, everything, found.times)
        store.add(item, found.values, found.bands, found.inspected)


def keep_twins(twins: Iterator[Twin], store: MapStore[Twin]) -> None:
    """The same of twins."""
    nothing = np.empty(0, np.float32)
    for twin in twins:
        kept = replace(twin, values=nothing, bands=nothing)
        item = Item(kept, twin.part, twin.area, twin.times)
        store.add(item, twin.values, twin.bands, twin.inspected)
