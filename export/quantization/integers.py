"""int8 and int4 as passes from graph to graph; no row of the output depends on other rows
(in int4 with AVX2, only its last bits may).

int8 is static: activations are quantized with the scale and zero point that calibrate.py chose, so
a linear layer multiplies integers, and the sum is exact in any order. Weights have one scale per
output, and MatMulIntegerToFloat multiplies the scales back and adds the bias.

int4 is the smallest: MatMulNBits holds weights in blocks of 4 bits with a scale each and, with
accuracy_level 4, quantizes every row of the activations to 8 bits at run time.

An embedding table is read from the same bytes as the output projection it is tied to.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from tfm.export.errors import ExportError

from .rounding import QuantParams, block_size, quantize_blocks, quantize_rows

DOMAIN = "com.microsoft"


@dataclass(frozen=True, slots=True)
class WeightStore:
    """The float matrices of a graph that are to be quantized, and the initializers made of them."""

    matrices: Mapping[str, TensorProto]
    tables: Collection[str]  # the matrices that a Gather reads, row by row
    added: dict[str, TensorProto]

    def add(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        """Store an initializer; returns its name."""
        self.added[name] = numpy_helper.from_array(np.asarray(value), name)
        return name


@dataclass(frozen=True, slots=True)
class LinearNode:
    """A node that computes x @ weight + bias, and the weight with a row per output, [N, K]."""

    x: str
    weight: str
    rows: NDArray[np.float32]
    bias: str
    output: str
    name: str


class Scheme(Protocol):
    """What takes the place of a float node; None leaves the node as it is."""

    def linear(self, store: WeightStore, node: LinearNode) -> list[NodeProto] | None:
        """The nodes for a linear layer."""

    def embedding(
        self, store: WeightStore, node: NodeProto, table: NDArray[np.float32]
    ) -> list[NodeProto] | None:
        """The nodes for a Gather of a table's rows [V, D]."""


def quantize_int8(
    model: onnx.ModelProto,
    params: Mapping[str, QuantParams],
    exclude: Collection[str] = (),
    scales_last_up_to: int = 0,
) -> onnx.ModelProto:
    """A copy of a float32 graph with its linear layers and embeddings in 8 bits.

    Args:
        params: of every linear layer's input, by the name of the layer's weight
        exclude: names of weights that stay in float
        scales_last_up_to: layers without bias that have at most so many outputs are made for few
            rows (see _Int8)

    Raises:
        ExportError: a layer's input was not calibrated, or nothing is left to quantize
    """
    return _rewrite(model, exclude, _Int8(params, scales_last_up_to))


def quantize_int4(model: onnx.ModelProto, exclude: Collection[str] = ()) -> onnx.ModelProto:
    """A copy of a float32 graph with its linear layers and embeddings in 4 bits.

    A weight whose row length is not a multiple of 16 stays in float.

    Args:
        exclude: names of weights that stay in float

    Raises:
        ExportError: nothing is left to quantize
    """
    return _rewrite(model, exclude, _Int4())


class _Int8:
    """Static int8. An input that several layers read with the same parameters is quantized once.

    Before every product MatMulIntegerToFloat multiplies the input's scale into the scale of each
    output, one by one, which takes up to a third of its time where there are few rows. It does not
    do so if the scales have a shape that it cannot use in the product, such as [1, 1, N]; it then
    multiplies them into the result, which takes longer from about 32 rows on. With the input's
    scale in them, the results are the same to the bit.
    """

    def __init__(self, params: Mapping[str, QuantParams], scales_last_up_to: int) -> None:
        self._params = params
        self._scales_last_up_to = scales_last_up_to
        self._inputs: dict[tuple[str, QuantParams], str] = {}  # names of the quantized tensors

    def linear(self, store: WeightStore, node: LinearNode) -> list[NodeProto]:
        if node.weight not in self._params:
            raise ExportError(
                f"{node.weight}: its input was not calibrated: calibrate with this model"
            )
        params = self._params[node.weight]
        scale = store.add(f"{node.weight}.input_scale", np.float32(params.scale))
        zero_point = store.add(f"{node.weight}.input_zero_point", np.uint8(params.zero_point))
        nodes = []
        if (node.x, params) not in self._inputs:
            quantized = f"{node.x}.uint8_{len(self._inputs)}"
            self._inputs[node.x, params] = quantized
            nodes.append(_node("QuantizeLinear", [node.x, scale, zero_point], quantized))
        values, scales = quantize_rows(node.rows)
        in_product, name = scale, f"{node.weight}.scales"
        # A bias would be added before the scales are multiplied in, and be rounded differently.
        if not node.bias and len(node.rows) <= self._scales_last_up_to:
            in_product = store.add("one", np.float32(1))
            scales = (scales * np.float32(params.scale)).reshape(1, 1, -1)
            name = f"{node.weight}.output_scales"
        scales_name = store.add(name, scales)
        if node.weight in store.tables:
            # A Gather of columns would be far slower than one of rows. ONNX Runtime transposes
            # the constant once, when it loads the model.
            table = store.add(f"{node.weight}.int8", values)
            columns = f"{node.weight}.int8.T"
            nodes.append(_node("Transpose", [table], columns, perm=[1, 0]))
        else:
            columns = store.add(f"{node.weight}.int8", np.ascontiguousarray(values.T))
        operands = [self._inputs[node.x, params], columns, in_product, scales_name, zero_point]
        nodes.append(
            helper.make_node(
                "MatMulIntegerToFloat",
                operands if not node.bias else [*operands, "", node.bias],
                [node.output],
                name=node.name,
                domain=DOMAIN,
            )
        )
        return nodes

    def embedding(
        self, store: WeightStore, node: NodeProto, table: NDArray[np.float32]
    ) -> list[NodeProto]:
        (name, ids), output = node.input, node.output[0]
        values, scales = quantize_rows(table)
        stored = store.add(f"{name}.int8", values)
        row_scales = store.add(f"{name}.row_scales", scales[:, None])
        return [
            _node("Gather", [stored, ids], f"{output}.int8"),  # [ids..., D]
            _node("Cast", [f"{output}.int8"], f"{output}.integers", to=TensorProto.FLOAT),
            _node("Gather", [row_scales, ids], f"{output}.scales"),  # [ids..., 1]
            helper.make_node(
                "Mul", [f"{output}.integers", f"{output}.scales"], [output], name=node.name
            ),
        ]


class _Int4:
    """int4 in blocks; rows that cannot be cut into blocks stay in float."""

    def linear(self, store: WeightStore, node: LinearNode) -> list[NodeProto] | None:
        outputs, inputs = node.rows.shape
        block = block_size(inputs)
        if block is None:
            return None
        values, scales = quantize_blocks(node.rows, block)
        packed = _packed(values).reshape(outputs, inputs // block, block // 2)
        stored = store.add(f"{node.weight}.int4", packed)
        scales_name = store.add(f"{node.weight}.scales", scales)
        # Inputs 3 to 5 are zero points, group indices and bias; the first two have no use here.
        optional = ["", "", node.bias] if node.bias else []
        return [
            helper.make_node(
                "MatMulNBits",
                [node.x, stored, scales_name, *optional],
                [node.output],
                name=node.name,
                domain=DOMAIN,
                K=inputs,
                N=outputs,
                bits=4,
                block_size=block,
                accuracy_level=4,
            )
        ]

    def embedding(
        self, store: WeightStore, node: NodeProto, table: NDArray[np.float32]
    ) -> list[NodeProto] | None:
        block = block_size(table.shape[1])
        if block is None:
            return None
        name = node.input[0]
        values, scales = quantize_blocks(table, block)
        stored = store.add(f"{name}.int4.rows", _packed(values))
        scales_name = store.add(f"{name}.scales.rows", scales)
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


def _rewrite(model: onnx.ModelProto, exclude: Collection[str], scheme: Scheme) -> onnx.ModelProto:
    """A copy in which the scheme replaces linear layers and embeddings."""
    quantized = onnx.ModelProto()
    quantized.CopyFrom(model)
    graph = quantized.graph
    matrices = {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if len(tensor.dims) == 2
        and tensor.data_type == TensorProto.FLOAT
        and tensor.name not in exclude
    }
    readers = [node for node in graph.node if _is_embedding(node, matrices)]
    store = WeightStore(matrices, {node.input[0] for node in readers}, {})
    nodes: list[NodeProto] = []
    for node in graph.node:
        linear = _linear_node(node, matrices)
        replacement = None
        if linear is not None:
            replacement = scheme.linear(store, linear)
        elif _is_embedding(node, matrices):
            table = numpy_helper.to_array(matrices[node.input[0]])
            replacement = scheme.embedding(store, node, table)
        nodes.extend([node] if replacement is None else replacement)
    if not store.added:
        raise ExportError("no weight matrix to quantize")
    used = {name for node in nodes for name in node.input}
    constants = [tensor for tensor in graph.initializer if tensor.name in used]
    constants += [tensor for tensor in store.added.values() if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
    if not any(opset.domain == DOMAIN for opset in quantized.opset_import):
        quantized.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return quantized


def _is_embedding(node: NodeProto, matrices: Mapping[str, TensorProto]) -> bool:
    """Whether the node gathers rows of a matrix."""
    axis = sum(attribute.i for attribute in node.attribute if attribute.name == "axis")
    return node.op_type == "Gather" and node.input[0] in matrices and axis == 0


def _linear_node(node: NodeProto, matrices: Mapping[str, TensorProto]) -> LinearNode | None:
    """The node, if it is a linear layer with one of these weights, else None."""
    if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in matrices:
        return None
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if any(attributes.get(name, plain) != plain for name, plain in
           (("transA", 0), ("alpha", 1.0), ("beta", 1.0))):  # fmt: skip
        return None
    matrix = numpy_helper.to_array(matrices[node.input[1]])
    return LinearNode(
        x=node.input[0],
        weight=node.input[1],
        rows=matrix if attributes.get("transB", 0) else np.ascontiguousarray(matrix.T),
        bias=node.input[2] if len(node.input) > 2 else "",
        output=node.output[0],
        name=node.name,
    )


def _packed(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two neighbours of a row per byte, the first in its low half."""
    return np.asarray(values[:, ::2] | values[:, 1::2] << 4)


def _node(op_type: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(op_type, inputs, [output], name=output, **attributes)
