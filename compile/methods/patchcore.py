"""Fitting PatchCore: a bounded sample of patches, and a coreset chosen from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.compile.backbones import Tap
from kenpin.compile.good_images.parts import Parts
from kenpin.compile.methods.extractor import PatchCoreEmbedding
from kenpin.compile.methods.feature_reader import FeatureReader
from kenpin.compile.methods.fitting import FitTask, LoadArrays, arrays_in
from kenpin.compile.methods.leave_out import LeaveOut
from kenpin.compile.methods.other_banks import PatchCoreLeaveOut
from kenpin.compile.methods.patch_sample import mean_of, sampled
from kenpin.compile.progress import OnProgress
from kenpin.config.errors import ConfigError
from kenpin.config.methods import PatchCoreSpec
from kenpin.runtime.judging.coreset import farthest_first
from kenpin.runtime.judging.crew import Crew
from kenpin.runtime.judging.patchcore import PatchCoreScorer
from kenpin.runtime.judging.sharing import model_count, model_of_tile, patch_positions
from kenpin.runtime.judging.tiling import TileGrid

__all__ = ["PATCHCORE", "fit_patchcore", "k_centre_greedy"]

F32 = NDArray[np.float32]
Index = NDArray[np.intp]

DEFAULT_ROWS = 2000
# Points whose distances to all rows a thread holds at once: 2048 x 4,000 float32 is 33 MB.
POINTS_AT_ONCE = 2048
# Rows of the probe: a random bank is enough to compare two precisions.
PROBE_ROWS = 1000


def k_centre_greedy(
    points: F32, rows: int, first: int, progress: OnProgress | None = None
) -> Index:
    """Points chosen so that the farthest of the others is as near as may be.

    Starts from `first`; each next one is the point farthest from all chosen
    so far, the lower number at a tie. Ends early when no point is left that
    differs from a chosen one.

    Parameters
    ----------
    points : (N, D) float32

    Returns
    -------
    (at most `rows`,) point numbers, in the order of choice.

    References
    ----------
    Sener and Savarese, ICLR 2018, algorithm 1 (arXiv:1708.00489).
    """
    # Centred, so that products lose fewer digits.
    points = points - points.mean(axis=0)
    squares = np.einsum("nd,nd->n", points, points)
    # What rounding leaves of a distance that is really zero.
    noise = float(8 * np.finfo(np.float32).eps * squares.max())
    gap = squares - 2 * (points @ points[first]) + squares[first]
    gap[first] = 0

    def count(done: int, _total: int) -> None:
        if progress:
            progress(1 + done, rows)

    return np.append(first, farthest_first(points, gap, noise, rows - 1, count))


def stand_ins(points: F32, part_of: NDArray[np.int32], chosen: Index) -> Index:
    """For each chosen point the one that takes its place where its part is left out.

    Without a part's points some of the others are bare: farther from all that is left
    than any point is from the whole coreset. They are chosen from as the coreset was, the
    farthest first, until none is bare any more; whatever places are left over then repeat a
    point that is there. So the others are covered as they would be had the part never been
    seen. What lies nearest to the part's own points would favour it: unseen images of two
    materials then scored 1.1 times as high as seen ones, and 10 % were rejected for 1 %.

    Parameters
    ----------
    points : (N, D) float32
    part_of : (N,)
    chosen : (M,)

    Returns
    -------
    (M,) numbers of points of other parts; a point itself where all are of its part.
    """
    points = points - points.mean(axis=0)
    row_part = part_of[chosen]
    gap, owner, without = _covered(points, points[chosen], row_part)
    radius = float(gap.max())
    found = np.array(chosen)
    for part in np.unique(row_part):
        others = part_of != part
        if not others.any():
            continue
        own, rest = np.flatnonzero(row_part == part), np.flatnonzero(row_part != part)
        bare = np.flatnonzero(others & (owner == part) & (without > radius))
        picked = bare[farthest_first(points[bare], without[bare], radius, len(own))]
        found[own] = chosen[rest[0]] if len(rest) else picked[0]
        found[own[: len(picked)]] = picked
    return found


def _covered(
    points: F32, rows: F32, row_part: NDArray[np.int32]
) -> tuple[F32, NDArray[np.int32], F32]:
    """What covers each point.

    Returns
    -------
    (N,) its squared distance to the nearest row, the part of that row, and the squared
    distance to the nearest row of any other part, infinite where there is none.
    """
    rows_sq = np.einsum("md,md->m", rows, rows)
    gap, without = np.empty(len(points), np.float32), np.empty(len(points), np.float32)
    owner = np.empty(len(points), np.int32)

    def cover(first: int, last: int) -> None:
        at = slice(first, last)
        block = points[at]
        far = rows_sq - 2 * (block @ rows.T)
        nearest = far.argmin(axis=1)
        owner[at] = row_part[nearest]
        own_sq = np.einsum("nd,nd->n", block, block)
        gap[at] = np.maximum(far[np.arange(len(block)), nearest] + own_sq, 0)
        far[owner[at][:, None] == row_part] = np.inf
        without[at] = np.maximum(far.min(axis=1) + own_sq, 0)

    Crew().share_blocks(cover, len(points), POINTS_AT_ONCE)
    return gap, owner, without


def fit_patchcore(
    reader: FeatureReader,
    files: list[Path],
    grid: TileGrid,
    spec: PatchCoreSpec,
    folder: Path,
    scratch: Path,
    ways: Sequence[Parts],
    progress: Callable[[str], OnProgress],
) -> tuple[int, int]:
    """Write `bank.npy`, `bank_sq.npy`, `centre.npy` and, if it counts, `place.npy`.

    Gives the patches seen and the rows kept of each model, of the one that keeps most.

    The arrays have the shapes that `PatchCoreScorer` states. Memory is bounded
    by `spec.candidates`, whatever the number of images. For `PatchCoreLeaveOut` go to
    `scratch`: for each of the ways to leave out parts, `part-N.npy`, (K, M) int32, the part
    that each row of the bank is from, and `substitute-N.npy`, (K, M, D) float32, the
    candidates that take their places without it (see `stand_ins`).

    Raises
    ------
    ConfigError
        If the coreset asked for is larger than the candidates.
    """
    models = model_count(grid, spec.share)
    rngs = [np.random.default_rng(seed) for seed in np.random.SeedSequence(spec.seed).spawn(models)]
    place = patch_positions(grid, reader.cells) if spec.position_weight else None
    members = model_of_tile(grid, spec.share)
    sample = sampled(reader, files, members, place, spec, rngs, ways, progress)
    if sample.place is not None:
        np.save(folder / "place.npy", sample.place)
    pools = sample.pools
    centre = mean_of([pool.rows for pool in pools])
    banks = []
    others: list[list[tuple[NDArray[np.int32], F32]]] = [[] for _ in ways]
    step = progress("coreset")
    for k, (pool, rng) in enumerate(zip(pools, rngs, strict=True)):
        wanted = _rows(spec, pool.seen, models)
        first = int(rng.integers(len(pool.points)))

        def count(done: int, total: int, k: int = k) -> None:
            step(k * total + done, models * total)

        chosen = k_centre_greedy(pool.points, wanted, first, count)
        banks.append(pool.rows[chosen] - centre)
        for parts, kept in zip(ways, others, strict=True):
            part_of = sample.parts(parts)[pool.tags]
            stand_in = stand_ins(pool.points, part_of, chosen)
            kept.append((part_of[chosen], pool.rows[stand_in] - centre))
    # Banks differ only where patches repeat, at the extreme to one row, of a tile that is
    # saturated in every image: cut to its height, the others would forget what they saw.
    height = max(len(bank) for bank in banks)
    bank = _stacked(banks, height).astype(np.float32)
    for number, kept in enumerate(others):
        np.save(scratch / f"part-{number}.npy", _stacked([part for part, _ in kept], height))
        rows = _stacked([row for _, row in kept], height).astype(np.float32)
        np.save(scratch / f"substitute-{number}.npy", rows)
    np.save(folder / "bank.npy", bank)
    np.save(folder / "bank_sq.npy", np.einsum("kmd,kmd->km", bank, bank))
    np.save(folder / "centre.npy", centre)
    return sum(pool.seen for pool in pools), height


def _stacked(arrays: Sequence[NDArray[Any]], height: int) -> NDArray[Any]:
    """One array: what a shorter one lacks repeats its first row, and changes no distance."""
    return np.stack([
        np.concatenate([rows, np.repeat(rows[:1], height - len(rows), axis=0)]) for rows in arrays
    ])  # fmt: skip


def _rows(spec: PatchCoreSpec, patches: int, models: int) -> int:
    if spec.coreset_ratio is not None:
        wanted = max(1, int(patches * spec.coreset_ratio))
    else:
        wanted = min(spec.coreset_rows or DEFAULT_ROWS, patches)
    candidates = spec.candidates // models
    if spec.coreset == "sampled" and wanted > candidates:
        raise ConfigError(
            f"a coreset of {wanted} rows is more than the {candidates} candidate patches of each "
            "model; raise method.candidates or lower the coreset"
        )
    return wanted


class _PatchCoreFitting:
    """See `Fitting`."""

    def embedding(
        self, taps: Sequence[Tap], grid_px: int, spec: PatchCoreSpec, margin: int
    ) -> PatchCoreEmbedding:
        """See `Fitting`."""
        return PatchCoreEmbedding(taps, grid_px, spec, margin)

    def fit(self, spec: PatchCoreSpec, task: FitTask) -> dict[str, int]:
        """See `Fitting`."""
        with ExitStack() as open_steps:

            def begin(name: str) -> OnProgress:
                open_steps.close()
                return open_steps.enter_context(task.steps.step(f"PatchCore {name}"))

            seen, kept = fit_patchcore(
                task.reader,
                task.files,
                task.grid,
                spec,
                task.folder,
                task.scratch,
                task.ways,
                begin,
            )
        return {"patches_seen": seen, "coreset_rows": kept}

    def leave_outs(
        self,
        spec: PatchCoreSpec,  # noqa: ARG002
        task: FitTask,
        load: LoadArrays,
    ) -> list[LeaveOut]:
        """See `Forgetting`."""
        scorer = load(arrays_in(task.folder))
        assert isinstance(scorer, PatchCoreScorer)
        return [
            PatchCoreLeaveOut(
                scorer,
                np.load(task.scratch / f"part-{number}.npy"),
                np.load(task.scratch / f"substitute-{number}.npy", mmap_mode="r"),
            )
            for number in range(len(task.ways))
        ]

    def probe(
        self,
        spec: PatchCoreSpec,  # noqa: ARG002
        features: F32,
        rng: np.random.Generator,
    ) -> PatchCoreScorer:
        """See `Fitting`: a bank of random patches."""
        rows = features.reshape(-1, features.shape[-1])
        centre = rows.mean(axis=0)
        bank = rows[rng.permutation(len(rows))[:PROBE_ROWS]] - centre
        squares = np.einsum("md,md->m", bank, bank)
        return PatchCoreScorer(centre, bank[None], squares[None], np.zeros(1, np.intp))


# The workstation's half of the method `patchcore`.
PATCHCORE = _PatchCoreFitting()
