"""The real images and weights beside the repository, where they are: the accuracy we state."""

from __future__ import annotations

import importlib
import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from kenpin.compile.build import build
from kenpin.compile.cli import main as edge_compile
from kenpin.compile.evaluation.dataset import read_dataset
from kenpin.compile.evaluation.evaluate import Evaluation, evaluate
from kenpin.compile.progress import Steps
from kenpin.config.recipe import load_recipe
from kenpin.runtime.judging.engine import Engine
from kenpin.runtime.judging.pipeline import Pipeline
from kenpin.runtime.replay import main as edge_replay

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"
FABRIC = SHARED / "data" / "aitex_fabric03"

pytestmark = [
    pytest.mark.real,
    pytest.mark.shared,
    # A build's golden frames are scored under SSE4.1, too: minutes beside other work.
    pytest.mark.timeout(900),
    pytest.mark.skipif(not FABRIC.is_dir(), reason=f"{FABRIC} is not there"),
]


def accuracy(recipe: str, store: Path, *changes: str) -> Evaluation:
    with Steps(Console(file=io.StringIO())) as steps:
        bundle = build(load_recipe(REPOSITORY / "config" / recipe, changes), store, steps).bundle
    return evaluate(Pipeline(bundle), read_dataset(FABRIC), lambda *_: None, tile_px=256)


def test_gabor_finds_the_defects_of_fabric_03(tmp_path: Path) -> None:
    found = accuracy("fabric03-patchcore.toml", tmp_path)
    assert found.tiles is not None
    assert found.tiles["within_image"]["pooled"] >= 0.92
    assert found.images["auroc"] >= 0.90


def test_the_strips_replayed_as_one_web_show_their_defects_on_the_roll_map(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    web_fabric = importlib.import_module("web_fabric")
    assert web_fabric.main([str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert (tmp_path / "rolls" / "aitex-fabric-03.html").is_file()
    found = re.search(r"102891 lines; 30 defects drawn by people, (\d+) found", said)
    assert found
    assert int(found[1]) >= 28


def test_every_convolution_of_resnet18_runs_in_int8_and_every_strip_gets_a_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = str(REPOSITORY / "config" / "fabric03-resnet18.toml")
    small = ["--set", "method.coreset_rows=200", "--set", "quantize.calibration_tiles=64"]
    assert edge_compile(["build", recipe, "-o", str(tmp_path), *small]) == 0
    engine = Engine((tmp_path / "current").resolve() / "features.xml")
    kinds = {p for _, kind, p in engine.executed_precisions() if kind == "Convolution"}
    assert kinds <= {"i8", "u8"}
    capsys.readouterr()
    assert edge_replay([str(FABRIC / "test"), "--bundle", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("36 frames: ")
