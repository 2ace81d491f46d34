"""DFM: directions of good features."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

import kenpin
from bundles import Workshop, with_patch
from fake_reader import FakeReader
from kenpin.camera.files.images import read_pixels
from kenpin.compile.good_images.parts import Parts
from kenpin.compile.methods.dfm import DFM, beside, within
from kenpin.compile.methods.fitting import FitTask, arrays_in
from kenpin.compile.progress import Steps
from kenpin.config.dfm import DfmSpec
from kenpin.config.threshold import ThresholdSpec
from kenpin.runtime.judging.padim import PadimScorer
from kenpin.runtime.judging.tiling import TileGrid

# 2 rows x 3 columns of tiles.
GRID = TileGrid(height=32, width=48, size=16, halo=0, stride=16)


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


@pytest.mark.parametrize("score", ["reconstruction", "likelihood"])
@pytest.mark.parametrize("granularity", ["single", "columns"])
def test_a_part_is_forgotten_as_if_it_had_never_been_seen(
    tmp_path: Path, score: str, granularity: str
) -> None:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((6, 6, 4, 4, 5)).astype(np.float32)
    spec = DfmSpec.model_validate({"name": "dfm", "score": score, "granularity": granularity})
    parts = Parts(("a", "b", "c"), "group", np.arange(6) // 2, np.ones(6, np.intp))

    def task(chosen: NDArray[np.float32], name: str, ways: list[Parts]) -> FitTask:
        reader: Any = FakeReader(chosen)
        (tmp_path / name).mkdir()
        steps = Steps(Console(file=io.StringIO()))
        scratch = tmp_path / f"{name}-scratch"
        return FitTask(
            reader, reader.files, GRID, tmp_path / name, steps, ways, scratch, ThresholdSpec()
        )

    def scorer(arrays: Mapping[str, NDArray[np.float32]]) -> PadimScorer:
        return PadimScorer(arrays["mean"], arrays["whitening"], np.zeros(6, np.intp), granularity)  # type: ignore[arg-type]

    whole = task(images, "whole", [parts])
    assert DFM.fit(spec, whole) == {
        "patches_per_model": 6 * 6 * (16 if granularity == "single" else 4)
    }
    (leave,) = DFM.leave_outs(spec, whole, scorer)
    without = task(images[2:], "without", [parts])
    DFM.fit(spec, replace(without, ways=[]))
    anew = scorer(arrays_in(without.folder))
    np.testing.assert_allclose(
        leave.without(0).distances(images[0]).values,
        anew.distances(images[0]).values,
        rtol=1e-3, atol=1e-4,
    )  # fmt: skip


@pytest.mark.thorough
def test_a_bundle_of_it_finds_a_patch(workshop: Workshop, tmp_path: Path) -> None:
    result = workshop.build(tmp_path, 'method={name="dfm"}')
    good = read_pixels(workshop.data / "test" / "good" / "000.png")
    inspector = kenpin.load(result.bundle.folder)
    assert inspector.judge(good).ok
    assert inspector.judge(with_patch(good)).reason is kenpin.Reason.DEFECT
    assert result.bundle.manifest.method.name == "dfm"
