"""int8 and int4: the passes against the same arithmetic in numpy."""

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tfm.export.errors import ExportError
from tfm.export.graphs.trace import Graphs
from tfm.export.quantization.calibrate import (
    ActivationParams,
    activation_params,
    random_sources,
)
from tfm.export.quantization.integers import (
    quantize_int4,
    quantize_int8,
)
from tfm.export.quantization.linears import in_graph
from tfm.export.quantization.rounding import QuantParams, quantize_blocks, quantize_rows
from tfm.trainer.model import Transformer

Floats = NDArray[np.float32]
RANGE = QuantParams(scale=0.03, zero_point=110)  # -3.3 to 4.35
PRODUCTS = ("MatMul", "Gemm", "Gemm transposed", "Gemm without bias")


def model_of(
    nodes: list[onnx.NodeProto], input_type: int, **weights: NDArray[np.generic]
) -> onnx.ModelProto:
    """A graph from `x` to `y`."""
    x = helper.make_tensor_value_info("x", input_type, None)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "test", [x], [y], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def product(kind: str, weight: Floats, bias: Floats) -> tuple[onnx.ModelProto, Floats]:
    """x @ weight (+ bias) in one of several ways, and the bias that it has; weight [K, N]."""
    none = np.zeros_like(bias)
    if kind == "MatMul":
        node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
        return model_of([node], TensorProto.FLOAT, w=weight), none
    if kind == "Gemm":
        node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="product")
        return model_of([node], TensorProto.FLOAT, w=weight, b=bias), bias
    rows = np.ascontiguousarray(weight.T)
    if kind == "Gemm without bias":
        node = helper.make_node("Gemm", ["x", "w"], ["y"], name="product", transB=1)
        return model_of([node], TensorProto.FLOAT, w=rows), none
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="product", transB=1)
    return model_of([node], TensorProto.FLOAT, w=rows, b=bias), bias


def run(model: onnx.ModelProto, x: NDArray[np.generic]) -> Floats:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (y,) = session.run(None, {"x": x})
    return np.asarray(y)


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def constants(model: onnx.ModelProto) -> dict[str, NDArray[np.generic]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def unpacked(values: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Rows of bytes to rows of twice as many numbers from -8 to 7, written a second time."""
    rows = [[half for byte in row for half in (int(byte) % 16, int(byte) // 16)] for row in values]
    return np.array(rows) - 8


def random(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def tiny_ranges(tiny_model: Transformer) -> ActivationParams:
    return activation_params(tiny_model, random_sources(tiny_model.config, count=2))


@pytest.mark.parametrize("columns", [24, 33, 256])
def test_8_bits_of_a_row(columns: int) -> None:
    matrix = random(200, columns)
    matrix[3] = 0
    matrix[4] = np.abs(matrix[4])
    matrix[5] = 0.25  # every pair at the limit, both rounded up
    matrix[6] *= 1e-4  # its own scale: the other rows do not drown it
    values, scales = quantize_rows(matrix)
    assert (values.dtype, scales.dtype) == (np.int8, np.float32)
    assert (values.shape, scales.shape) == ((200, columns), (200,))
    assert np.all(values[3] == 0)
    error = np.abs(values * scales[:, None] - matrix)
    assert np.all(error <= scales[:, None] * 0.5001)


@pytest.mark.parametrize("columns", [33, 256])
def test_sums_of_two_products_fit_16_bits(columns: int) -> None:
    matrix = np.concatenate([random(500, columns), np.full((1, columns), 0.7, np.float32)])
    values, _ = quantize_rows(matrix)
    even = values.astype(np.int64)
    if columns % 2:
        even = np.pad(even, ((0, 0), (0, 1)))
    first, second = even[:, ::2], even[:, 1::2]
    for a in (0, 255):  # the extremes of either byte are the extremes of the sum
        for b in (0, 255):
            assert (a * first + b * second).min() >= -(2**15)
            assert (a * first + b * second).max() < 2**15
    # No more is given away than that takes.
    largest = np.maximum(first.clip(0) + second.clip(0), -first.clip(max=0) - second.clip(max=0))
    assert np.all(largest.max(axis=1) >= 127)


@pytest.mark.parametrize("kind", PRODUCTS)
def test_int8_is_the_product_of_rounded_factors(kind: str) -> None:
    weight, bias, x = random(48, 24), random(24, seed=1), random(7, 48, seed=2) * 2
    assert x.min() < -3.3
    assert x.max() > 4.35  # clipped on both sides
    model, bias = product(kind, weight, bias)
    before = model.SerializeToString()
    quantized = quantize_int8(model, {"w": RANGE})
    assert model.SerializeToString() == before
    assert operators(quantized) == ["QuantizeLinear", "MatMulIntegerToFloat"]
    assert all(a.dtype != np.float32 or a.ndim < 2 for a in constants(quantized).values())

    bytes_ = np.clip(np.rint(x / np.float32(0.03)) + 110, 0, 255).astype(np.int64)
    values, scales = quantize_rows(np.ascontiguousarray(weight.T))
    sums = (bytes_ - 110) @ values.T.astype(np.int64)
    expected = sums * (np.float32(0.03) * scales).astype(np.float64) + bias
    found = run(quantized, x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    inside = np.clip(x, -3.3, 4.35)
    np.testing.assert_allclose(found, inside @ weight + bias, atol=0.05 * 48**0.5)
    assert np.abs(found - (x @ weight + bias)).max() > 1


@pytest.mark.parametrize("rows", [1, 3, 40])
@pytest.mark.parametrize("kind", PRODUCTS)
def test_int8_for_few_rows_is_the_same_to_the_bit(kind: str, rows: int) -> None:
    weight, bias, x = random(48, 24), random(24, seed=1), random(rows, 48, seed=2)
    weight[:, 5] = 0
    model, bias = product(kind, weight, bias)
    expected = run(quantize_int8(model, {"w": RANGE}), x)
    quantized = quantize_int8(model, {"w": RANGE}, scales_last_up_to=24)
    np.testing.assert_array_equal(run(quantized, x), expected)
    # The operator multiplies the input's scale into a vector of scales before every product.
    if bias.any():
        assert constants(quantized)["w.scales"].shape == (24,)
    else:
        assert constants(quantized)["w.output_scales"].shape == (1, 1, 24)
    wide = quantize_int8(model, {"w": RANGE}, scales_last_up_to=23)
    assert constants(wide)["w.scales"].shape == (24,)


@pytest.mark.parametrize("kind", PRODUCTS)
@pytest.mark.parametrize(("columns", "block"), [(48, 16), (128, 32)])
def test_int4_is_the_product_of_dequantized_weights(kind: str, columns: int, block: int) -> None:
    weight, x = random(columns, 24), random(7, columns, seed=2)
    model, bias = product(kind, weight, random(24, seed=1))
    quantized = quantize_int4(model)
    assert operators(quantized) == ["MatMulNBits"]
    stored = constants(quantized)
    assert stored["w.int4"].nbytes == columns * 24 // 2
    values = unpacked(stored["w.int4"].reshape(24, -1))
    blocks = values.reshape(24, -1, block) * stored["w.scales"].reshape(24, -1, 1)
    weights = blocks.reshape(24, columns).T
    # Activations are rounded to 8 bits in blocks: at most half a step of their largest each.
    largest = np.abs(x).reshape(7, -1, block).max(axis=2) / 127  # [7, blocks]
    bound = 0.5 * largest @ np.abs(weights).reshape(-1, block, 24).sum(axis=1)
    found = run(quantized, x)
    assert np.all(np.abs(found - (x @ weights + bias)) <= bound * 1.01 + 1e-4)
    np.testing.assert_allclose(found, x @ weight + bias, atol=0.5 * columns**0.5)


@pytest.mark.parametrize("variant", ["int8", "int4"])
@pytest.mark.parametrize(("columns", "outputs"), [(64, 40), (256, 768), (1024, 17)])
def test_a_row_does_not_depend_on_the_others(variant: str, columns: int, outputs: int) -> None:
    model, _ = product("Gemm transposed", random(columns, outputs), random(outputs))
    model = quantize_int8(model, {"w": RANGE}) if variant == "int8" else quantize_int4(model)
    x = random(133, columns, seed=3)
    x[4] *= 1000
    alone = np.concatenate([run(model, row[None]) for row in x[:9]])
    # With AVX2 and no more, ONNX Runtime sums the 4-bit blocks of a single row in another order.
    last_bits = 0 if variant == "int8" else 1e-5
    for rows in (2, 3, 4, 9, 32, 133):
        found, expected = run(model, x[:rows])[:9], alone[:rows]
        largest = np.abs(expected).max(axis=1, keepdims=True)
        assert np.all(np.abs(found - expected) <= last_bits * largest)


@pytest.mark.parametrize("variant", ["int8", "int4"])
@pytest.mark.parametrize("ids", [np.array([5]), np.array([[0, 2], [2, 9], [7, 7]])])
def test_a_gather_gives_dequantized_rows(variant: str, ids: NDArray[np.int64]) -> None:
    table = random(10, 48)
    table[2] *= 100
    node = helper.make_node("Gather", ["t", "x"], ["y"], name="read")
    model = model_of([node], TensorProto.INT64, t=table)
    if variant == "int8":
        quantized = quantize_int8(model, {})
        stored = constants(quantized)
        dequantized = stored["t.int8"] * stored["t.row_scales"]
    else:
        quantized = quantize_int4(model)
        stored = constants(quantized)
        values = unpacked(stored["t.int4.rows"]).reshape(10, 3, 16)
        dequantized = (values * stored["t.scales.rows"][:, :, None]).reshape(10, 48)
    assert sum(a.nbytes for a in stored.values()) < table.nbytes / 3
    found = run(quantized, ids)
    assert found.shape == (*ids.shape, 48)
    np.testing.assert_array_equal(found, dequantized.astype(np.float32)[ids])
    step = np.abs(table).max(axis=1, keepdims=True) / (60 if variant == "int8" else 7)
    assert np.all(np.abs(found - table[ids]) <= step[ids] / 2)


@pytest.mark.parametrize("columns", [16, 48, 96, 256])
def test_4_bits_of_a_block(columns: int) -> None:
    block = min(columns & -columns, 32)
    matrix = random(20, columns)
    matrix[3] = 0
    matrix[4, :block] *= 1e-3  # its own scale: the rest of the row does not drown it
    values, scales = quantize_blocks(matrix, block)
    assert (values.dtype, scales.dtype) == (np.uint8, np.float32)
    assert (values.shape, scales.shape) == ((20, columns), (20, columns // block))
    assert values.max() <= 15
    steps = (values.astype(np.float32) - 8).reshape(20, -1, block)
    found = steps * scales[:, :, None]
    assert np.all(found[3] == 0)
    blocks = matrix.reshape(20, -1, block)
    error = np.square(found - blocks).sum(axis=2)
    # No worse than rounding to 15 levels between the extremes.
    plain = np.abs(blocks).max(axis=2, keepdims=True) / 7
    plain[plain == 0] = 1
    assert np.all(error <= np.square(np.rint(blocks / plain) * plain - blocks).sum(axis=2) + 1e-6)


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Gemm", ["x", "w"], ["y"], alpha=2.0),
        helper.make_node("Gemm", ["x", "w"], ["y"], transA=1),
        helper.make_node("MatMul", ["w", "x"], ["y"]),
        helper.make_node("Gather", ["w", "x"], ["y"], axis=1),
    ],
)
def test_what_has_no_other_form_is_left_alone(node: onnx.NodeProto) -> None:
    node.name = "kept"
    input_type = TensorProto.INT64 if node.op_type == "Gather" else TensorProto.FLOAT
    other = helper.make_node("MatMul", ["y", "v"], ["z"])
    model = model_of([node, other], input_type, w=random(32, 32), v=random(32, 32))
    model.graph.output[0].name = "z"
    for quantized in (quantize_int8(model, {"v": RANGE, "w": RANGE}), quantize_int4(model)):
        assert operators(quantized)[0] == node.op_type
        assert operators(quantized)[-1] in ("MatMulIntegerToFloat", "MatMulNBits")
        assert quantized.graph.node[0] == node
        np.testing.assert_array_equal(constants(quantized)["w"], constants(model)["w"])


def test_an_input_is_quantized_once() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "u"], ["a"]),
        helper.make_node("MatMul", ["x", "v"], ["b"]),
        helper.make_node("MatMul", ["x", "w"], ["c"]),
        helper.make_node("Sum", ["a", "b", "c"], ["y"]),
    ]
    weights = {name: random(32, 16, seed=seed) for seed, name in enumerate("uvw")}
    model = model_of(nodes, TensorProto.FLOAT, **weights)
    other = QuantParams(scale=0.05, zero_point=128)
    quantized = quantize_int8(model, {"u": RANGE, "v": RANGE, "w": other})
    assert operators(quantized).count("QuantizeLinear") == 2  # one range, and another
    x = random(4, 32, seed=9)
    parts = [
        run(quantize_int8(model_of([helper.make_node("MatMul", ["x", name], ["y"])],
                                   TensorProto.FLOAT, **{name: weights[name]}), {name: how}), x)
        for name, how in (("u", RANGE), ("v", RANGE), ("w", other))
    ]  # fmt: skip
    np.testing.assert_allclose(run(quantized, x), sum(parts), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("variant", ["int8", "int4"])
def test_keep_float_keeps(variant: str, tiny_graphs: Graphs, tiny_ranges: ActivationParams) -> None:
    model = tiny_graphs.decoder
    ranges = in_graph("decoder", tiny_ranges)
    kept = {"layers.0.cross_query.weight", "model.projection.weight"}
    if variant == "int8":
        quantized = quantize_int8(model, ranges, kept)
    else:
        quantized = quantize_int4(model, kept)
    before, after = constants(model), constants(quantized)
    for name in kept:
        np.testing.assert_array_equal(after[name], before[name])
    readers = [node for node in model.graph.node if kept & set(node.input)]
    assert sorted(node.op_type for node in readers) == ["Gather", "Gemm", "Gemm"]
    assert all(node in quantized.graph.node for node in readers)
    left = {name for name, array in after.items() if array.ndim == 2 and name in before}
    assert left == kept


def test_a_product_without_a_range_is_an_error() -> None:
    model, _ = product("Gemm", random(32, 8), random(8))
    with pytest.raises(ExportError, match=r"^w: its input was not calibrated"):
        quantize_int8(model, {"v": RANGE})


def test_nothing_to_quantize_is_an_error() -> None:
    model, _ = product("MatMul", random(24, 8), random(8))
    with pytest.raises(ExportError, match="no weight matrix"):
        quantize_int4(model)  # rows of 24 have no blocks
    with pytest.raises(ExportError, match="no weight matrix"):
        quantize_int8(model, {"w": RANGE}, {"w"})


@pytest.mark.parametrize("variant", ["int8", "int4"])
def test_a_tied_matrix_is_stored_once(
    variant: str, tiny_graphs: Graphs, tiny_model: Transformer, tiny_ranges: ActivationParams
) -> None:
    ranges = in_graph("decoder", tiny_ranges)
    model = tiny_graphs.decoder
    quantized = quantize_int8(model, ranges) if variant == "int8" else quantize_int4(model)
    names = [tensor.name for tensor in quantized.graph.initializer]
    assert len(names) == len(set(names))
    used = {name for node in quantized.graph.node for name in node.input}
    assert set(names) <= used
    config = tiny_model.config
    numbers = config.target_vocab_size * config.d_model
    size = numbers if variant == "int8" else numbers // 2
    # save_shared stores equal bytes once, whatever their shapes.
    large = {a.tobytes() for a in constants(quantized).values() if a.nbytes >= size}
    assert [len(content) for content in large] == [size]


@pytest.mark.parametrize("variant", ["int8", "int4"])
def test_no_float_matrix_is_left(
    variant: str, tiny_graphs: Graphs, tiny_ranges: ActivationParams
) -> None:
    for part, graph in tiny_graphs:
        if variant == "int8":
            quantized = quantize_int8(graph, in_graph(part, tiny_ranges))
        else:
            quantized = quantize_int4(graph)
        left = {name for name, array in constants(quantized).items()
                if array.dtype == np.float32 and array.ndim == 2 and min(array.shape) > 2
                and "scales" not in name}  # fmt: skip
        assert not left
