"""What is no number within somebody else's network, kept until it reaches the verdict.

OpenVINO's CPU plug-in makes 0 of NaN in a clamp or a ReLU, and takes the other number in a
maximum: see `kenpin.compile.training.no_number`. What others made cannot be made again of sums
and products, so it is asked what goes into such operations, wherever NaN may have come about.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from kenpin.runtime.judging.telemetry import silence

silence()
import openvino as ov  # noqa: E402
from openvino import opset13 as opset  # noqa: E402

__all__ = ["with_lost_numbers"]

# Bring NaN on under each instruction set: data that moves, and, where nothing is quantised, sums,
# products, and what makes NaN itself.
MOVES: Final = frozenset(
    {
        "BatchToSpace", "Broadcast", "Concat", "DepthToSpace", "Gather", "Pad", "Reshape",
        "Result", "Slice", "SpaceToBatch", "SpaceToDepth", "Split", "Squeeze", "StridedSlice",
        "Tile", "Transpose", "Unsqueeze", "VariadicSplit",
    }
)  # fmt: skip
SUMS: Final = frozenset(
    {
        "Abs", "Add", "AvgPool", "BatchNormInference", "Convolution", "ConvolutionBackpropData",
        "CumSum", "Divide", "GroupConvolution", "GroupConvolutionBackpropData", "Interpolate",
        "MatMul", "Multiply", "Negative", "ReduceMean", "ReduceSum", "SquaredDifference",
        "Subtract",
    }
)  # fmt: skip
MAKERS: Final = frozenset({"Exp", "Log", "Power", "Sqrt"})
# Make no NaN of numbers; whether the others bring it on is not relied upon.
SOUND: Final = (
    MOVES
    | SUMS
    | frozenset(
        {
            "Ceiling", "Clamp", "Convert", "Elu", "Equal", "Erf", "FakeQuantize", "Floor", "Gelu",
            "Greater", "GreaterEqual", "GroupNormalization", "HSigmoid", "HSwish", "HardSigmoid",
            "Less", "LessEqual", "LogSoftmax", "MaxPool", "Maximum", "Minimum", "Mish", "NotEqual",
            "PRelu", "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMin", "Relu", "Round", "Select",
            "Selu", "Sigmoid", "Sign", "SoftPlus", "SoftSign", "Softmax", "Swish", "Tanh", "TopK",
        }
    )
)  # fmt: skip


def with_lost_numbers(found: Any, tiles: Any, *, quantised: bool) -> Any:
    """What a network gives, and NaN for each image on whose way a number was none, and was lost.

    Nothing is added where that cannot be.

    Parameters
    ----------
    found : (N, cells, cells, D) float32
    tiles
        The network's input, of N images.
    quantised
        Whether it will be: rounding to eight bits makes numbers of NaN, too.
    """
    doubts = _losses(found, tiles, MOVES if quantised else MOVES | SUMS | MAKERS)
    if not doubts:
        return found
    batch = int(tiles.output(0).shape[0])
    lost = _any_nan(doubts[0], batch)
    for value in doubts[1:]:
        lost = opset.logical_or(lost, _any_nan(value, batch))
    none = opset.select(lost, np.float32(np.nan), np.float32(0))
    return opset.add(found, opset.reshape(none, np.array([-1, 1, 1, 1]), False))


def _losses(found: Any, tiles: Any, keeps: frozenset[str]) -> list[Any]:
    """Values that may be NaN and go into what may lose it, each once."""
    ordered = ov.Model([opset.result(found)], [tiles], "looked through").get_ordered_ops()
    doubtful: dict[str, bool] = {}
    fixed: set[str] = set()
    losses: dict[tuple[str, int], Any] = {}
    for op in ordered:
        name, kind, inputs = op.get_name(), op.get_type_name(), op.input_values()
        if kind == "Constant" or (inputs and all(v.get_node().get_name() in fixed for v in inputs)):
            fixed.add(name)
        doubts = [value for value in inputs if doubtful[value.get_node().get_name()]]
        brought = kind in keeps
        if not brought:
            for value in doubts:
                losses[value.get_node().get_name(), value.get_index()] = value
        real = any(port.get_element_type().is_real() for port in op.outputs())
        made = kind != "Parameter" and name not in fixed and not _sound(op)
        doubtful[name] = real and (made or (brought and bool(doubts)))
    return list(losses.values())


def _sound(op: Any) -> bool:
    """Whether an operation makes numbers of numbers, but for those that are too large."""
    kind = op.get_type_name()
    if kind in ("MVN", "NormalizeL2"):
        return float(op.get_attributes()["eps"]) > 0
    if kind == "Divide":
        below = op.input_value(1).get_node()
        if below.get_type_name() == "Convert":
            below = below.input_value(0).get_node()
        return below.get_type_name() == "Constant" and bool(below.get_data().all())
    if kind == "Power":
        exponent = op.input_value(1).get_node()
        return exponent.get_type_name() == "Constant" and bool(
            np.isin(exponent.get_data(), (1, 2, 3, 4)).all()
        )
    return kind in SOUND


def _any_nan(value: Any, batch: int) -> Any:
    """(N,) or (1,) bool: of each image, or of all where its first axis is not theirs."""
    shape = value.get_partial_shape()
    own = shape.rank.is_static and len(shape) > 0 and shape[0] == batch
    flat = opset.reshape(value, np.array([batch if own else 1, -1]), False)
    name = f"in_float_{value.get_node().get_name()}_{value.get_index()}"
    return opset.reduce_logical_or(opset.is_nan(flat, name=name), np.array(1), False)
