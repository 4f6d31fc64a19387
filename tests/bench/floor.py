"""Graphs that hold nothing but a variant's matrix products.

How long they take is the least that decoding can take with the same kernels. Only products with
weights are left of the encoder and decoder graphs, and the nodes that quantize their activations.
Each product reads an input of its own, so that none waits for another.

Shapes: R rows (sentences x source length, or sentences x beams), K columns of the activations.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import NodeProto, TensorProto, helper

PRODUCTS = {
    *("MatMul", "Gemm", "FusedMatMul", "FusedGemm", "MatMulNBits", "MatMulBnb4"),
    *("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul", "QGemm"),
}
# Products of integers: the nodes that quantize their activations are timed with them.
INTEGER_PRODUCTS = {"MatMulInteger", "MatMulIntegerToFloat", "QLinearMatMul", "QGemm"}
QUANTIZERS = {
    *("DynamicQuantizeLinear", "QuantizeLinear", "Abs", "ReduceMax", "Max", "Div", "Mul"),
    *("Reciprocal", "Clip", "Round", "Cast"),
}

# Applied to a constant these give a constant: ONNX Runtime computes it when it loads the graph.
FOLDED = {"Transpose", "Cast", "Identity", "DequantizeLinear"}


@dataclass(frozen=True, slots=True)
class _Constant:
    """A weight, or the output of a node that is computed from weights alone.

    Attributes:
        data_type: of TensorProto.DataType
        node: the node that computes it; None for an initializer
    """

    dims: tuple[int, ...]
    data_type: int
    node: NodeProto | None = None


def write_floor(variant: Path, folder: Path) -> None:
    """Write an encoder.onnx and a decoder.onnx that hold only the variant's products.

    Args:
        variant: folder with the variant's encoder.onnx and decoder.onnx
        folder: a new folder
    """
    folder.mkdir()
    for part in ("encoder.onnx", "decoder.onnx"):
        onnx.save(floor_of(onnx.load(variant / part)), folder / part)


def floor_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph of the model's products, each with an input [R, K] and an output of its own."""
    graph = model.graph
    constants = _constants(graph)
    producers = {output: node for node in graph.node for output in node.output}
    nodes = [c.node for c in constants.values() if c.node is not None]
    inputs, outputs = [], []
    for number, product in enumerate(weight_products(model)):
        timed = [*_quantizers(product, producers, constants), product]
        intermediate = {output for node in timed for output in node.output}
        activations = f"activations.{number}"
        for index, node in enumerate(timed):
            copy = NodeProto()
            copy.CopyFrom(node)
            # A quantizer of several products is copied for each of them: names must differ.
            copy.name = f"{number}.{index}"
            copy.input[:] = [
                _renamed(name, number, activations, intermediate, constants) for name in node.input
            ]
            copy.output[:] = [name and f"{number}.{name}" for name in node.output]
            nodes.append(copy)
        data_type = _activation_type(product, constants)
        columns = _columns(product, constants)
        inputs.append(helper.make_tensor_value_info(activations, data_type, ["R", columns]))
        outputs.append(helper.make_empty_tensor_value_info(f"{number}.{product.output[0]}"))
    used = {name for node in nodes for name in node.input}
    weights = [tensor for tensor in graph.initializer if tensor.name in used]
    return helper.make_model(
        helper.make_graph(nodes, "floor", inputs, outputs, weights),
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
    )


def weight_products(model: onnx.ModelProto) -> list[NodeProto]:
    """The nodes that multiply activations with a weight matrix."""
    constants = _constants(model.graph)
    return [
        node
        for node in model.graph.node
        if node.op_type in PRODUCTS and node.input[0] not in constants and _matrix(node, constants)
    ]


def _constants(graph: onnx.GraphProto) -> dict[str, _Constant]:
    """The constants of a graph by name."""
    constants = {t.name: _Constant(tuple(t.dims), t.data_type) for t in graph.initializer}
    for node in graph.node:
        if node.op_type in FOLDED and all(name in constants for name in node.input if name):
            source = constants[node.input[0]]
            dims = source.dims[::-1] if node.op_type == "Transpose" else source.dims
            is_float = node.op_type == "DequantizeLinear"
            data_type = TensorProto.FLOAT if is_float else _cast_to(node, source.data_type)
            constants[node.output[0]] = _Constant(dims, data_type, node)
    return constants


def _cast_to(node: NodeProto, default: int) -> int:
    """The type that a Cast node casts to; the default for other nodes."""
    return next((a.i for a in node.attribute if a.name == "to"), default)


def _matrix(product: NodeProto, constants: Mapping[str, _Constant]) -> _Constant | None:
    """The product's weight matrix."""
    inputs = (constants[name] for name in product.input[1:] if name in constants)
    return next((constant for constant in inputs if len(constant.dims) >= 2), None)


def _renamed(
    name: str,
    number: int,
    activations: str,
    intermediate: set[str],
    constants: Mapping[str, _Constant],
) -> str:
    """The new name of a node's input.

    Constants keep their names, the outputs of copied nodes get the product's number in front, and
    everything else becomes the new input `activations`.
    """
    if not name or name in constants:
        return name
    return f"{number}.{name}" if name in intermediate else activations


def _quantizers(
    product: NodeProto, producers: Mapping[str, NodeProto], constants: Mapping[str, _Constant]
) -> list[NodeProto]:
    """The nodes that turn float activations into the product's integers, in order."""
    if product.op_type not in INTEGER_PRODUCTS:
        return []
    quantizers: list[NodeProto] = []

    def visit(node: NodeProto) -> None:
        for producer in _producers_of(node, producers, constants):
            if producer.op_type in QUANTIZERS and producer not in quantizers:
                visit(producer)
                quantizers.append(producer)

    visit(product)
    return quantizers


def _producers_of(
    node: NodeProto, producers: Mapping[str, NodeProto], constants: Mapping[str, _Constant]
) -> Iterator[NodeProto]:
    """The nodes that compute this node's inputs, constants left out."""
    return (producers[name] for name in node.input if name in producers and name not in constants)


def _columns(product: NodeProto, constants: Mapping[str, _Constant]) -> int:
    """K: how many columns the product's activations have."""
    attributes = {a.name: helper.get_attribute_value(a) for a in product.attribute}
    if "K" in attributes:
        return int(attributes["K"])
    matrix = _matrix(product, constants)
    assert matrix is not None
    return matrix.dims[-1 if attributes.get("transB") else -2]


def _activation_type(product: NodeProto, constants: Mapping[str, _Constant]) -> int:
    """float16 where the product's weights or scales are float16, else float32."""
    types = {constants[name].data_type for name in product.input[1:] if name in constants}
    return TensorProto.FLOAT16 if TensorProto.FLOAT16 in types else TensorProto.FLOAT
