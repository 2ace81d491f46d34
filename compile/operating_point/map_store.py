"""Maps of good images and of twins on disk, with what is known of each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["F32", "Area", "Item", "MapStore", "Mask"]

# A map, which of its places count, and rows and columns of it.
F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]
Area = tuple[slice, slice]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    """What is known of stored maps beside the maps.

    what   whatever the maps are of
    part   whose part, without which they were made
    area   rows and columns of the frame's map that they are
    times  (cols,) what a lane's scores are divided by
    """

    what: T
    part: int
    area: Area
    times: F32


class MapStore(Generic[T]):
    """Maps on disk: there may be thousands of images.

    Each is the network's map, the bands' contrasts, and what of it is inspected.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._end = 0
        self._places: list[tuple[int, tuple[int, ...]]] = []
        self.items: list[Item[T]] = []
        self._by_part: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return len(self.items)

    def add(self, item: Item[T], network: F32, bands: F32, inside: Mask) -> None:
        """Keep one."""
        block = np.concatenate([network[None], bands, inside[None]], dtype=np.float32)
        with self._file.open("ab") as stream:
            stream.write(block.tobytes())
        self._by_part.setdefault(item.part, []).append(len(self.items))
        self._places.append((self._end, block.shape))
        self._end += block.nbytes
        self.items.append(item)

    def of(self, part: int) -> list[int]:
        """Numbers of those of a part."""
        return self._by_part.get(part, [])

    @property
    def parts(self) -> list[int]:
        """All parts."""
        return sorted(self._by_part)

    def maps(self, number: int) -> tuple[F32, F32, Mask]:
        """(1, rows, cols) network, (bands, rows, cols) contrasts, (rows, cols) inspected."""
        at, shape = self._places[number]
        raw = np.fromfile(self._file, np.float32, math.prod(shape), offset=at)
        block = raw.reshape(shape)
        return block[:1], block[1:-1], block[-1] > 0
