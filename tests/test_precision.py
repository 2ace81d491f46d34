"""What stays in float where INT8 would lose defects: networks of ours, and those of the folds."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

import reference_networks as reference
from kenpin.compile.networks.quantize import operations_in_float, quantized_operations
from kenpin.compile.precision import choose_precision, in_int8
from kenpin.compile.progress import Steps
from kenpin.compile.training.network import TrainedNetwork
from kenpin.runtime.bundles.manifest import QuantizationRecord
from kenpin.runtime.judging.lamp import Lamp
from trainings import BRIEF, prepared_for, quiet, tiny_recipe

FEW = "quantize={guard_tiles=8,calibration_tiles=16}"
# Both ways into the second stage.
INTO_LAYER2 = ("layer2.0.conv1", "layer2.0.downsample.0")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_recipe(tmp_path_factory.mktemp("tiny"))


def unequal(folder: Path) -> str:
    """ResNet18 with a channel that is never on, and weights for it that dwarf all others."""
    weights = reference.Weights(seed=2)
    reference.resnet("resnet18", weights, np.zeros((1, 1, 32, 32), np.uint8), 2)
    state = weights.state
    for norm in ("bn1", "layer1.0.bn2", "layer1.1.bn2"):
        state[f"{norm}.weight"][0], state[f"{norm}.bias"][0] = 0, -0.1
    for layer in INTO_LAYER2:
        state[f"{layer}.weight"][:, 0] = 1e5
    torch.save(state, folder / "unequal.pth")
    return f'backbone={{name="resnet18",layers=["layer2"],weights="{folder / "unequal.pth"}"}}'


def test_a_network_of_ours_keeps_in_float_what_would_lose_defects(
    tiny: Path, tmp_path: Path
) -> None:
    prepared, images = prepared_for(tiny, 'name="dfm"', unequal(tmp_path), FEW)
    fp32 = prepared.network.model(prepared.batch)
    told = io.StringIO()
    with Steps(Console(file=told, width=1000)) as steps:
        model, record = choose_precision(prepared, fp32, images.files, Lamp(None), steps)
    assert "looking for what must stay in float" in told.getvalue()
    assert min(record.score_ratios.values()) >= 0.9
    assert quantized_operations(model) > 0
    # By their modules, the same in every process.
    assert "backbone.layer2.0.bn1/Convolution" in record.in_float
    assert all(name.startswith("backbone.") for name in record.in_float), record.in_float
    for name in record.in_float:
        assert name in told.getvalue()
    # A bundle tells them; where there are none, it is what it was before there could be any.
    assert QuantizationRecord.model_validate(record.model_dump()).in_float == record.in_float
    assert "in_float" not in record.model_copy(update={"in_float": ()}).model_dump()


def test_networks_of_the_folds_keep_in_float_what_the_bundles_does(
    tiny: Path, tmp_path: Path
) -> None:
    prepared, images = prepared_for(tiny, f'name="stfpm",{BRIEF}', FEW)
    network = prepared.network
    assert isinstance(network, TrainedNetwork)
    network.learn(images, prepared.walk(None), Lamp(None), quiet(), tmp_path)
    every = operations_in_float(network.model(2))
    assert every == operations_in_float(network.apart(2))
    ofstudent = next(name for name in every if name.startswith("heads.student"))
    ofbackbone = next(name for name in every if name.startswith("backbone"))
    counts = []
    for in_float in ((), (ofstudent, ofbackbone)):
        model = in_int8(prepared, network.apart(2), images.files, Lamp(None), in_float)
        assert set(in_float) <= set(operations_in_float(model))
        counts.append(quantized_operations(model))
    # One of the backbone, which all share, and one of each fold's student.
    assert counts[0] - counts[1] == 3
