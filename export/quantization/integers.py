"""int8 and int4 as passes from graph to graph; a row of a product never depends on other rows
(with int4 and AVX2 alone, but for its last bits).

int8 is static: activations become bytes by the scale and the zero point that calibrate.py found,
so a product is one of integers, exact in whatever order it is summed. Weights have one scale per
output, and MatMulIntegerToFloat multiplies the scales back and adds the bias.

int4 is the smallest: MatMulNBits holds weights in blocks of 4 bits with a scale each and, with
accuracy_level 4, makes bytes of every row of the activations by itself as it comes.

An embedding table is read from the same bytes as the projection it is tied to.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from tfm.export.errors import ExportError

from .calibrate import ActivationRange

DOMAIN = "com.microsoft"
LARGEST_BLOCK = 32  # of int4; closer to float than 64 and 128, and no slower
SMALLEST_BLOCK = 16
MIDDLE = 8  # the 4 bits that stand for zero
# Which of -8 to 7 a block's largest weight may become; beyond -8 it is clipped.
LARGEST_AT = (-9.0, -8.5, -8.0, -7.5, -7.0, -6.5, 6.5, 7.0, 7.5)


@dataclass(frozen=True, slots=True)
class Weights:
    """The float matrices of a graph that are to be quantized, and what takes their place."""

    matrices: Mapping[str, TensorProto]
    tables: Collection[str]  # those that a Gather reads, row by row
    added: dict[str, TensorProto]

    def add(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        """Store an initializer; returns its name."""
        self.added[name] = numpy_helper.from_array(np.asarray(value), name)
        return name


@dataclass(frozen=True, slots=True)
class WeightProduct:
    """A node that computes x @ weight + bias, and the weight with a row per output, [N, K]."""

    x: str
    weight: str
    rows: NDArray[np.float32]
    bias: str
    output: str
    name: str


Replace = Callable[[Weights, WeightProduct], list[NodeProto] | None]
Read = Callable[[Weights, NodeProto, NDArray[np.float32]], list[NodeProto] | None]


def quantize_int8(
    model: onnx.ModelProto,
    ranges: Mapping[str, ActivationRange],
    keep_float: Collection[str] = (),
) -> onnx.ModelProto:
    """A copy of a float32 graph with its weight products and embeddings in 8 bits.

    Args:
        ranges: of every product's input, by the name of the product's weight
        keep_float: names of weights that stay as they are

    Raises:
        ExportError: a product's input has no range, or nothing is left to quantize
    """
    inputs: dict[tuple[str, ActivationRange], str] = {}

    def replace(weights: Weights, product: WeightProduct) -> list[NodeProto]:
        x, weight, nodes = product.x, product.weight, []
        if weight not in ranges:
            raise ExportError(f"{weight}: its input has no range: calibrate with this model")
        how = ranges[weight]
        scale = weights.add(f"{weight}.input_scale", np.float32(how.scale))
        zero_point = weights.add(f"{weight}.input_zero_point", np.uint8(how.zero_point))
        if (x, how) not in inputs:
            inputs[x, how] = f"{x}.uint8_{len(inputs)}"
            nodes.append(_node("QuantizeLinear", [x, scale, zero_point], inputs[x, how]))
        values, scales = quantize_rows(product.rows)
        scales_name = weights.add(f"{weight}.scales", scales)
        if weight in weights.tables:
            # A Gather of columns would be far slower than one of rows. ONNX Runtime transposes
            # the constant once, when it loads the model.
            table = weights.add(f"{weight}.int8", values)
            columns = f"{weight}.int8.T"
            nodes.append(_node("Transpose", [table], columns, perm=[1, 0]))
        else:
            columns = weights.add(f"{weight}.int8", np.ascontiguousarray(values.T))
        operands = [inputs[x, how], columns, scale, scales_name, zero_point]
        nodes.append(
            helper.make_node(
                "MatMulIntegerToFloat",
                operands if not product.bias else [*operands, "", product.bias],
                [product.output],
                name=product.name,
                domain=DOMAIN,
            )
        )
        return nodes

    return _rewrite(model, keep_float, replace, _read_int8)


def quantize_int4(model: onnx.ModelProto, keep_float: Collection[str] = ()) -> onnx.ModelProto:
    """A copy of a float32 graph with its weights in 4 bits; see quantize_int8.

    A weight whose rows are no multiple of 16 long stays as it is.

    Raises:
        ExportError: nothing is left to quantize
    """
    return _rewrite(model, keep_float, _replace_int4, _read_int4)


def quantize_rows(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round each row to 8 bits, w = value x scale, with a scale that every x86 CPU computes with.

    Those without VNNI add the products of two neighbours in 16 bits, and silently get 32767 where
    the sum is larger. So neighbours of one sign make up 128 at most: 255 x 128 still fits.

    Args:
        matrix: [N, K], one row per output

    Returns:
        values [N, K] and scales [N]
    """
    pairs = np.pad(matrix, ((0, 0), (0, matrix.shape[1] % 2))).reshape(len(matrix), -1, 2)
    largest = np.maximum(pairs.clip(min=0).sum(axis=2), -pairs.clip(max=0).sum(axis=2))
    scales = largest.max(axis=1) / np.float32(127)  # and 1 more, where both are rounded up
    divisors = np.where(scales == 0, np.float32(1), scales)
    return np.rint(matrix / divisors[:, None]).astype(np.int8), scales.astype(np.float32)


def quantize_blocks(
    matrix: NDArray[np.float32], block: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Round each block of a row to 4 bits, w = (value - 8) x scale, with the least squared error.

    Args:
        matrix: [N, K], one row per output
        block: divides K

    Returns:
        values [N, K] of 0 to 15, and scales [N, K / block]
    """
    blocks = matrix.reshape(matrix.shape[0], -1, block)
    places = np.abs(blocks).argmax(axis=2, keepdims=True)
    largest = np.take_along_axis(blocks, places, axis=2)
    values, scales = np.zeros_like(blocks), np.zeros_like(largest)
    least = np.full_like(largest, np.inf)
    for level in LARGEST_AT:
        trial = np.where(largest == 0, np.float32(1), largest / np.float32(level))
        rounded = np.clip(np.rint(blocks / trial), -MIDDLE, MIDDLE - 1)
        norms = np.square(rounded).sum(axis=2, keepdims=True)
        fitted = (rounded * blocks).sum(axis=2, keepdims=True) / np.maximum(norms, 1)
        errors = np.square(rounded * fitted - blocks).sum(axis=2, keepdims=True)
        better = errors < least
        values, scales, least = (
            np.where(better, new, old)
            for new, old in ((rounded, values), (fitted, scales), (errors, least))
        )
    packable = (values + MIDDLE).astype(np.uint8).reshape(matrix.shape)
    return packable, scales.astype(np.float32)[:, :, 0]


def _rewrite(
    model: onnx.ModelProto, keep_float: Collection[str], replace: Replace, read: Read
) -> onnx.ModelProto:
    """A copy in which `replace` stands for products and `read` for Gathers; None keeps a node."""
    quantized = onnx.ModelProto()
    quantized.CopyFrom(model)
    graph = quantized.graph
    matrices = {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if len(tensor.dims) == 2
        and tensor.data_type == TensorProto.FLOAT
        and tensor.name not in keep_float
    }
    readers = [node for node in graph.node if _is_read(node, matrices)]
    weights = Weights(matrices, {node.input[0] for node in readers}, {})
    nodes: list[NodeProto] = []
    for node in graph.node:
        product = _product(node, matrices)
        replacement = None
        if product is not None:
            replacement = replace(weights, product)
        elif _is_read(node, matrices):
            replacement = read(weights, node, numpy_helper.to_array(matrices[node.input[0]]))
        nodes.extend([node] if replacement is None else replacement)
    if not weights.added:
        raise ExportError("no weight matrix to quantize")
    used = {name for node in nodes for name in node.input}
    constants = [tensor for tensor in graph.initializer if tensor.name in used]
    constants += [tensor for tensor in weights.added.values() if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
    if not any(opset.domain == DOMAIN for opset in quantized.opset_import):
        quantized.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return quantized


def _is_read(node: NodeProto, matrices: Mapping[str, TensorProto]) -> bool:
    """Whether the node gathers rows of a matrix."""
    axis = sum(attribute.i for attribute in node.attribute if attribute.name == "axis")
    return node.op_type == "Gather" and node.input[0] in matrices and axis == 0


def _product(node: NodeProto, matrices: Mapping[str, TensorProto]) -> WeightProduct | None:
    """The node as a product with one of these weights, or None if it is none."""
    if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in matrices:
        return None
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if any(attributes.get(name, plain) != plain for name, plain in
           (("transA", 0), ("alpha", 1.0), ("beta", 1.0))):  # fmt: skip
        return None
    matrix = numpy_helper.to_array(matrices[node.input[1]])
    return WeightProduct(
        x=node.input[0],
        weight=node.input[1],
        rows=matrix if attributes.get("transB", 0) else np.ascontiguousarray(matrix.T),
        bias=node.input[2] if len(node.input) > 2 else "",
        output=node.output[0],
        name=node.name,
    )


def _read_int8(weights: Weights, node: NodeProto, table: NDArray[np.float32]) -> list[NodeProto]:
    """Rows gathered as bytes and multiplied by their scales."""
    (name, ids), output = node.input, node.output[0]
    values, scales = quantize_rows(table)
    stored = weights.add(f"{name}.int8", values)
    row_scales = weights.add(f"{name}.row_scales", scales[:, None])
    return [
        _node("Gather", [stored, ids], f"{output}.int8"),  # [ids..., D]
        _node("Cast", [f"{output}.int8"], f"{output}.integers", to=TensorProto.FLOAT),
        _node("Gather", [row_scales, ids], f"{output}.scales"),  # [ids..., 1]
        helper.make_node(
            "Mul", [f"{output}.integers", f"{output}.scales"], [output], name=node.name
        ),
    ]


def _replace_int4(weights: Weights, product: WeightProduct) -> list[NodeProto] | None:
    outputs, inputs = product.rows.shape
    block = block_of(inputs)
    if block is None:
        return None
    values, scales = quantize_blocks(product.rows, block)
    packed = _packed(values).reshape(outputs, inputs // block, block // 2)
    stored = weights.add(f"{product.weight}.int4", packed)
    scales_name = weights.add(f"{product.weight}.scales", scales)
    # Inputs 3 to 5 are zero points, group indices and bias; the first two have no use here.
    optional = ["", "", product.bias] if product.bias else []
    return [
        helper.make_node(
            "MatMulNBits",
            [product.x, stored, scales_name, *optional],
            [product.output],
            name=product.name,
            domain=DOMAIN,
            K=inputs,
            N=outputs,
            bits=4,
            block_size=block,
            accuracy_level=4,
        )
    ]


def _read_int4(
    weights: Weights, node: NodeProto, table: NDArray[np.float32]
) -> list[NodeProto] | None:
    block = block_of(table.shape[1])
    if block is None:
        return None
    name = node.input[0]
    values, scales = quantize_blocks(table, block)
    stored = weights.add(f"{name}.int4.rows", _packed(values))
    scales_name = weights.add(f"{name}.scales.rows", scales)
    return [
        helper.make_node(
            "GatherBlockQuantized",
            [stored, node.input[1], scales_name],
            list(node.output),
            name=node.name,
            domain=DOMAIN,
            gather_axis=0,
            quantize_axis=1,
            block_size=block,
        )
    ]


def _packed(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two neighbours of a row per byte, the first in its low half."""
    return np.asarray(values[:, ::2] | values[:, 1::2] << 4)


def block_of(length: int) -> int | None:
    """The largest power of two that divides a row, at most LARGEST_BLOCK; None if small."""
    block = min(length & -length, LARGEST_BLOCK)
    return block if block >= SMALLEST_BLOCK else None


def _node(op_type: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(op_type, inputs, [output], name=output, **attributes)
