"""The decoder's output layer, to be replaced by one that computes fewer logits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, TensorProto, helper, numpy_helper

from tfm.export.errors import ExportError
from tfm.export.graphs.builder import GraphBuilder

LOGITS = "logits"
OUTPUT_LAYER = "decoder/model.projection"  # its name in quantization/linears.py
DOMAIN = "com.microsoft"
PREFIX = "shortlist."  # of the names of what is added
EXACT_BIAS = f"{PREFIX}exact_bias"  # [V], where there is one


@dataclass(frozen=True, slots=True)
class OutputLayer:
    """The output layer of a decoder in float32.

    Attributes:
        hidden: the tensor that it reads, [N, D]; a variant in fewer bits has it under this name too
        name: of the weight
        weight: [V, D]
        bias: [V], zeros where there is none
    """

    hidden: str
    name: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


def output_layer(decoder: onnx.ModelProto) -> OutputLayer:
    """Find the output layer of a decoder in float32 (graphs/trace.py).

    Raises:
        ExportError: the logits are no product with a weight
    """
    constants = {tensor.name: tensor for tensor in decoder.graph.initializer}
    (node,) = (node for node in decoder.graph.node if LOGITS in node.output)
    if node.op_type not in ("Gemm", "MatMul") or node.input[1] not in constants:
        raise ExportError(
            f"the decoder's logits come from {node.op_type}: no shortlist is possible"
        )
    weight = numpy_helper.to_array(constants[node.input[1]])
    if not any(a.name == "transB" and a.i for a in node.attribute):
        weight = np.ascontiguousarray(weight.T)
    bias = np.zeros(len(weight), np.float32)
    if len(node.input) > 2:
        bias = numpy_helper.to_array(constants[node.input[2]])
    return OutputLayer(node.input[0], node.input[1], weight, bias)


def logits_in_float(decoder: onnx.ModelProto) -> bool:
    """Whether a decoder, of any precision, has its output layer in float."""
    (node,) = (node for node in decoder.graph.node if LOGITS in node.output)
    return node.op_type in ("Gemm", "MatMul")


def input_rounding(decoder: onnx.ModelProto, name: str) -> list[TensorProto]:
    """Scale and zero point of the output layer's input, in an int8 decoder.

    Args:
        name: of the layer's weight
    """
    constants = {tensor.name: tensor for tensor in decoder.graph.initializer}
    return [constants[f"{name}.{what}"] for what in ("input_scale", "input_zero_point")]


def replace_output_layer(
    decoder: onnx.ModelProto,
    build: Callable[[GraphBuilder], str],
    outputs: Sequence[onnx.ValueInfoProto] = (),
) -> onnx.ModelProto:
    """A copy whose logits are those that `build` appends; what nothing reads any more is dropped.

    Args:
        build: gets a builder and returns the name of the logits; an initializer that it adds
            under the name of one of the decoder's takes its place
        outputs: more that `build` computes
    """
    replaced = onnx.ModelProto()
    replaced.CopyFrom(decoder)
    graph = replaced.graph
    b = GraphBuilder()
    logits = build(b)
    nodes = [node for node in graph.node if LOGITS not in node.output]
    nodes += [*b.nodes, helper.make_node("Identity", [logits], [LOGITS], name=LOGITS)]
    del graph.node[:]
    graph.node.extend(nodes)
    others = [tensor for tensor in graph.initializer if tensor.name not in b.initializers]
    del graph.initializer[:]
    graph.initializer.extend([*others, *b.initializers.values()])
    graph.output.extend(outputs)
    _drop_unused(graph)
    if not any(opset.domain == DOMAIN for opset in replaced.opset_import):
        replaced.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return replaced


def _drop_unused(graph: GraphProto) -> None:
    """Remove nodes and initializers that no output depends on."""
    used = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):  # in the order of computation: users come after what they use
        if used.intersection(node.output):
            kept.append(node)
            used.update(node.input)
    constants = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(constants)
