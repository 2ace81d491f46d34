"""DFM: directions of good features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kenpin
from bundles import Workshop, with_patch
from kenpin.camera.files.images import read_pixels
from kenpin.compile.dfm import beside, within


def some_covariance(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((2, 6, 6)) * np.array([4, 3, 2, 0.1, 0.05, 0.01])
    found: np.ndarray = mixing @ mixing.transpose(0, 2, 1)
    return found


@pytest.mark.parametrize("seed", [0, 1])
def test_what_lies_in_the_kept_directions_is_reconstructed_and_nothing_else(seed: int) -> None:
    covariance = some_covariance(seed)
    matrix = beside(covariance, 0.97)
    for own, found in zip(covariance, matrix, strict=True):
        values, vectors = np.linalg.eigh(own)
        # From the definition: the fewest largest directions that hold the share.
        order = np.argsort(values)[::-1]
        held = np.cumsum(values[order]) / values.sum()
        kept = order[: int(np.searchsorted(held, 0.97)) + 1]
        for number in range(6):
            length = float(np.linalg.norm(found @ vectors[:, number]))
            assert length == pytest.approx(0.0 if number in kept else 1.0, abs=1e-9)


@pytest.mark.parametrize("seed", [0, 1])
def test_within_the_kept_directions_the_length_is_mahalanobis(seed: int) -> None:
    covariance = some_covariance(seed)
    whole = within(covariance, 1 - 1e-12)
    x = np.random.default_rng(seed).standard_normal(6)
    for own, found in zip(covariance, whole, strict=True):
        assert np.linalg.norm(found @ x) == pytest.approx(
            float(x @ np.linalg.inv(own) @ x) ** 0.5, rel=1e-6
        )


def test_a_bundle_of_it_finds_a_patch(workshop: Workshop, tmp_path: Path) -> None:
    result = workshop.build(tmp_path, 'method={name="dfm"}')
    good = read_pixels(workshop.data / "test" / "good" / "000.png")
    inspector = kenpin.load(result.bundle.folder)
    assert inspector.judge(good).ok
    assert inspector.judge(with_patch(good)).reason is kenpin.Reason.DEFECT
    assert result.bundle.manifest.method.name == "dfm"
