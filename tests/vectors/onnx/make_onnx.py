"""Makes the files beside it, with the package onnx, which kenpin does not need.

    python tests/vectors/onnx/make_onnx.py

`deviation.onnx`: any number of images (N, 3, 64, 64) to how far each pixel's grey is from 0.46.
`own_operation.onnx`: the same with an operation of somebody's own.
"""

from __future__ import annotations

from pathlib import Path

from onnx import TensorProto, helper, save

HERE = Path(__file__).parent
IMAGE = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 64, 64])
HEAT = helper.make_tensor_value_info("heat", TensorProto.FLOAT, ["n", 1, 64, 64])
MIDDLE = helper.make_tensor("middle", TensorProto.FLOAT, [1], [0.46])
AXES = helper.make_tensor("axes", TensorProto.INT64, [1], [1])

for name, last, domain in (("deviation", "Abs", ""), ("own_operation", "Mine", "somebody")):
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["grey"], keepdims=1),
        helper.make_node("Sub", ["grey", "middle"], ["off"]),
        helper.make_node(last, ["off"], ["heat"], domain=domain),
    ]
    graph = helper.make_graph(nodes, name, [IMAGE], [HEAT], [MIDDLE, AXES])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("somebody", 1)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=9), HERE / f"{name}.onnx")
