"""Passes: functions that take a graph and return a changed copy with the same results."""

import numpy as np
import onnx
import onnxsim
from onnx import NodeProto, numpy_helper


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with constants folded and redundant nodes removed, by onnxsim.

    onnxsim's own comparison is not used: verify.py compares whole translations with PyTorch.
    """
    simplified, _ = onnxsim.simplify(model)
    return simplified  # type: ignore[no-any-return]


def name_dimensions(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose dimensions E + K and N have these names instead of torch's expressions."""
    named = onnx.ModelProto()
    named.CopyFrom(model)
    for value in (*named.graph.input, *named.graph.output):
        shape = value.type.tensor_type.shape
        if value.name == "ancestry":
            shape.dim[3].dim_param = "E + K"
        elif value.name.startswith("present_"):
            shape.dim[2].dim_param = "E + K"
        elif value.name == "logits":
            shape.dim[0].dim_param = "N"
    return named


def drop_clipped_relu(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without the ReLUs that quantization makes superfluous.

    Quantizing to unsigned bytes with zero point 0 turns negative values into 0, as ReLU does. So a
    ReLU can go if nothing else reads its output.
    """
    dropped = onnx.ModelProto()
    dropped.CopyFrom(model)
    graph = dropped.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    readers: dict[str, list[NodeProto]] = {value.name: [] for value in graph.output}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def clips_at_zero(node: NodeProto) -> bool:
        if node.op_type != "QuantizeLinear":
            return False
        zero_point = numpy_helper.to_array(constants[node.input[2]])
        return zero_point.dtype == np.uint8 and not zero_point.any()

    graph_outputs = {value.name for value in graph.output}
    for node in list(graph.node):
        output = node.output[0]
        if (
            node.op_type == "Relu"
            and output not in graph_outputs
            and all(map(clips_at_zero, readers[output]))
        ):
            for reader in readers[output]:
                reader.input[0] = node.input[0]
            graph.node.remove(node)
    return dropped
