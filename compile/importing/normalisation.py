"""Whether a network takes a mean off its pixels itself, as far as its graph shows it."""

from __future__ import annotations

from math import prod
from typing import Any

__all__ = ["takes_a_mean_off"]

# What hands pixels on: in another order, type, size or scale.
_HANDS_ON = {
    "Concat",
    "Convert",
    "ConvertLike",
    "Divide",
    "Gather",
    "Interpolate",
    "Multiply",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "StridedSlice",
    "Transpose",
    "Unsqueeze",
    "VariadicSplit",
}
_TAKES_OFF = {"Add", "Subtract"}


def takes_a_mean_off(model: Any) -> bool:
    """Whether a constant for all colours, or one for each, goes off before all else that is done.

    Parameters
    ----------
    model
        An OpenVINO model with one input. Where an exporter has put the mean into the first
        convolution, nothing shows it.
    """
    ahead, seen = [model.inputs[0].get_node()], set()
    while ahead:
        for user in _users(ahead.pop()):
            kind = user.get_type_name()
            if kind in _TAKES_OFF and _has_a_mean(user):
                return True
            if kind in _HANDS_ON and user.get_friendly_name() not in seen:
                seen.add(user.get_friendly_name())
                ahead.append(user)
    return False


def _users(node: Any) -> list[Any]:
    return [port.get_node() for output in node.outputs() for port in output.get_target_inputs()]


def _has_a_mean(node: Any) -> bool:
    for value in node.input_values():
        while value.get_node().get_type_name() == "Convert":
            value = value.get_node().input_value(0)
        if value.get_node().get_type_name() == "Constant" and prod(value.get_shape()) in (1, 3):
            return True
    return False
