"""Networks that are in INT8 when they are imported: which processors they are for."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as opset
from rich.console import Console

from kenpin.camera.files.listing import list_images
from kenpin.compile.networks.quantize import largest_weight
from kenpin.compile.precision import choose_precision
from kenpin.compile.prepare import prepare
from kenpin.compile.progress import Steps
from kenpin.runtime.bundles.manifest import BundleError
from kenpin.runtime.judging.lamp import Lamp
from kenpin.runtime.judging.processor import check_processor
from test_imported import SIZE, compiled, recipe_of, saved

SCALE = np.float32(0.01)


def weights(kept: str, largest: int) -> Any:
    """A kernel (1, 3, 1, 1) of whole numbers up to `largest`, as tools keep them."""
    whole = np.array([largest, -largest, 1]).reshape(1, 3, 1, 1)
    if kept == "i8":
        return opset.multiply(opset.convert(opset.constant(whole.astype(np.int8)), "f32"), SCALE)
    if kept == "u8 about a zero":
        numbers = opset.convert(opset.constant((whole + 128).astype(np.uint8)), "f32")
        zero = opset.convert(opset.constant(np.array(128, np.uint8)), "f32")
        return opset.multiply(opset.subtract(numbers, zero), SCALE)
    plain = opset.constant((whole * SCALE).astype(np.float32))
    if kept == "to be rounded":
        end = np.float32(largest * SCALE)
        return opset.fake_quantize(plain, -end, end, -end, end, 2 * largest + 1)
    return plain


def convolved(folder: Path, kept: str, largest: int, *, rounded: bool = True) -> Path:
    image = opset.parameter([-1, 3, SIZE, SIZE], ov.Type.f32, name="image")
    zero, one = np.float32(0), np.float32(1)
    shown = opset.fake_quantize(image, zero, one, zero, one, 256) if rounded else image
    found = opset.convolution(shown, weights(kept, largest), [1, 1], [0, 0], [0, 0], [1, 1])
    return saved(folder, image, map=opset.abs(found))


@pytest.mark.parametrize("largest", [63, 127])
@pytest.mark.parametrize("kept", ["i8", "u8 about a zero", "to be rounded"])
def test_the_largest_weight_is_found_however_it_is_kept(
    tmp_path: Path, kept: str, largest: int
) -> None:
    assert largest_weight(ov.Core().read_model(convolved(tmp_path, kept, largest))) == largest


def test_weights_that_are_made_float_before_they_weigh_are_for_all(tmp_path: Path) -> None:
    file = convolved(tmp_path, "i8", 127, rounded=False)
    assert largest_weight(ov.Core().read_model(file)) == 0
    file = convolved(tmp_path, "float", 127)
    assert largest_weight(ov.Core().read_model(file)) == 0


@pytest.mark.parametrize(("largest", "processors"), [(63, "any"), (127, "vnni")])
def test_a_network_that_is_int8_already_says_which_processors_it_is_for(
    tmp_path: Path, largest: int, processors: str
) -> None:
    prepared = prepare(recipe := recipe_of(tmp_path, convolved(tmp_path, "i8", largest)))
    told, files = io.StringIO(), list_images(recipe.images.good)
    with Steps(Console(file=told, width=400)) as steps:
        model = prepared.network.model(prepared.batch)
        _, record = choose_precision(prepared, model, files, Lamp(None), steps)
    assert record.processors == processors
    warned = "the network is INT8 already, its weights go to 127" in told.getvalue()
    assert warned == (processors == "vnni")
    # In one precision nothing is compared.
    assert "score loud pasted defects: " in told.getvalue()
    assert "FP32 and INT8" not in told.getvalue()


def test_a_processor_without_vnni_refuses_it_and_says_what_to_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = compiled(tmp_path, recipe_of(tmp_path, convolved(tmp_path, "i8", 127)))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    with pytest.raises(BundleError, match=r"VNNI.*AVX2.*import the network in float"):
        check_processor(bundle)
