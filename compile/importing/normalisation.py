"""Whether a network takes a mean off its pixels itself, as far as its graph shows it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.runtime.judging.telemetry import silence

silence()
from openvino.passes import ConstantFolding, Manager  # noqa: E402

__all__ = ["takes_a_mean_off"]

# What hands the pixels of its first input on, in another order, type or size.
_HANDS_ON = {
    "Convert",
    "ConvertLike",
    "Gather",
    "Interpolate",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "StridedSlice",
    "Transpose",
    "Unsqueeze",
    "VariadicSplit",
}
# What is less is there against a division by 0, or a logarithm of it.
_LEAST = 0.01


def takes_a_mean_off(model: Any) -> bool:
    """Whether a constant for all colours, or one for each, goes off before all else that is done.

    Parameters
    ----------
    model
        An OpenVINO model with one input. Where an exporter has put the mean into the first
        convolution, nothing shows it.
    """
    folded = model.clone()
    manager = Manager()
    manager.register_pass(ConstantFolding())
    manager.run_passes(folded)
    pixels = {folded.inputs[0].get_node().get_friendly_name()}
    for op in folded.get_ordered_ops():
        given = [value.get_node() for value in op.input_values()]
        seen = [node.get_friendly_name() in pixels for node in given]
        if not any(seen):
            continue
        kind = op.get_type_name()
        # What pixels are added to, or taken off, or scaled by, where there is such a thing.
        other = _constant(given[1 if seen[0] else 0]) if len(given) == 2 else None
        if other is not None and (
            (kind == "Subtract" and seen[0] and _is_a_mean(other))
            or (kind == "Add" and _is_a_mean(-other))
        ):
            return True
        scaled = other is not None and (kind == "Multiply" or (kind == "Divide" and seen[0]))
        if scaled or (kind in _HANDS_ON and seen[0]) or (kind == "Concat" and all(seen)):
            pixels.add(op.get_friendly_name())
    return False


def _is_a_mean(values: NDArray[Any]) -> bool:
    return values.size in (1, 3) and bool((values >= _LEAST).all())


def _constant(node: Any) -> NDArray[Any] | None:
    """What a node gives whatever the image is; None where that depends on it."""
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return np.asarray(node.get_data()) if node.get_type_name() == "Constant" else None
