"""int8: the pass against numpy's dequantization, within bounds that follow from rounding."""

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tfm.export.convert import Graphs
from tfm.export.errors import ExportError
from tfm.export.quantize import quantize_int8, quantize_matrix
from tfm.trainer.model import Transformer

Floats = NDArray[np.float32]


def model_of(
    node: onnx.NodeProto, input_type: int, **weights: NDArray[np.generic]
) -> onnx.ModelProto:
    """One node from `x` to `y`."""
    x = helper.make_tensor_value_info("x", input_type, None)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph([node], "test", [x], [y], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: onnx.ModelProto, x: NDArray[np.generic]) -> Floats:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (y,) = session.run(None, {"x": x})
    return np.asarray(y)


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def dequantized(rows: Floats, block: int) -> Floats:
    """What 8 bits leave of a matrix with a row per output, written a second time."""
    out = np.empty_like(rows)
    for r in range(rows.shape[0]):
        for start in range(0, rows.shape[1], block):
            part = rows[r, start : start + block]
            scale = np.float32(np.abs(part).max() / np.float32(127))
            out[r, start : start + block] = np.round(part / scale) * scale if scale else 0
    return out


def random(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(("columns", "block"), [(16, 16), (48, 16), (96, 32), (256, 64)])
def test_a_matrix_is_within_half_a_step(columns: int, block: int) -> None:
    matrix = random(20, columns)
    matrix[3] = 0
    matrix[4, :block] *= 1e-3  # its own scale: the rest of the row does not drown it
    values, scales = quantize_matrix(matrix, block)
    assert (values.dtype, scales.dtype) == (np.uint8, np.float32)
    assert (values.shape, scales.shape) == ((20, columns // block, block), (20, columns // block))
    assert values.min() >= 1  # symmetric: -128 is never used
    found = ((values.astype(np.float32) - 128) * scales[:, :, None]).reshape(matrix.shape)
    assert np.all(found[3] == 0)
    error = np.abs(found - matrix).reshape(20, -1, block)
    assert np.all(error <= scales[:, :, None] * 0.5001)
    np.testing.assert_allclose(found, dequantized(matrix, block), atol=1e-6)


@pytest.mark.parametrize("kind", ["MatMul", "Gemm", "Gemm transposed"])
@pytest.mark.parametrize(("columns", "block"), [(48, 16), (128, 64)])
def test_a_product_is_that_of_dequantized_weights(kind: str, columns: int, block: int) -> None:
    weight, bias, x = random(columns, 24), random(24, seed=1), random(7, columns, seed=2)
    if kind == "MatMul":
        bias = np.zeros(24, np.float32)
        model = model_of(helper.make_node("MatMul", ["x", "w"], ["y"]), TensorProto.FLOAT, w=weight)
    else:
        transposed = kind.endswith("transposed")
        node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=int(transposed))
        stored = np.ascontiguousarray(weight.T) if transposed else weight
        model = model_of(node, TensorProto.FLOAT, w=stored, b=bias)
    before = model.SerializeToString()
    quantized = quantize_int8(model)
    assert model.SerializeToString() == before
    assert operators(quantized) == ["MatMulNBits"]
    assert all(t.data_type != TensorProto.FLOAT or t.dims != [24, columns]
               for t in quantized.graph.initializer)  # fmt: skip

    weights = dequantized(np.ascontiguousarray(weight.T), block).T
    found = run(quantized, x)
    # Activations are rounded in blocks too: at most half a step of their largest each.
    largest = np.abs(x).reshape(7, -1, block).max(axis=2) / 127  # [7, blocks]
    bound = 0.5 * largest @ np.abs(weights).reshape(-1, block, 24).sum(axis=1)
    assert np.all(np.abs(found - (x @ weights + bias)) <= bound * 1.01 + 1e-4)
    np.testing.assert_allclose(found, x @ weight + bias, atol=0.05 * columns**0.5)


@pytest.mark.parametrize("columns", [64, 256, 1024])
def test_a_row_does_not_depend_on_the_others(columns: int) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = quantize_int8(model_of(node, TensorProto.FLOAT, w=random(columns, 40)))
    x = random(9, columns, seed=3)
    x[4] *= 1000
    alone = np.concatenate([run(model, row[None]) for row in x])
    np.testing.assert_array_equal(run(model, x), alone)


@pytest.mark.parametrize("ids", [np.array([5]), np.array([[0, 2], [2, 9], [7, 7]])])
def test_a_gather_gives_dequantized_rows(ids: NDArray[np.int64]) -> None:
    table = random(10, 48)
    model = model_of(helper.make_node("Gather", ["t", "x"], ["y"]), TensorProto.INT64, t=table)
    found = run(quantize_int8(model), ids)
    assert found.shape == (*ids.shape, 48)
    np.testing.assert_allclose(found, dequantized(table, 16)[ids], atol=1e-6)


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Gemm", ["x", "w"], ["y"], alpha=2.0),
        helper.make_node("Gemm", ["x", "w"], ["y"], transA=1),
        helper.make_node("MatMul", ["w", "x"], ["y"]),
        helper.make_node("Gather", ["w", "x"], ["y"], axis=1),
    ],
)
def test_what_int8_cannot_say_is_left_alone(node: onnx.NodeProto) -> None:
    node.name = "kept"
    input_type = TensorProto.INT64 if node.op_type == "Gather" else TensorProto.FLOAT
    other = helper.make_node("MatMul", ["y", "v"], ["z"])
    model = model_of(node, input_type, w=random(32, 32), v=random(32, 32))
    model.graph.node.append(other)
    model.graph.output[0].name = "z"
    quantized = quantize_int8(model)
    assert operators(quantized) == [node.op_type, "MatMulNBits"]
    assert quantized.graph.node[0] == node


def test_columns_that_are_no_multiple_of_16_are_left_alone(
    pre_graphs: Graphs, pre_model: Transformer
) -> None:
    quantized = quantize_int8(pre_graphs.decoder)
    small = [n for n in quantized.graph.node if n.op_type == "MatMulNBits"]
    sizes = {(a.name, a.i) for node in small for a in node.attribute if a.name in ("K", "N")}
    # Of d_model 24 and d_ff 48, only the product from d_ff has blocks of 16.
    assert len(small) == pre_model.config.decoder_layers
    assert sizes == {("K", 48), ("N", 24)}


def test_nothing_to_quantize_is_an_error() -> None:
    model = model_of(helper.make_node("MatMul", ["x", "w"], ["y"]), TensorProto.FLOAT,
                     w=random(24, 8))  # fmt: skip
    with pytest.raises(ExportError, match="multiple of 16"):
        quantize_int8(model)


def test_a_tied_matrix_is_stored_once(tiny_graphs: Graphs, tiny_model: Transformer) -> None:
    quantized = quantize_int8(tiny_graphs.decoder)
    config = tiny_model.config
    size = config.target_vocab_size * config.d_model
    (table,) = [t for t in quantized.graph.initializer if np.prod(t.dims) >= size]
    assert table.data_type == TensorProto.UINT8
    readers = sorted(n.op_type for n in quantized.graph.node if table.name in n.input)
    assert readers == ["Gather", "MatMulNBits"]
    used = {name for node in quantized.graph.node for name in node.input}
    assert all(tensor.name in used for tensor in quantized.graph.initializer)


def test_no_large_float_matrix_is_left(tiny_graphs: Graphs) -> None:
    for _, graph in tiny_graphs:
        quantized = quantize_int8(graph)
        names = [tensor.name for tensor in quantized.graph.initializer]
        assert len(names) == len(set(names))
        matrices = [
            t.name
            for t in quantized.graph.initializer
            if t.data_type == TensorProto.FLOAT
            and len(t.dims) == 2
            and not t.name.endswith("scales")
        ]
        assert not matrices
