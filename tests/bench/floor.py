"""The least time that decoding can take with the kernels at hand: its matrix products alone.

From a variant's encoder and decoder graphs everything is left out but the products with weights
(and what only quantizes their activations). Each product reads an input of its own, so nothing
waits for anything, and no operator between them costs time.

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
# Products whose activations come as integers: what turns floats into them belongs to the price.
INTEGER_PRODUCTS = {"MatMulInteger", "MatMulIntegerToFloat", "QLinearMatMul", "QGemm"}
QUANTIZERS = {
    *("DynamicQuantizeLinear", "QuantizeLinear", "Abs", "ReduceMax", "Max", "Div", "Mul"),
    *("Reciprocal", "Clip", "Round", "Cast"),
}

# Of a constant these make another; ONNX Runtime computes them once, when it loads a graph.
FOLDED = {"Transpose", "Cast", "Identity", "DequantizeLinear"}


@dataclass(frozen=True, slots=True)
class _Constant:
    """A weight, or what a folded node makes of one."""

    dims: tuple[int, ...]
    kind: int  # of TensorProto.DataType
    maker: NodeProto | None = None


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
    constants = _constants(graph)
    makers = {output: node for node in graph.node for output in node.output}
    nodes = [c.maker for c in constants.values() if c.maker is not None]
    inputs, outputs = [], []
    for number, product in enumerate(weight_products(model)):
        kept = [*_quantizers(product, makers, constants), product]
        made = {output for node in kept for output in node.output}
        given = f"activations.{number}"
        for place, node in enumerate(kept):
            copy = NodeProto()
            copy.CopyFrom(node)
            # Copies of one quantizer may serve several products: names must differ.
            copy.name = f"{number}.{place}"
            copy.input[:] = [_renamed(name, number, given, made, constants) for name in node.input]
            copy.output[:] = [name and f"{number}.{name}" for name in node.output]
            nodes.append(copy)
        kind = _activation_kind(product, constants)
        columns = _columns(product, constants)
        inputs.append(helper.make_tensor_value_info(given, kind, ["R", columns]))
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
    found = {t.name: _Constant(tuple(t.dims), t.data_type) for t in graph.initializer}
    for node in graph.node:
        if node.op_type in FOLDED and all(name in found for name in node.input if name):
            source = found[node.input[0]]
            dims = source.dims[::-1] if node.op_type == "Transpose" else source.dims
            is_float = node.op_type == "DequantizeLinear"
            kind = TensorProto.FLOAT if is_float else _cast_to(node, source.kind)
            found[node.output[0]] = _Constant(dims, kind, node)
    return found


def _cast_to(node: NodeProto, kind: int) -> int:
    return next((a.i for a in node.attribute if a.name == "to"), kind)


def _matrix(product: NodeProto, constants: Mapping[str, _Constant]) -> _Constant | None:
    """The product's weights."""
    found = (constants[name] for name in product.input[1:] if name in constants)
    return next((constant for constant in found if len(constant.dims) >= 2), None)


def _renamed(
    name: str, number: int, given: str, made: set[str], constants: Mapping[str, _Constant]
) -> str:
    """A constant keeps its name, what is made here gets its number, the rest is the new input."""
    if not name or name in constants:
        return name
    return f"{number}.{name}" if name in made else given


def _quantizers(
    product: NodeProto, makers: Mapping[str, NodeProto], constants: Mapping[str, _Constant]
) -> list[NodeProto]:
    """The nodes that turn float activations into the product's integers, in order."""
    if product.op_type not in INTEGER_PRODUCTS:
        return []
    found: list[NodeProto] = []

    def visit(node: NodeProto) -> None:
        for maker in _makers_of(node, makers, constants):
            if maker.op_type in QUANTIZERS and maker not in found:
                visit(maker)
                found.append(maker)

    visit(product)
    return found


def _makers_of(
    node: NodeProto, makers: Mapping[str, NodeProto], constants: Mapping[str, _Constant]
) -> Iterator[NodeProto]:
    return (makers[name] for name in node.input if name in makers and name not in constants)


def _columns(product: NodeProto, constants: Mapping[str, _Constant]) -> int:
    """K, the columns that the product expects of its activations."""
    attributes = {a.name: helper.get_attribute_value(a) for a in product.attribute}
    if "K" in attributes:
        return int(attributes["K"])
    matrix = _matrix(product, constants)
    assert matrix is not None
    return matrix.dims[-1 if attributes.get("transB") else -2]


def _activation_kind(product: NodeProto, constants: Mapping[str, _Constant]) -> int:
    """float16 where the product computes in it, which its float weights or scales show."""
    kinds = {constants[name].kind for name in product.input[1:] if name in constants}
    return TensorProto.FLOAT16 if TensorProto.FLOAT16 in kinds else TensorProto.FLOAT
