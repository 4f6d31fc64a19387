"""The least time that decoding can take with the kernels at hand: its matrix products alone.

From a variant's encoder and decoder graphs everything is left out but the products with weights
(and what only quantizes their activations). Each product reads an input of its own, so nothing
waits for anything, and no operator between them costs time.

Shapes: R rows (sentences x source length, or sentences x beams), K columns of the activations.
"""

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import NodeProto, TensorProto, helper

PRODUCTS = {
    *("MatMul", "Gemm", "FusedMatMul", "FusedGemm", "MatMulNBits", "MatMulBnb4"),
    *("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul", "QGemm"),
}
# Products whose activations come as integers: what turns floats into them belongs to the price.
INTEGER_PRODUCTS = {"MatMulInteger", "MatMulIntegerToFloat", "QLinearMatMul", "QGemm"}
QUANTIZERS = {
    *("DynamicQuantizeLinear", "QuantizeLinear", "Abs", "ReduceMax", "Max", "Div", "Mul"),
    *("Reciprocal", "Clip", "Round", "Cast"),
}


def write_floor(variant: Path, folder: Path) -> None:
    """Write encoder.onnx and decoder.onnx that hold a variant's products.

    Args:
        variant: folder with the variant's encoder.onnx and decoder.onnx
        folder: a new folder
    """
    folder.mkdir()
    for part in ("encoder.onnx", "decoder.onnx"):
        onnx.save(floor_of(onnx.load(variant / part)), folder / part)


def floor_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """The products of a graph, each on an input [R, K] of its own and with its own output."""
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    nodes: list[NodeProto] = []
    inputs, outputs = [], []
    for number, product in enumerate(weight_products(model)):
        kept = [*_quantizers(product, makers, weights), product]
        made = {output for node in kept for output in node.output}
        given = f"activations.{number}"
        for place, node in enumerate(kept):
            copy = NodeProto()
            copy.CopyFrom(node)
            # Copies of one quantizer may serve several products: names must differ.
            copy.name = f"{number}.{place}"
            copy.input[:] = [_renamed(name, number, given, made, weights) for name in node.input]
            copy.output[:] = [name and f"{number}.{name}" for name in node.output]
            nodes.append(copy)
        kind = _activation_type(product, weights)
        columns = _columns(product, weights)
        inputs.append(helper.make_tensor_value_info(given, kind, ["R", columns]))
        outputs.append(helper.make_empty_tensor_value_info(f"{number}.{product.output[0]}"))
    used = {name for node in nodes for name in node.input}
    kept_weights = [tensor for name, tensor in weights.items() if name in used]
    floor = helper.make_model(
        helper.make_graph(nodes, "floor", inputs, outputs, kept_weights),
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
    )
    return floor


def weight_products(model: onnx.ModelProto) -> list[NodeProto]:
    """The nodes that multiply activations with a weight matrix."""
    matrices = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) >= 2}
    return [
        node
        for node in model.graph.node
        if node.op_type in PRODUCTS and any(name in matrices for name in node.input[1:])
    ]


def _renamed(
    name: str, number: int, given: str, made: set[str], weights: dict[str, TensorProto]
) -> str:
    """A weight keeps its name, what is made here gets its number, the rest is the new input."""
    if not name or name in weights:
        return name
    return f"{number}.{name}" if name in made else given


def _quantizers(
    product: NodeProto, makers: dict[str, NodeProto], weights: dict[str, TensorProto]
) -> list[NodeProto]:
    """The nodes that turn float activations into the product's integers, in order."""
    if product.op_type not in INTEGER_PRODUCTS:
        return []
    found: list[NodeProto] = []

    def visit(node: NodeProto) -> None:
        for maker in _makers_of(node, makers, weights):
            if maker.op_type in QUANTIZERS and maker not in found:
                visit(maker)
                found.append(maker)

    visit(product)
    return found


def _makers_of(
    node: NodeProto, makers: dict[str, NodeProto], weights: dict[str, TensorProto]
) -> Iterator[NodeProto]:
    return (makers[name] for name in node.input if name in makers and name not in weights)


def _columns(product: NodeProto, weights: dict[str, TensorProto]) -> int:
    """K, the columns that the product expects of its activations."""
    attributes = {a.name: helper.get_attribute_value(a) for a in product.attribute}
    if "K" in attributes:
        return int(attributes["K"])
    matrix = next(
        weights[n] for n in product.input[1:] if n in weights and len(weights[n].dims) > 1
    )
    return int(matrix.dims[-1 if attributes.get("transB") else -2])


def _activation_type(product: NodeProto, weights: dict[str, TensorProto]) -> int:
    """float16 where the product computes in it, which its float weights or scales show."""
    kinds = {weights[name].data_type for name in product.input[1:] if name in weights}
    return TensorProto.FLOAT16 if TensorProto.FLOAT16 in kinds else TensorProto.FLOAT
