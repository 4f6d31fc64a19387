"""int8 by one named pass: weights in blocks of a row, activations row by row as they come.

Every weight matrix becomes a com.microsoft.MatMulNBits node with 8 bits and accuracy_level 4:
ONNX Runtime then quantizes each row of the activations by itself, so a sentence's numbers do not
depend on the sentences that share its batch, which they would with one scale per tensor
(DynamicQuantizeMatMul). An embedding table is read from the same bytes as the projection it is
tied to, so the matrix is stored once.
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from .errors import ExportError

ZERO_POINT = 128  # MatMulNBits's default for 8 bits: stored byte = quantized value + 128
# With blocks of 128, ORT 1.32's kernel for the last odd row of a batch sums in another order than
# its kernel for pairs of rows; up to 64 the results are equal bit for bit, and closer to float.
LARGEST_BLOCK = 64
SMALLEST_BLOCK = 16


def quantize_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a float32 model with its weight matrices in 8 bits; other nodes stay as they are.

    Raises:
        ExportError: the model has no weight matrix that can be quantized
    """
    quantized = onnx.ModelProto()
    quantized.CopyFrom(model)
    graph = quantized.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[NodeProto] = []
    packed: dict[str, TensorProto] = {}
    for node in graph.node:
        replacement = _quantize_node(node, weights, packed)
        nodes.extend([node] if replacement is None else replacement)
    if not packed:
        raise ExportError("no weight matrix to quantize: is d_model a multiple of 16?")
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend([*kept, *packed.values()])
    if not any(opset.domain == "com.microsoft" for opset in quantized.opset_import):
        quantized.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return quantized


def quantize_matrix(
    matrix: NDArray[np.float32], block: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Round each block of a row to 8 bits: w = (byte - 128) x scale, scale = max|w| / 127.

    Args:
        matrix: [N, K], one row per output
        block: divides K

    Returns:
        bytes [N, K / block, block] and scales [N, K / block]
    """
    blocks = matrix.reshape(matrix.shape[0], -1, block)
    scales = np.abs(blocks).max(axis=2) / np.float32(127)
    divisors = np.where(scales == 0, np.float32(1), scales)
    rounded = np.rint(blocks / divisors[:, :, None]) + ZERO_POINT
    return rounded.astype(np.uint8), scales.astype(np.float32)


def _quantize_node(
    node: NodeProto, weights: dict[str, TensorProto], packed: dict[str, TensorProto]
) -> list[NodeProto] | None:
    """The nodes that replace one, or None to keep it."""
    if node.op_type == "Gather" and _is_matrix(weights.get(node.input[0])):
        return _quantized_gather(node, weights[node.input[0]], packed)
    if node.op_type == "MatMul" and _is_matrix(weights.get(node.input[1])):
        return _quantized_product(node, weights[node.input[1]], False, None, packed)
    if node.op_type == "Gemm" and _is_matrix(weights.get(node.input[1])):
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        plain = attributes.get("transA", 0) == 0
        if not plain or attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0:
            return None
        bias = node.input[2] if len(node.input) > 2 else None
        transposed = bool(attributes.get("transB", 0))
        return _quantized_product(node, weights[node.input[1]], transposed, bias, packed)
    return None


def _is_matrix(tensor: TensorProto | None) -> bool:
    return tensor is not None and len(tensor.dims) == 2 and tensor.data_type == TensorProto.FLOAT


def _block_of(columns: int) -> int | None:
    """The largest power of two that divides the columns, at most LARGEST_BLOCK; None if small."""
    block = min(columns & -columns, LARGEST_BLOCK)
    return block if block >= SMALLEST_BLOCK else None


def _pack(
    tensor: TensorProto, transposed: bool, packed: dict[str, TensorProto]
) -> tuple[str, str, int, int, int] | None:
    """Quantize a weight once; names of bytes and scales, then N, K and the block."""
    matrix = numpy_helper.to_array(tensor)
    rows = matrix if transposed else matrix.T
    block = _block_of(rows.shape[1])
    if block is None:
        return None
    suffix = "" if transposed else ".T"
    names = (f"{tensor.name}{suffix}.int8", f"{tensor.name}{suffix}.scales")
    if names[0] not in packed:
        values, scales = quantize_matrix(np.ascontiguousarray(rows), block)
        packed[names[0]] = numpy_helper.from_array(values, names[0])
        packed[names[1]] = numpy_helper.from_array(scales, names[1])
    return (*names, rows.shape[0], rows.shape[1], block)


def _quantized_product(
    node: NodeProto,
    weight: TensorProto,
    transposed: bool,
    bias: str | None,
    packed: dict[str, TensorProto],
) -> list[NodeProto] | None:
    """MatMulNBits for node.input[0] @ weight (+ bias)."""
    parts = _pack(weight, transposed, packed)
    if parts is None:
        return None
    values, scales, outputs, inputs, block = parts
    # Inputs 3 to 5 are zero points, group indices and bias; the first two have no use here.
    optional = [] if bias is None else ["", "", bias]
    return [
        helper.make_node(
            "MatMulNBits",
            [node.input[0], values, scales, *optional],
            list(node.output),
            name=node.name,
            domain="com.microsoft",
            K=inputs,
            N=outputs,
            bits=8,
            block_size=block,
            accuracy_level=4,
        )
    ]


def _quantized_gather(
    node: NodeProto, table: TensorProto, packed: dict[str, TensorProto]
) -> list[NodeProto] | None:
    """Rows of an embedding table, gathered as bytes and turned back into floats."""
    if any(a.name == "axis" and a.i != 0 for a in node.attribute):
        return None
    parts = _pack(table, True, packed)
    if parts is None:
        return None
    values, scales, _, columns, _ = parts
    ids, output, name = node.input[1], node.output[0], node.name
    constants = {
        f"{name}.zero_point": np.float32(ZERO_POINT),
        f"{name}.last_axis": np.array([-1], np.int64),
        f"{name}.width": np.array([columns], np.int64),
    }
    for constant, value in constants.items():
        packed[constant] = numpy_helper.from_array(np.asarray(value), constant)

    def node_of(op: str, inputs: list[str], suffix: str) -> NodeProto:
        return helper.make_node(op, inputs, [f"{name}.{suffix}"], name=f"{name}.{suffix}")

    cast = node_of("Cast", [f"{name}.bytes"], "floats")
    cast.attribute.append(helper.make_attribute("to", TensorProto.FLOAT))
    return [
        node_of("Gather", [values, ids], "bytes"),  # [ids..., K / block, block]
        cast,
        node_of("Sub", [f"{name}.floats", f"{name}.zero_point"], "centred"),
        node_of("Gather", [scales, ids], "row_scales"),  # [ids..., K / block]
        node_of("Unsqueeze", [f"{name}.row_scales", f"{name}.last_axis"], "block_scales"),
        node_of("Mul", [f"{name}.centred", f"{name}.block_scales"], "blocks"),
        node_of("Shape", [ids], "ids_shape"),
        helper.make_node(
            "Concat",
            [f"{name}.ids_shape", f"{name}.width"],
            [f"{name}.shape"],
            name=f"{name}.shape",
            axis=0,
        ),
        helper.make_node("Reshape", [f"{name}.blocks", f"{name}.shape"], [output], name=name),
    ]
