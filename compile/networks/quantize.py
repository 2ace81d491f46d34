"""Torch to OpenVINO, and INT8 through NNCF. The only module that knows NNCF."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from kenpin.config.recipe import SAFE_WEIGHT_BITS
from kenpin.runtime.judging.openvino_core import kept_signal_stack
from kenpin.runtime.judging.telemetry import silence

silence()
import nncf  # noqa: E402
import openvino as ov  # noqa: E402
from openvino import opset13 as opset  # noqa: E402

__all__ = [
    "LARGEST",
    "convert",
    "largest_weight",
    "operations_in_float",
    "quantize",
    "quantize_within",
    "quantized_operations",
    "save",
]

U8 = NDArray[np.uint8]
I8 = NDArray[np.int8]
F32 = NDArray[np.float32]

# Submodules of these names keep their precision; conversion keeps the names.
FLOAT_PARTS = ("embedding", "in_float")
# The largest INT8 weight. Without VNNI, processors add two products of an unsigned and a
# signed byte in 16 bits: 2 x 255 x 63 fits into them, 2 x 255 x 127 saturates.
LARGEST = {7: 63, 8: 127}
# What the names of operations begin with that were modules of torch.
MODULE = "__module."
WEIGHING = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul")


def convert(network: nn.Module, batch: int, channels: int, size_px: int) -> Any:
    """The FP32 `openvino.Model` of a network that takes tiles, its shape static."""
    example = torch.zeros(batch, channels, size_px, size_px, dtype=torch.uint8)
    with torch.no_grad(), warnings.catch_warnings():
        # Tracing warns that shapes become constants; static shapes are the aim.
        warnings.simplefilter("ignore")
        # Checking a trace runs the network twice more.
        traced = torch.jit.trace(network, example, strict=False, check_trace=False)  # type: ignore[no-untyped-call]
        model = ov.convert_model(traced, example_input=example, input=[example.shape])
    _name_fused(model, traced)
    model.inputs[0].get_node().set_friendly_name("tiles")
    return model


def _name_fused(model: Any, traced: Any) -> None:
    """Name convolutions that swallowed their normalisation by its module.

    Else each is called by a count of everything that was ever converted in the process.
    """
    modules = {
        str(output.unique()): node.scopeName().rpartition("/")[2]
        for node in traced.inlined_graph.nodes()
        for output in node.outputs()
    }
    calls: Counter[str] = Counter()
    for op in _weighs(model):
        # A shift that is not nothing stands behind the convolution, and has the number.
        shifts = [use.get_node() for use in op.output(0).get_target_inputs()]
        ends = [op, *(shift for shift in shifts if shift.get_type_name() == "Add")]
        numbers = (n for end in ends for n in sorted(end.output(0).get_names()) if n in modules)
        number = next(numbers, None)
        if number is None or op.get_friendly_name().startswith(MODULE):
            continue
        name = f"{modules[number]}/{op.get_type_name()}"
        op.set_friendly_name(f"{name}_{calls[name]}" if calls[name] else name)
        calls[name] += 1


def quantize(
    model: Any,
    tiles: U8,
    bits: Literal[7, 8] = SAFE_WEIGHT_BITS,
    in_float: Sequence[str] = (),
) -> Any:
    """An INT8 copy of a model: the backbone's convolutions; `FLOAT_PARTS` stay float.

    Activation ranges are plain minima and maxima over the tiles. NNCF's
    default drops outliers, and outliers are what must be found.

    Parameters
    ----------
    tiles : (N, C, S, S) uint8
        What the ranges must cover: normals and anomaly twins.
    bits
        Of the weights. With 7 no sum of products saturates on any x86-64; 8 need VNNI.
    in_float
        Operations that stay float, as `operations_in_float` names them.
    """
    # NNCF draws progress bars of its own on stdout, where ours or nothing belongs.
    with contextlib.redirect_stdout(io.StringIO()), kept_signal_stack():
        quantized = nncf.quantize(model, **_settings(model, tiles, bits, in_float))
    _narrow(quantized, model, LARGEST[bits])
    return quantized


def quantize_within(
    model: Any,
    tiles: U8,
    worth: Callable[[Callable[[U8], F32]], float],
    allowed: float,
    bits: Literal[7, 8] = SAFE_WEIGHT_BITS,
) -> Any:
    """An INT8 copy of which no more is lost than is allowed: the rest stays float.

    Layers go back to float one by one, those first that cost most.

    Parameters
    ----------
    tiles
        As for `quantize`.
    worth
        Of a network, which turns (N, C, S, S) tiles into features: 1 is FP32's.
    allowed
        Less than 1 by so much at most.
    """
    settings = _settings(model, tiles, bits)
    advanced = settings.pop("advanced_parameters")

    def validated(compiled: Any, _: Any) -> float:
        return worth(lambda shown: _run(compiled, shown))

    with contextlib.redirect_stdout(io.StringIO()), kept_signal_stack():
        quantized = nncf.quantize_with_accuracy_control(
            model,
            validation_dataset=nncf.Dataset([tiles[:1]]),
            validation_fn=validated,
            max_drop=allowed,
            drop_type=nncf.DropType.ABSOLUTE,
            advanced_quantization_parameters=advanced,
            **settings,
        )
    _narrow(quantized, model, LARGEST[bits])
    return quantized


def _settings(
    model: Any, tiles: U8, bits: Literal[7, 8], named: Sequence[str] = ()
) -> dict[str, Any]:
    """What NNCF is told in any case."""
    batch = model.inputs[0].shape[0]
    usable = len(tiles) // batch * batch
    if not usable:
        raise ValueError(f"{len(tiles)} calibration tiles do not fill one batch of {batch}")
    batches = [tiles[start : start + batch] for start in range(0, usable, batch)]
    in_float = [
        op.get_friendly_name()
        for op in model.get_ordered_ops()
        if any(part in op.get_friendly_name() for part in FLOAT_PARTS)
        and op.get_type_name() != "Constant"
    ]
    in_float += [op.get_friendly_name() for op in _weighs(model) if _name(op) in named]
    nncf.set_log_level(logging.ERROR)
    minmax = nncf.quantization.range_estimator.RangeEstimatorParametersSet.MINMAX
    fix = nncf.OverflowFix.ENABLE if bits == SAFE_WEIGHT_BITS else nncf.OverflowFix.DISABLE
    return {
        "calibration_dataset": nncf.Dataset(batches),
        "subset_size": len(batches),
        "preset": nncf.QuantizationPreset.MIXED,
        "ignored_scope": nncf.IgnoredScope(names=in_float, validate=False),
        "advanced_parameters": nncf.AdvancedQuantizationParameters(
            overflow_fix=fix, activations_range_estimator_params=minmax
        ),
    }


def _run(compiled: Any, tiles: U8) -> F32:
    """Features of tiles by a compiled network, batch by batch."""
    batch = compiled.inputs[0].shape[0]
    padded = np.concatenate([tiles, np.repeat(tiles[-1:], -len(tiles) % batch, axis=0)])
    parts = [np.array(compiled(padded[at : at + batch])[0]) for at in range(0, len(padded), batch)]
    return np.concatenate(parts)[: len(tiles)]


def operations_in_float(model: Any) -> tuple[str, ...]:
    """Those that weigh and have no INT8 weights, but for `FLOAT_PARTS`.

    Networks of one kind name them alike, and heads that stand side by side share one name.
    """
    narrow = {op.get_friendly_name() for op, _, _ in _weighing(model)}
    wide = (op for op in _weighs(model) if op.get_friendly_name() not in narrow)
    names = (_name(op) for op in wide if not any(p in op.get_friendly_name() for p in FLOAT_PARTS))
    return tuple(dict.fromkeys(names))


def _weighs(model: Any) -> list[Any]:
    return [op for op in model.get_ordered_ops() if op.get_type_name() in WEIGHING]


def _name(op: Any) -> str:
    """Without what tells one head of a `Joint` from the next, and torch's own words."""
    path: str = op.get_friendly_name()
    if path.startswith(MODULE):
        path = re.sub(r"^heads\.\d+\.", "heads.", path.removeprefix(MODULE))
        path = re.sub(r"/aten::\w+/", "/", path)
    return path


def quantized_operations(model: Any) -> int:
    """How many of the operations that weigh have INT8 weights."""
    return len(_weighing(model))


def largest_weight(model: Any) -> int:
    """The largest weight, without its sign, of all operations of a model that weigh in INT8.

    0 if none does. Of networks that others quantised, too, however their weights are kept.
    """
    # Where only weights have eight bits, to be smaller, they are made float before they weigh.
    if not any(op.get_type_name() == "FakeQuantize" for op in model.get_ordered_ops()):
        return 0
    weights = (_whole(op.input_value(1).get_node()) for op in _weighs(model))
    return max(map(_largest, weights), default=0)


def _whole(node: Any) -> NDArray[np.int16]:
    """The whole numbers that weights are made of; none where they are float, or no constants."""
    kind = node.get_type_name()
    none = np.zeros(0, np.int16)
    if kind == "Constant":
        whole = node.get_element_type() in (ov.Type.i8, ov.Type.u8)
        return node.get_data().astype(np.int16) if whole else none
    inputs = [value.get_node() for value in node.input_values()]
    if kind == "FakeQuantize":
        levels = node.get_attributes()["levels"]
        return np.array([levels // 2], np.int16) if _constant(inputs[0]) else none
    if kind == "Subtract":
        found, zero = _whole(inputs[0]), _whole(inputs[1])
        return found - zero if found.size and zero.size else found
    if kind in ("Convert", "Multiply", "Reshape", "Transpose", "Unsqueeze"):
        return _whole(inputs[0])
    return none


def _constant(node: Any) -> bool:
    """Whether all that feeds a node is in the file."""
    if node.get_type_name() == "Constant":
        return True
    inputs = node.input_values()
    return bool(inputs) and all(_constant(value.get_node()) for value in inputs)


def _largest(whole: NDArray[np.int16]) -> int:
    return int(np.abs(whole).max(initial=0))


def _weighing(model: Any) -> list[tuple[Any, Any, Any]]:
    """Each operation with INT8 weights: itself, its weights and what a weight of 1 is worth."""
    found = []
    for op in _weighs(model):
        scaled = op.input_value(1).get_node()
        if scaled.get_type_name() != "Multiply":
            continue
        weights = scaled.input_value(0).get_node()
        if weights.get_type_name() == "Convert":
            weights = weights.input_value(0).get_node()
        if weights.get_element_type() == ov.Type.i8:
            found.append((op, weights, scaled.input_value(1).get_node()))
    return found


def _narrow(quantized: Any, model: Any, largest: int) -> None:
    """Round the weights that NNCF left wider than `largest` again, from the float model's.

    Its remedy against overflow passes by grouped convolutions.
    """
    exact = {op.get_friendly_name(): op for op in model.get_ordered_ops()}
    for op, weights, scale in _weighing(quantized):
        if np.abs(weights.get_data().astype(np.int16)).max() <= largest:
            continue
        source = exact[op.get_friendly_name()].input_value(1).get_node().get_data()
        steps = np.abs(source).max(axis=_inner(scale), keepdims=True) / np.float32(largest)
        steps = np.maximum(steps, np.float32(1e-30))
        rounded: I8 = np.round(source / steps).astype(np.int8)
        _replace(weights, rounded)
        _replace(scale, steps.astype(np.float32))


def _inner(scale: Any) -> tuple[int, ...]:
    """The axes of a kernel that share one scale."""
    return tuple(axis for axis, size in enumerate(scale.get_output_shape(0)) if size == 1)


def _replace(constant: Any, values: NDArray[Any]) -> None:
    instead = opset.constant(values)
    for user in list(constant.output(0).get_target_inputs()):
        user.replace_source_output(instead.output(0))


def save(model: Any, xml: Path) -> None:
    """Write the IR: `xml` and, beside it, the weights as .bin.

    The same network always gives the same bytes.
    """
    # OpenVINO numbers models and operations by a counter of the whole process.
    model.set_friendly_name(xml.stem)
    for number, op in enumerate(model.get_ordered_ops()):
        op.set_friendly_name(f"{number:04d}-{op.get_type_name()}")
    ov.save_model(model, str(xml), compress_to_fp16=False)
