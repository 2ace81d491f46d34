"""Candidates for a coreset from every patch of a stream, in memory that does not grow with it.

A *net* of at most M points is kept, and a radius: every patch seen so far lies within it of a point
of the net. Patches come in blocks. Those that lie farther from the net than its present width τ are
chosen from, the farthest first, until none does. When the net is full, it is reduced to half its
points by the same greedy choice, whose last step is the new width; the radius grows by that.

The bound. Let r be the least radius with which k centres could cover all patches. A greedy choice
of k rows from the net covers the net within 2 r, for of k + 1 points of the net that are farther
apart two would lie in one cluster of the best cover (Gonzalez 1985), and every patch lies within
the radius of a point of it: all patches are covered within 2 r + radius. That is the composable
coreset of Malkomes et al. (NIPS 2015), with the radius measured instead of bounded by r.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kenpin.runtime.judging.coreset import farthest_first
from kenpin.runtime.judging.crew import Crew

__all__ = ["BLOCK_ROWS", "Net", "StreamedPool", "directions_of", "random_projection"]

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
Index = NDArray[np.intp]

# Patches that are looked at together: one product with the net.
BLOCK_ROWS = 8192
# Patches whose distances to the whole net a thread holds at once: 1024 x 8,000 float32 is 33 MB.
POINTS_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class StreamedPool:
    """What the coreset of one model is chosen from.

    rows    (N, D) float32
    points  (N, d) float32, the same in the directions that distances are measured in
    tags    (N,) which of the sample's units each is of
    seen    patches that the pool stands for
    """

    rows: F32
    points: F32
    tags: NDArray[np.int32]
    seen: int


@dataclass
class _Patches:
    """Patches: their features, the same in fewer directions, whose each is, and its part."""

    rows: F32
    points: F32
    tags: I32
    parts: I32

    def put(self, at: Index | slice, other: _Patches, chosen: Index) -> None:
        self.rows[at], self.points[at] = other.rows[chosen], other.points[chosen]
        self.tags[at], self.parts[at] = other.tags[chosen], other.parts[chosen]

    def some(self, chosen: Index | slice) -> _Patches:
        return _Patches(
            self.rows[chosen], self.points[chosen], self.tags[chosen], self.parts[chosen]
        )

    @classmethod
    def empty(cls, size: int, dimensions: int, directions: int) -> _Patches:
        return cls(
            np.empty((size, dimensions), np.float32), np.empty((size, directions), np.float32),
            np.full(size, -1, np.int32), np.full(size, -1, np.int32),
        )  # fmt: skip


def directions_of(dimensions: int, fewer: int, rng: np.random.Generator) -> F32 | None:
    """(D, d) float32: random directions, in which distances are kept within a few per cent.

    None where `fewer` is 0 or would not be fewer.

    References
    ----------
    Johnson and Lindenstrauss 1984; PatchCore 3.2 selects in such a space.
    """
    if not 0 < fewer < dimensions:
        return None
    mixing: F32 = (rng.standard_normal((dimensions, fewer)) / math.sqrt(fewer)).astype(np.float32)
    return mixing


def random_projection(rows: F32, fewer: int, rng: np.random.Generator) -> F32:
    """Rows in fewer random directions, see `directions_of`; unchanged where there are none."""
    mixing = directions_of(rows.shape[1], fewer, rng)
    return rows if mixing is None else rows @ mixing


class Net:
    """See the module.

    Beside each of its points the net keeps a witness, if there is one: the nearest patch of another
    part that the point has made superfluous. It is a candidate for the point's place where the
    point's own part is left out.

    seen    patches so far
    radius  every one of them lies within it of the net, in the directions that are measured
    """

    def __init__(self, size: int, dimensions: int, fewer: int, rng: np.random.Generator) -> None:
        """Room for `size` points; distances are measured in `fewer` directions."""
        self.seen = 0
        self.radius = 0.0
        self._width_sq = 0.0
        mixing = self._mixing = directions_of(dimensions, fewer, rng)
        directions = dimensions if mixing is None else mixing.shape[1]
        self._size, self._count = size, 0
        self._crew = Crew()
        self._net = _Patches.empty(size, dimensions, directions)
        self._witness = _Patches.empty(size, dimensions, directions)
        self._witness_gap = np.full(size, np.inf, np.float32)
        self._waiting: list[_Patches] = []
        self._centre: F32 | None = None

    @property
    def points(self) -> F32:
        """(points, D) float32: of the net alone."""
        self._take_all()
        return self._net.rows[: self._count]

    def pool(self) -> StreamedPool:
        """What a coreset is chosen from: the net and its witnesses."""
        found = self._candidates()
        return StreamedPool(found.rows, found.points, found.tags, self.seen)

    def _candidates(self) -> _Patches:
        self._take_all()
        net, found = self._net.some(slice(self._count)), self._witness.some(slice(self._count))
        there = np.flatnonzero(found.tags >= 0)
        witness = found.some(there)
        return _Patches(
            *(
                np.concatenate([getattr(net, name), getattr(witness, name)])
                for name in ("rows", "points", "tags", "parts")
            )
        )

    def add(self, rows: F32, tag: int, part: int) -> None:
        """Take in (N, D) patches of one image."""
        points = rows if self._mixing is None else rows @ self._mixing
        if self._centre is None:
            # Products lose fewer digits about some patch than about zero.
            self._centre = points.mean(axis=0)
        points = points - self._centre
        whose = np.full(len(rows), tag, np.int32), np.full(len(rows), part, np.int32)
        self._waiting.append(_Patches(rows, points, *whose))
        self.seen += len(rows)
        if sum(len(block.rows) for block in self._waiting) >= BLOCK_ROWS:
            self._take_all()

    def _take_all(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        block = _Patches(
            *(
                np.concatenate([getattr(one, name) for one in waiting])
                for name in ("rows", "points", "tags", "parts")
            )
        )
        for start in range(0, len(block.rows), BLOCK_ROWS):
            self._take(block.some(slice(start, start + BLOCK_ROWS)))

    def _take(self, block: _Patches) -> None:
        rest = np.arange(len(block.rows))
        while len(rest):
            gap, owner = self._gaps(block.points[rest])
            self._bear_witness(block, rest, gap, owner)
            bare = np.flatnonzero(gap > self._width_sq)
            if not len(bare):
                return
            free = self._size - self._count
            picked = bare[farthest_first(block.points[rest[bare]], gap[bare], self._width_sq, free)]
            at = slice(self._count, self._count + len(picked))
            self._net.put(at, block, rest[picked])
            self._witness.tags[at], self._witness_gap[at] = -1, np.inf
            self._count += len(picked)
            if self._count < self._size:
                # All others lie within the width of what was just picked; who bears witness to
                # them is looked for once more.
                new = np.setdiff1d(rest[bare], rest[picked])
                if len(new):
                    self._bear_witness(block, new, *self._gaps(block.points[new]))
                return
            self._reduce()
            rest = np.setdiff1d(rest[bare], rest[picked])

    def _gaps(self, points: F32) -> tuple[F32, Index]:
        """(N,) squared distance to the nearest point of the net, and which that is."""
        gap = np.full(len(points), np.inf, np.float32)
        owner = np.zeros(len(points), np.intp)
        if not self._count:
            return gap, owner
        net = self._net.points[: self._count]
        net_sq = np.einsum("md,md->m", net, net)

        def measure(first: int, last: int) -> None:
            at = slice(first, last)
            part = points[at]
            far = net_sq - 2 * (part @ net.T)
            nearest = far.argmin(axis=1)
            owner[at] = nearest
            own_sq = np.einsum("nd,nd->n", part, part)
            gap[at] = np.maximum(far[np.arange(len(part)), nearest] + own_sq, 0)

        self._crew.share_blocks(measure, len(points), POINTS_AT_ONCE)
        return gap, owner

    def _bear_witness(self, block: _Patches, rest: Index, gap: F32, owner: Index) -> None:
        """Of the patches that the net covers, the nearest of another part to each point."""
        covered = np.flatnonzero(gap <= self._width_sq)
        covered = covered[block.parts[rest[covered]] != self._net.parts[owner[covered]]]
        covered = covered[gap[covered] < self._witness_gap[owner[covered]]]
        # The nearest of each point comes last, and stays.
        order = covered[np.argsort(-gap[covered], kind="stable")]
        self._witness.put(owner[order], block, rest[order])
        self._witness_gap[owner[order]] = gap[order]

    def _reduce(self) -> None:
        """Half the points, chosen greedily; the rest lie within the new width of one of them."""
        # A copy: what is chosen is written over it.
        net = self._net.some(np.arange(self._count))
        half = max(1, self._size // 2)
        gap = np.full(self._count, np.inf, np.float32)
        chosen = farthest_first(net.points, gap, 0.0, half)
        self._count = len(chosen)
        self._net.put(slice(self._count), net, chosen)
        left = np.setdiff1d(np.arange(len(net.rows)), chosen)
        far, owner = self._gaps(net.points[left])
        widest = float(far.max()) if len(left) else 0.0
        self._width_sq = max(self._width_sq, widest)
        self.radius += math.sqrt(widest)
        witness, gaps = self._witness.some(chosen), self._witness_gap[chosen]
        self._witness.put(slice(self._count), witness, np.arange(self._count))
        self._witness_gap[: self._count] = gaps
        # What was a point bears witness now, as any patch does.
        self._bear_witness(net, left, far, owner)
