"""Passes from graph to graph after conversion; none changes what is computed."""

import numpy as np
import onnx
import onnxsim
from onnx import NodeProto, numpy_helper


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold constants and drop what is redundant, with onnxsim; verify.py compares the results."""
    simplified, _ = onnxsim.simplify(model)
    return simplified  # type: ignore[no-any-return]


def name_dimensions(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy where E + K and N are called that, which torch writes otherwise."""
    named = onnx.ModelProto()
    named.CopyFrom(model)
    for value in (*named.graph.input, *named.graph.output):
        shape = value.type.tensor_type.shape
        if value.name == "history":
            shape.dim[3].dim_param = "E + K"
        elif value.name.startswith("present_"):
            shape.dim[2].dim_param = "E + K"
        elif value.name == "logits":
            shape.dim[0].dim_param = "N"
    return named


def drop_clipped_relu(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without the ReLUs whose output is only ever quantized to unsigned bytes with zero
    point 0, for then the quantization clips at zero itself."""
    dropped = onnx.ModelProto()
    dropped.CopyFrom(model)
    graph = dropped.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    readers: dict[str, list[NodeProto]] = {value.name: [] for value in graph.output}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def clips(node: NodeProto) -> bool:
        if node.op_type != "QuantizeLinear":
            return False
        zero_point = numpy_helper.to_array(constants[node.input[2]])
        return zero_point.dtype == np.uint8 and not zero_point.any()

    given_out = {value.name for value in graph.output}
    for node in list(graph.node):
        output = node.output[0]
        if node.op_type == "Relu" and output not in given_out and all(map(clips, readers[output])):
            for reader in readers[output]:
                reader.input[0] = node.input[0]
            graph.node.remove(node)
    return dropped
