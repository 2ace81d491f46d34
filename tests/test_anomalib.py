"""Every kind of Anomalib's models, exported by Anomalib itself, against its own inferencer."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from kenpin.camera.files.images import write_png
from kenpin.camera.frame import Frame
from kenpin.compile.cli import main as edge_compile
from kenpin.compile.networks.quantize import quantized_operations
from kenpin.compile.workbench import NETWORK
from kenpin.config.exits import Exit
from kenpin.runtime.bundles.bundle import read_bundle
from kenpin.runtime.judging.pipeline import Pipeline

ROOT = Path(__file__).parents[1]
PEERS = ROOT / "benchmarks" / "peers"
PYTHON = ROOT / ".venv-peers" / "bin" / "python"
MODELS = (
    "padim", "padim_any", "patchcore", "patchcore_one", "fastflow", "reverse_distillation", "stfpm",
    "cflow", "dfm", "dfm_nll", "efficient_ad",
)  # fmt: skip
TILED = "padim_tiles"
RECIPE = """
name = "theirs"
images = {{ good = "good" }}
frame = {{ height_px = {side}, width_px = {side} }}
report = {{ twins_each = 0, speed_s = 0.1 }}
threshold = {{ false_rejects = 0.05 }}
"""

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        not PYTHON.exists(), reason="Anomalib is not installed: make bench-peers makes .venv-peers"
    ),
]


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Anomalib has exported its models: made here, or kept by whoever set the variable."""
    kept = os.environ.get("KENPIN_ANOMALIB_EXPORTS")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("anomalib")
    missing = [name for name in (*MODELS, TILED) if not (folder / name / "facts.json").exists()]
    if missing:
        command = [PYTHON, PEERS / "anomalib_exports.py", folder, *missing]
        subprocess.run(command, check=True, cwd=folder, capture_output=True)
    return folder


def written_good(folder: Path, images: np.ndarray) -> None:
    """Good images to set a threshold by."""
    (folder / "good").mkdir()
    for number in range(8):
        # The weave wanders; the first two images show no defect.
        image = np.roll(images[number % 2], 7 * number, axis=1)
        write_png(folder / "good" / f"{number}.png", image)


def worst_in_cells(whole: np.ndarray, cells: int) -> np.ndarray:
    """(cells, cells): the highest value within each of a map."""
    inside = len(whole) // cells
    highest: np.ndarray = whole.reshape(cells, inside, cells, inside).max(axis=(1, 3))
    return highest


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_anomalibs_is_imported_in_one_command_and_says_what_its_inferencer_says(
    exports: Path,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    facts = json.loads((exports / name / "facts.json").read_text())
    assert "exported" in facts, facts
    monkeypatch.setenv("PYTHONPATH", str(PEERS / "site"))
    said = np.load(exports / name / "said.npz")
    written_good(tmp_path, said["images"])
    recipe, store = tmp_path / "theirs.toml", tmp_path / "bundles"
    side = said["images"].shape[1]
    recipe.write_text(RECIPE.format(side=side))
    command = ["import", str(exports / name), str(recipe), "-o", str(store)]
    assert edge_compile([*command, "--prove", "--anomalib", str(PYTHON)]) == Exit.DONE
    told = capsys.readouterr().out
    assert "OpenVINOInferencer" in told
    assert "whole frames" in told
    print(name, told.splitlines()[-1])
    pipeline = Pipeline(read_bundle(store / "current"))
    # DFM with a Gaussian has no map.
    maps = said["maps"] if "maps" in said else [None] * len(said["images"])
    for image, whole, score in zip(said["images"], maps, said["scores"], strict=True):
        judged = pipeline.judge(Frame(image.copy(), 0, 0))
        assert judged.score_map is not None
        worst = score
        if whole is not None:
            worst = worst_in_cells(whole, side // judged.score_map.stride_px)
        np.testing.assert_allclose(judged.score_map.values, worst, atol=1e-4)
        assert judged.verdict.score == pytest.approx(float(score), abs=1e-4)


@pytest.mark.parametrize("name", ["padim", "stfpm"])
def test_a_model_of_anomalibs_becomes_int8_under_the_same_guard(
    exports: Path, name: str, tmp_path: Path
) -> None:
    said = np.load(exports / name / "said.npz")
    written_good(tmp_path, said["images"])
    recipe, store = tmp_path / "theirs.toml", tmp_path / "bundles"
    recipe.write_text(RECIPE.format(side=said["images"].shape[1]))
    command = ["import", str(exports / name), str(recipe), "-o", str(store)]
    assert edge_compile([*command, "--set", 'quantize.precision="int8"']) == Exit.DONE
    bundle = read_bundle(store / "current")
    quantization = bundle.manifest.quantization
    assert quantization.settings.precision == "int8"
    assert min(quantization.score_ratios.values()) >= quantization.settings.min_score_ratio
    assert quantized_operations(ov.Core().read_model(bundle.folder / NETWORK)) > 0
    pipeline = Pipeline(bundle)
    scores = [pipeline.judge(Frame(one.copy(), 0, 0)).verdict.score for one in said["images"]]
    # The last two show a patch and a stripe.
    assert min(scores[2:]) > max(scores[:2])


def test_a_network_for_each_tile_says_of_its_tile_what_anomalibs_inferencer_says(
    exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(PEERS / "site"))
    said = np.load(exports / TILED / "said.npz")
    written_good(tmp_path, said["images"])
    recipe, store = tmp_path / "theirs.toml", tmp_path / "bundles"
    side, size = said["images"].shape[1], said["maps"].shape[-1]
    tiles = f"tiles = {{ size_px = {size}, stride_px = {size}, halo_px = 0 }}\n"
    # A Gaussian for each place finds a weave odd that wanders: a threshold by hand.
    fixed = RECIPE.format(side=side).replace("false_rejects = 0.05", 'method = "fixed", ok = 0.9')
    recipe.write_text(fixed + tiles)
    command = ["import", str(exports / TILED), str(recipe), "-o", str(store)]
    assert edge_compile([*command, "--prove", "--anomalib", str(PYTHON)]) == Exit.DONE
    pipeline = Pipeline(read_bundle(store / "current"))
    for image, maps, scores in zip(said["images"], said["maps"], said["scores"], strict=True):
        judged = pipeline.judge(Frame(image.copy(), 0, 0))
        assert judged.score_map is not None
        whole = maps.transpose(0, 2, 1, 3).reshape(side, side)
        worst = worst_in_cells(whole, side // judged.score_map.stride_px)
        np.testing.assert_allclose(judged.score_map.values, worst, atol=1e-4)
        assert judged.verdict.score == pytest.approx(float(scores.max()), abs=1e-4)


@pytest.mark.parametrize(("joined", "seam_px"), [("joined", 2), ("overlapping", 0)])
def test_maps_of_tiles_are_joined_as_anomalibs_tiled_ensemble_joins_them(
    exports: Path, tmp_path: Path, joined: str, seam_px: int
) -> None:
    said = np.load(exports / TILED / "said.npz")
    size, side = said["maps"].shape[-1], said[joined].shape[-1]
    images = said["images"][:, :side, :side]
    written_good(tmp_path, images)
    tiles = f"tiles = {{ size_px = {size}, stride_px = {side - size}, halo_px = 0 }}\n"
    fixed = RECIPE.format(side=side).replace("false_rejects = 0.05", 'method = "fixed", ok = 0.9')
    more = f'method = {{ name = "imported", cell_px = 1 }}\nscore.seam_sigma_px = {seam_px}\n'
    recipe, store = tmp_path / "theirs.toml", tmp_path / "bundles"
    recipe.write_text(fixed + tiles + more)
    assert edge_compile(["import", str(exports / TILED), str(recipe), "-o", str(store)]) == 0
    pipeline = Pipeline(read_bundle(store / "current"))
    for image, whole in zip(images, said[joined], strict=True):
        judged = pipeline.judge(Frame(image.copy(), 0, 0))
        assert judged.score_map is not None
        np.testing.assert_allclose(judged.score_map.values, whole, atol=1e-4)
