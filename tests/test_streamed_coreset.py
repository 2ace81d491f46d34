"""A coreset of a stream: every patch is near to the net, in memory that does not grow."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from kenpin.compile.methods.patchcore import k_centre_greedy
from kenpin.compile.methods.streamed_coreset import Net
from kenpin.config.methods import PatchCoreSpec

F32 = NDArray[np.float32]
seeds = st.integers(0, 2**32 - 1)


def chunks(rng: np.random.Generator, dimensions: int) -> Iterator[tuple[F32, int]]:
    """Images of two kinds of patches, with a number each."""
    for image in range(int(rng.integers(2, 8))):
        kind = rng.normal(0, 3, dimensions) * rng.integers(0, 2)
        rows = kind + rng.normal(0, rng.uniform(0.1, 2), (int(rng.integers(1, 60)), dimensions))
        yield rows.astype(np.float32), image


def farthest(points: F32, rows: F32) -> float:
    """The largest of all distances from a point to its nearest row, by the definition."""
    return max(min(float(np.linalg.norm(p - row)) for row in rows) for p in points.astype(float))


@given(seeds, st.integers(2, 40), st.integers(1, 5))
def test_every_patch_lies_within_the_radius_of_the_net(
    seed: int, size: int, dimensions: int
) -> None:
    rng = np.random.default_rng(seed)
    net, seen = Net(size, dimensions, 0, rng), []
    for rows, image in chunks(rng, dimensions):
        net.add(rows, image, image)
        net.pool()
        seen.append(rows)
    everything = np.concatenate(seen)
    assert len(net.points) <= size
    assert net.seen == len(everything)
    assert farthest(everything, net.points) <= net.radius * 1.001 + 1e-3


@given(seeds, st.integers(2, 30))
def test_witnesses_are_patches_of_other_parts_that_were_seen(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    net, seen = Net(size, 3, 0, rng), {}
    for rows, image in chunks(rng, 3):
        net.add(rows, image, image % 2)
        seen[image] = rows
    pool = net.pool()
    for row, tag in zip(pool.rows, pool.tags, strict=True):
        assert (seen[int(tag)] == row).all(axis=1).any()
    assert len(pool.rows) <= 2 * size


def test_a_rare_patch_is_near_to_a_row_whatever_comes_after() -> None:
    """A uniform sample of 2,000 of 40,000 patches misses one that was seen once, mostly."""
    rng = np.random.default_rng(5)
    net = Net(400, 4, 0, rng)
    rare = np.full((1, 4), 9, np.float32)
    for image in range(40):
        rows = rng.normal(0, 1, (1000, 4)).astype(np.float32)
        net.add(np.concatenate([rows, rare]) if image == 3 else rows, image, image)
    pool = net.pool()
    rows = pool.rows[k_centre_greedy(pool.points, 100, 0)]
    assert farthest(rare, rows) <= net.radius
    assert net.radius < 3


def test_a_net_needs_to_know_how_many_rows() -> None:
    with pytest.raises(ValidationError, match="needs coreset_rows"):
        PatchCoreSpec(name="patchcore", coreset="streamed")
    spec = PatchCoreSpec(name="patchcore", coreset="streamed", coreset_rows=300)
    assert spec.model_dump()["coreset"] == "streamed"
    assert "coreset" not in PatchCoreSpec(name="patchcore").model_dump()
