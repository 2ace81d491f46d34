"""PatchCore's bank as it would be without one part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kenpin.runtime.judging.distance import nearest_rows
from kenpin.runtime.judging.patchcore import PatchCoreScorer
from kenpin.runtime.judging.scoring import Scorer, TileDistances

__all__ = ["OtherBank", "PatchCoreLeaveOut"]

F32 = NDArray[np.float32]
Index = NDArray[np.intp]

# Patches that one thread searches for at once.
BLOCK = 32


@dataclass(frozen=True)
class OtherBank:
    """PatchCore with some rows of its bank replaced.

    Rows are searched for as on the box, in the whole bank; only a patch that finds a
    replaced row is searched for again, and every patch is compared with the new rows.

    scorer    of the whole bank
    replaced  (K, M) bool
    bank      (K, M, D) float32, centred, with the new rows
    """

    scorer: PatchCoreScorer
    replaced: NDArray[np.bool_]
    bank: F32

    search = None

    @cached_property
    def _other(self) -> PatchCoreScorer:
        bank_sq = np.einsum("kmd,kmd->km", self.bank, self.bank)
        return replace(self.scorer, bank=self.bank, bank_sq=bank_sq)

    def distances(self, features: F32, rows: Index | None = None) -> TileDistances:
        """See `Scorer`."""
        found = self.scorer.searched(features) if rows is None else rows.copy()
        flat = found.reshape(len(found), -1)
        for tile, k in enumerate(self.scorer.model_of_tile):
            if self.replaced[k].any():
                patches = self.scorer.patches(features, slice(tile, tile + 1))
                self._mend(flat[tile], patches - self.scorer.centre, int(k))
        return self._other.distances(features, found)

    def _mend(self, found: Index, patches: F32, k: int) -> None:
        """Nearest rows of the changed bank, from those of the whole one, in place."""
        bank, bank_sq = self.bank[k], self._other.bank_sq[k]
        gone = np.flatnonzero(self.replaced[k][found])
        rest = np.flatnonzero(~self.replaced[k][found])
        if len(gone):
            found[gone] = self._nearest(patches[gone], bank, bank_sq)
        new = np.flatnonzero(self.replaced[k])
        if len(rest):
            best = new[self._nearest(patches[rest], bank[new], bank_sq[new])]
            nearer = _gap(patches[rest], best, bank) < _gap(patches[rest], found[rest], bank)
            found[rest[nearer]] = best[nearer]

    def _nearest(self, patches: F32, bank: F32, bank_sq: F32) -> Index:
        rows = np.empty(len(patches), np.intp)

        def search(first: int, last: int) -> None:
            rows[first:last] = nearest_rows(patches[first:last], bank, bank_sq)

        # Products this small gain nothing from BLAS's threads, which wait for each other: beside
        # other work a build of 16 images took 45 s with them, and 17 s so. Blocks of one size,
        # so that the number of cores changes no bit.
        self.scorer.crew.share_blocks(search, len(patches), BLOCK)
        return rows


def _gap(patches: F32, rows: Index, bank: F32) -> F32:
    delta = patches - bank[rows]
    gap: F32 = np.einsum("nd,nd->n", delta, delta)
    return gap


class PatchCoreLeaveOut:
    """See `LeaveOut`: as good as fitting anew without the part, and far cheaper.

    Rows of the part are not only taken out: a coreset has one row for what many images
    show, and whichever image gave it would look odd without it. In their places step
    candidates of other parts that are no longer covered without them.
    """

    def __init__(self, scorer: PatchCoreScorer, part_of: NDArray[np.int32], substitute: F32):
        """Keep what is needed.

        Parameters
        ----------
        part_of : (K, M)
            The part that each row of the bank is from.
        substitute : (K, M, D) float32, centred
            What takes its place when that part is left out.
        """
        self._scorer = scorer
        self._part_of = part_of
        self._substitute = substitute
        self._last: tuple[int, Scorer] | None = None

    def without(self, part: int) -> Scorer:
        """See `LeaveOut`."""
        if self._last is None or self._last[0] != part:
            replaced = self._part_of == part
            bank = np.array(self._scorer.bank)
            bank[replaced] = self._substitute[replaced]
            self._last = part, OtherBank(self._scorer, replaced, bank)
        return self._last[1]
