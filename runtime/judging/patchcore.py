"""PatchCore at work: the distance of every patch to its nearest row of a memory bank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kenpin.config.methods import PatchCoreSpec
from kenpin.runtime.bundles.manifest import BundleError, FeatureRecord
from kenpin.runtime.judging.crew import Crew
from kenpin.runtime.judging.distance import nearest_rows, reweighting, to_rows
from kenpin.runtime.judging.proposals import LEAST_ROWS, BankSearch, Proposer
from kenpin.runtime.judging.scoring import TileDistances, array_of
from kenpin.runtime.judging.sharing import model_count, model_of_tile
from kenpin.runtime.judging.tiling import TileGrid

__all__ = ["PatchCoreScorer", "load_patchcore"]

F32 = NDArray[np.float32]
Index = NDArray[np.intp]


@dataclass(frozen=True)
class PatchCoreScorer:
    """A memory bank per model.

    Where patches are told apart by their place, D counts its two columns too.

    centre         (D,) float32, subtracted from bank and features alike
    bank           (K, M, D) float32, centred
    bank_sq        (K, M) float32, squared norms of its rows
    model_of_tile  (tiles,) which of the K banks judges each tile
    reweight_neighbours  b of eq. 7; 0: the image score is the map's maximum
    place          (tiles, cells, cells, 2) float32, weighted columns to append to
                   the features; None where place does not matter
    proposer       of all banks; None: every row is measured against every patch
    crew           who shares the measuring
    """

    centre: F32
    bank: F32
    bank_sq: F32
    model_of_tile: Index
    reweight_neighbours: int = 0
    place: F32 | None = None
    proposer: Proposer | None = None
    crew: Crew = field(default_factory=Crew)

    @cached_property
    def rows(self) -> F32:
        """The banks as the patches lie, not centred: patches are measured as they come."""
        return self.bank + self.centre

    @property
    def search(self) -> BankSearch | None:
        """See `Scorer`. One bank for all tiles, and patches as the network makes them."""
        if self.proposer is None or len(self.bank) > 1 or self.place is not None:
            return None
        return self.proposer.banks[0]

    def distances(self, features: F32, rows: Index | None = None) -> TileDistances:
        """See `Scorer`."""
        rows = self.searched(features) if rows is None else rows
        values = np.empty(rows.shape, np.float32)

        def measure(first: int, last: int) -> None:
            # The fewer the pieces, the less often two threads wait for the interpreter.
            step = last - first if len(self.bank) == 1 else 1
            for start in range(first, last, step):
                part = slice(start, start + step)
                bank = self.rows[self.model_of_tile[start]]
                found = to_rows(self.patches(features, part), bank, rows[part].reshape(-1))
                values[part] = found.reshape(values[part].shape)

        self.crew.share(measure, len(features))
        if not self.reweight_neighbours:
            return TileDistances(values)
        # argmax takes NaN for the largest, so no other tile's score hides it.
        tile, patch = divmod(int(values.argmax()), rows[0].size)
        k, row = int(self.model_of_tile[tile]), int(rows[tile].reshape(-1)[patch])
        query = self.patches(features, slice(tile, tile + 1))[patch] - self.centre
        weight = reweighting(query, self.bank[k], self.bank_sq[k], row, self.reweight_neighbours)
        return TileDistances(values, weight * float(values[tile].reshape(-1)[patch]))

    def searched(self, features: F32) -> Index:
        """(tiles, cells, cells) bank rows."""
        tiles = [
            (int(k), self.patches(features, slice(tile, tile + 1)))
            for tile, k in enumerate(self.model_of_tile)
        ]
        if self.proposer is not None:
            found = self.proposer.propose(tiles)
        else:
            found = [
                nearest_rows(patches - self.centre, self.bank[k], self.bank_sq[k])
                for k, patches in tiles
            ]
        return np.reshape(found, features.shape[:3])

    def patches(self, features: F32, tiles: slice) -> F32:
        """(patches, D) float32 of some tiles, as the bank's rows are, not centred."""
        found = features[tiles]
        if self.place is not None:
            found = np.concatenate([found, self.place[tiles]], axis=-1)
        patches: F32 = found.reshape(-1, found.shape[-1])
        return patches


def load_patchcore(
    arrays: Mapping[str, F32],
    method: PatchCoreSpec,
    features: FeatureRecord,
    grid: TileGrid,
    threads: int | None = None,
    *,
    exhaustive: bool = False,
) -> PatchCoreScorer:
    """See `LoadScorer`; the shortcut is that INT8 proposes rows."""
    models = model_count(grid, method.share)
    members = model_of_tile(grid, method.share)
    rows = arrays["bank"].shape[1] if "bank" in arrays else 0
    cells = features.cells
    place = None
    if method.position_weight:
        place = array_of(arrays, "place", (len(grid), cells, cells, 2))
    width = features.dimensions + (0 if place is None else place.shape[3])
    bank = array_of(arrays, "bank", (models, rows, width))
    centre = array_of(arrays, "centre", bank.shape[2:])
    bank_sq = array_of(arrays, "bank_sq", bank.shape[:2])
    for name, array in (("bank", bank), ("centre", centre), ("bank_sq", bank_sq)):
        if not np.isfinite(array).all():
            raise BundleError(
                f"statistics {name}.npy hold numbers that are not finite; recompile the bundle"
            )
    proposer = None
    if rows >= LEAST_ROWS and not exhaustive:
        proposer = Proposer(bank, centre, cells * cells, threads)
    scorer = PatchCoreScorer(
        centre, bank, bank_sq, members, method.reweight_neighbours, place, proposer, Crew(threads)
    )
    if proposer is not None and scorer.search is None:
        # No network will search for it: it compiles its own now, not at the first frame.
        proposer.compile()
    return scorer
