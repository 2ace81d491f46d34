"""Anomaly twins: one visible defect, inside the scored part, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kenpin.compile.networks.twins import TWIN_KINDS, twin

seeds = st.integers(0, 2**32 - 1)
kinds = st.sampled_from(TWIN_KINDS)


@st.composite
def materials(draw):
    """Dark or bright texture, mono or colour, and a margin that leaves 16 px or more."""
    margin = draw(st.integers(0, 20))
    core = draw(st.sampled_from([(16, 16), (64, 64), (40, 150), (150, 40)]))
    shape = tuple(side + 2 * margin for side in core) + draw(st.sampled_from([(), (1,), (3,)]))
    grey = draw(st.sampled_from([60, 190]))
    pixels = np.random.default_rng(draw(seeds)).integers(grey - 30, grey + 30, shape, np.uint8)
    return pixels, margin


def changed(before, after):
    """(H, W) bool: pixels that differ in any channel."""
    return (before != after).reshape(*before.shape[:2], -1).any(axis=2)


@pytest.mark.parametrize("kind", TWIN_KINDS)
@given(materials(), seeds)
def test_a_twin_differs_in_one_small_place_off_the_margin(kind, material, seed):
    pixels, margin = material
    before = pixels.copy()
    pasted = twin(pixels, kind, np.random.default_rng(seed), margin)
    np.testing.assert_array_equal(pixels, before)
    assert not np.shares_memory(pasted, pixels)
    assert pasted.shape == pixels.shape
    assert pasted.dtype == np.uint8
    where = changed(pixels, pasted)
    core = where[margin : where.shape[0] - margin, margin : where.shape[1] - margin]
    assert where.sum() == core.sum() > 0
    short = min(core.shape)
    # A patch has the largest area, 4 px or a fifth of the short side each way.
    assert where.sum() <= max(5, 0.2 * short + 1) ** 2


@given(materials(), kinds, seeds)
def test_the_same_seed_pastes_the_same_defect(material, kind, seed):
    pixels, margin = material
    one, other = (twin(pixels, kind, np.random.default_rng(seed), margin) for _ in range(2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", TWIN_KINDS)
@pytest.mark.parametrize(("grey", "loud"), [(40, 255), (220, 0)])
@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 1), (64, 64, 3)])
def test_a_defect_is_loud_on_its_material_in_every_channel(kind, grey, loud, shape):
    pixels = np.full(shape, grey, np.uint8)
    pasted = twin(pixels, kind, np.random.default_rng(3), 8)
    inside = pasted[changed(pixels, pasted)]
    if kind == "noise":
        assert inside.std() > 50
    else:
        assert set(inside.ravel().tolist()) == {{"black": 0, "white": 255}.get(kind, loud)}


def test_defects_turn_up_all_over_the_scored_part():
    pixels = np.full((80, 80), 128, np.uint8)
    hit = np.zeros((80, 80), bool)
    for seed in range(300):
        hit |= changed(pixels, twin(pixels, "black", np.random.default_rng(seed), 16))
    assert hit[16:-16, 16:-16].mean() > 0.9
    assert hit[16].any()
    assert hit[63].any()
    assert hit[:, 16].any()
    assert hit[:, 63].any()


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="twin kind 'scratch', expected one of"):
        twin(np.zeros((32, 32), np.uint8), "scratch", np.random.default_rng(0))
