"""A device is let in only if golden frames score there what they scored when compiled.

This machine has no GPU and no NPU, so a stand-in does what a plug-in may do: it runs networks on
the CPU, otherwise or not at all.
"""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as op

from kenpin.config.exits import Exit
from kenpin.config.tuning import Tuning, load_tuning, tuning_file
from kenpin.runtime.bundles.bundle import read_bundle
from kenpin.runtime.bundles.manifest import BundleError
from kenpin.runtime.device_trial import let_in, try_device
from kenpin.runtime.doctor import main as edge_doctor
from kenpin.runtime.judging.engine import Engine, EngineError
from kenpin.runtime.selftest import open_tested

TUNE = ["--batches", "1", "--rounds", "1"]


class Device:
    """A core whose GPU is the CPU with habits.

    gain      features come out so many times as large
    refuses   operations that the plug-in does not know
    in_float  whether it knows float32, or only its own precision
    """

    def __init__(self, gain: float = 1.0, refuses: tuple[str, ...] = (), in_float: bool = True):
        self.core = ov.Core()
        self.gain, self.refuses, self.in_float = gain, refuses, in_float
        self.compiled: list[set[str]] = []

    def read_model(self, *arguments: Any) -> Any:
        return self.core.read_model(*arguments)

    def compile_model(self, model: Any, device: str, config: dict[str, Any]) -> Any:
        if device != "GPU":
            return self.core.compile_model(model, device, config)
        kinds = {node.get_type_name() for node in model.get_ordered_ops()}
        for kind in kinds & set(self.refuses):
            raise RuntimeError(f"Exception from plugin\n[GPU] {kind} is not supported")
        if not self.in_float and config.get("INFERENCE_PRECISION_HINT") == "f32":
            raise RuntimeError("[GPU] unsupported precision f32")
        self.compiled.append(kinds)
        model = model.clone()
        result = model.get_results()[0]
        louder = op.multiply(result.input_value(0), op.constant(np.float32(self.gain)))
        result.input(0).replace_source_output(louder.output(0))
        return self.core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


@pytest.fixture
def gpu(monkeypatch):
    def put_in(**habits: Any) -> Device:
        device = Device(**habits)
        monkeypatch.setattr("kenpin.runtime.judging.engine.new_core", lambda: device)
        return device

    return put_in


@pytest.fixture
def bundle(patchcore, tmp_path):
    """One of its own, so that a tuning beside it is nobody else's."""
    return read_bundle(shutil.copytree(patchcore.folder, tmp_path / patchcore.folder.name))


def tune(bundle, device="GPU"):
    return edge_doctor(["tune", str(bundle.folder), "--device", device, *TUNE])


def test_a_device_that_computes_the_same_is_let_in_and_kept(bundle, gpu, capsys):
    device = gpu()
    assert tune(bundle) == Exit.DONE
    assert load_tuning(bundle.folder).device == "GPU"
    assert device.compiled
    told = capsys.readouterr().out
    for golden in bundle.manifest.golden:
        assert f"{golden.file} scores {golden.score:.6g}" in told
    assert "allowed 0.5%" in told
    assert open_tested(bundle).engine.device == "GPU"


def test_a_device_that_computes_otherwise_is_refused_with_every_figure(bundle, gpu, capsys):
    gpu(gain=1.02)
    assert tune(bundle) == Exit.BUNDLE
    said = capsys.readouterr().err
    assert "GPU computes differently and is refused" in said
    for golden in bundle.manifest.golden:
        assert golden.file in said
        assert f"compiled {golden.score:.6g}" in said
    assert not tuning_file(bundle.folder).exists()


@pytest.mark.parametrize("gain", [np.nan, np.inf])
def test_a_device_whose_numbers_are_none_is_refused(bundle, gpu, gain):
    gpu(gain=gain)
    with pytest.raises(BundleError):
        let_in(bundle, Tuning(device="GPU"))


@pytest.mark.thorough
def test_a_line_refuses_a_device_that_has_changed_since_it_was_let_in(bundle, gpu):
    gpu()
    assert tune(bundle) == Exit.DONE
    gpu(gain=0.9)
    with pytest.raises(BundleError, match=r"GPU, which the tuning.*edge-doctor tune.*CPU"):
        open_tested(bundle)
    assert tune(bundle, "CPU") == Exit.DONE
    assert open_tested(bundle).engine.device == "CPU"


@pytest.mark.thorough
def test_a_plug_in_that_cannot_search_gets_the_network_and_the_cpu_searches(bundle, gpu, capsys):
    device = gpu(refuses=("TopK",))
    trial = try_device(bundle, Tuning(device="GPU"))
    assert all(answer.agrees for answer in trial.answers)
    (refused,) = trial.refused
    assert refused == "GPU refuses the search, which the CPU makes: [GPU] TopK is not supported"
    assert all("TopK" not in kinds for kinds in device.compiled)
    assert tune(bundle) == Exit.DONE
    assert "GPU refuses the search" in capsys.readouterr().out


def test_a_plug_in_without_float32_runs_in_its_own_precision_and_the_frames_decide(bundle, gpu):
    gpu(in_float=False)
    trial = let_in(bundle, Tuning(device="GPU"))
    assert any("refuses f32" in refused for refused in trial.refused)
    gpu(in_float=False, gain=0.99)
    with pytest.raises(BundleError, match="GPU computes differently"):
        let_in(bundle, Tuning(device="GPU"))


def test_a_plug_in_that_refuses_the_network_itself_is_told_with_its_reason(bundle, gpu):
    gpu(refuses=("TopK", "Convolution"))
    with pytest.raises(EngineError, match=r"cannot compile it for GPU.*Convolution is not"):
        Engine(bundle.network, tuning=Tuning(device="GPU"))
    with pytest.raises(BundleError, match="Convolution is not supported"):
        let_in(bundle, Tuning(device="GPU"))


@pytest.mark.parametrize("device", ["AUTO", "AUTO:GPU,CPU", "MULTI:GPU,CPU"])
def test_devices_that_change_while_they_run_are_refused(bundle, device, capsys):
    assert tune(bundle, device) == Exit.CONFIG
    assert "name one, such as" in capsys.readouterr().err
    with pytest.raises(ValueError, match="golden frames"):
        Tuning(device=device)
