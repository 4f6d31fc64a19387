"""Passes from graph to graph after conversion; none changes what is computed."""

import numpy as np
import onnx
import onnxsim
from onnx import NodeProto, helper, numpy_helper

# How torch writes a truncating division of integers, which ONNX can do in one node.
_TORCH_DIVISION = ("Cast", "Div", "Abs", "Floor", "Sign", "Mul", "Cast")


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold constants and drop what is redundant, with onnxsim; verify.py compares the results."""
    simplified, _ = onnxsim.simplify(model)
    return simplified  # type: ignore[no-any-return]


def name_dimensions(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy where E + K is called that, which torch writes K + E or by a name of its own."""
    named = onnx.ModelProto()
    named.CopyFrom(model)
    for value in (*named.graph.input, *named.graph.output):
        shape = value.type.tensor_type.shape
        if value.name == "history" or value.name.startswith("present_"):
            shape.dim[2].dim_param = "E + K"
    return named


def divide_integers(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with Div on integers where torch went through float32, which has 24 bits only."""
    divided = onnx.ModelProto()
    divided.CopyFrom(model)
    graph = divided.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes = list(graph.node)
    kept: list[NodeProto] = []
    at = 0
    while at < len(nodes):
        group = nodes[at : at + len(_TORCH_DIVISION)]
        if tuple(node.op_type for node in group) == _TORCH_DIVISION:
            first, divide, last = group[0], group[1], group[-1]
            divisor = numpy_helper.to_array(constants[divide.input[1]]).astype(np.int64)
            name = f"{last.output[0]}.divisor"
            graph.initializer.append(numpy_helper.from_array(divisor, name))
            kept.append(
                helper.make_node("Div", [first.input[0], name], list(last.output), name=last.name)
            )
            at += len(group)
        else:
            kept.append(nodes[at])
            at += 1
    used = {name for node in kept for name in node.input}
    constants_kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(constants_kept)
    return divided


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
