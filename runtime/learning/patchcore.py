"""PatchCore told of more good frames: patches that its bank does not cover join it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kenpin.config.methods import PatchCoreSpec
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.coreset import covering_radius, farthest_first
from kenpin.runtime.judging.patchcore import PatchCoreScorer, load_patchcore
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.learning.learner import CannotLearnError

__all__ = ["PatchCoreLearner", "learn_patchcore"]

F32 = NDArray[np.float32]

# The search takes longer with every row: so much of the rows that were compiled may one update
# add, and so much all updates together.
STEP = 0.2
MOST_GROWTH = 0.6
# Kept of one tile of one frame, the farthest first: 50 frames of 16 tiles, 250 features wide,
# are 50 MB at most.
PER_TILE = 64


@dataclass(frozen=True)
class _Pool:
    """Patches of good frames that a bank does not cover.

    rows  (N, D) float32, centred as the bank is
    gap   (N,) float32, their squared distances to it
    """

    rows: F32
    gap: F32


class PatchCoreLearner:
    """See `Learner`: the coreset's own rule, continued where it ended.

    room  rows that each bank may still grow by
    """

    def __init__(self, scorer: PatchCoreScorer, room: int) -> None:
        self._scorer = scorer
        self._room = room
        self._radius_sq = [np.float32(covering_radius(bank) ** 2) for bank in scorer.bank]
        # Of each frame, what each bank lacks.
        self._lacking: dict[int, list[list[_Pool]]] = {}

    def take(self, frame: int, features: F32, counts: NDArray[np.bool_] | None = None) -> None:
        """See `Learner`."""
        scorer = self._scorer
        own = self._lacking.setdefault(frame, [[] for _ in scorer.bank])
        distances = scorer.distances(features).values
        for tile, k in enumerate(scorer.model_of_tile):
            gap = np.square(distances[tile].reshape(-1))
            lacking = gap > self._radius_sq[k]
            # Nor does the coreset hold what is not inspected, which would now be farthest.
            bare = np.flatnonzero(lacking if counts is None else lacking & counts[tile].reshape(-1))
            if not len(bare):
                continue
            rows = scorer.patches(features, slice(tile, tile + 1))[bare] - scorer.centre
            chosen = farthest_first(rows, gap[bare], float(self._radius_sq[k]), PER_TILE)
            own[int(k)].append(_Pool(rows[chosen], gap[bare][chosen]))

    def arrays(self, left_out: Collection[int] = ()) -> tuple[dict[str, F32], int]:
        """See `Learner`; what is added are rows, of all banks together."""
        found = [
            self._chosen(
                [
                    pool
                    for frame, own in sorted(self._lacking.items())
                    if frame not in left_out
                    for pool in own[k]
                ],
                float(self._radius_sq[k]),
            )
            for k in range(len(self._scorer.bank))
        ]
        added = sum(map(len, found))
        if not added:
            return {}, 0
        # Equal heights make one array: what a bank has no row for repeats one that it has.
        height = max(map(len, found))
        bank = np.stack(
            [
                np.concatenate([old, new, np.repeat(old[:1], height - len(new), axis=0)])
                for old, new in zip(self._scorer.bank, found, strict=True)
            ]
        ).astype(np.float32)
        return {"bank": bank, "bank_sq": np.einsum("kmd,kmd->km", bank, bank)}, added

    def _chosen(self, pools: list[_Pool], radius_sq: float) -> F32:
        width = self._scorer.bank.shape[2]
        rows = np.concatenate([np.empty((0, width), np.float32), *(one.rows for one in pools)])
        gap = np.concatenate([np.empty(0, np.float32), *(one.gap for one in pools)])
        chosen: F32 = rows[farthest_first(rows, gap, radius_sq, self._room)]
        return chosen


def learn_patchcore(bundle: Bundle, grid: TileGrid, scratch: Path) -> PatchCoreLearner:  # noqa: ARG001
    """See `LoadLearner`.

    Raises
    ------
    CannotLearnError
        If earlier updates have used up what the bank may grow by.
    """
    manifest = bundle.manifest
    assert isinstance(manifest.method, PatchCoreSpec)
    scorer = load_patchcore(bundle.arrays, manifest.method, manifest.features, grid)
    rows = scorer.bank.shape[1]
    compiled = rows if manifest.update is None else manifest.update.compiled_rows or rows
    room = min(int(compiled * (1 + MOST_GROWTH)) - rows, max(1, int(compiled * STEP)))
    if room < 1:
        raise CannotLearnError(
            f"{bundle.label}: its bank has grown from {compiled} to {rows} rows, and may not grow "
            "further, for speed; compile it again, with the reviewed frames among the good images"
        )
    return PatchCoreLearner(scorer, room)
