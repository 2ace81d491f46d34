"""Makes the files beside it, with the package onnx, which kenpin does not need.

    python tests/vectors/onnx/make_onnx.py

`deviation.onnx`: any number of images (N, 3, 64, 64) to how far each pixel's grey is from 0.46.
`own_operation.onnx`: the same with an operation of somebody's own.
`weights_apart.onnx`: as the first, its weights in `weights_apart.bin`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

HERE = Path(__file__).parent
IMAGE = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 64, 64])
HEAT = helper.make_tensor_value_info("heat", TensorProto.FLOAT, ["n", 1, 64, 64])
MIDDLE = numpy_helper.from_array(np.array([0.46], np.float32), "middle")
AXES = numpy_helper.from_array(np.array([1]), "axes")

for name, last, domain in (
    ("deviation", "Abs", ""),
    ("own_operation", "Mine", "somebody"),
    ("weights_apart", "Abs", ""),
):
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["grey"], keepdims=1),
        helper.make_node("Sub", ["grey", "middle"], ["off"]),
        helper.make_node(last, ["off"], ["heat"], domain=domain),
    ]
    graph = helper.make_graph(nodes, name, [IMAGE], [HEAT], [MIDDLE, AXES])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("somebody", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    apart = name == "weights_apart"
    save(
        model,
        HERE / f"{name}.onnx",
        save_as_external_data=apart,
        location=f"{name}.bin" if apart else None,
        size_threshold=0,
    )
