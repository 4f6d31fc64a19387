"""Calibration against a brute-force scan, ONNX Runtime's own rounding and the model's tensors."""

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tfm.export.errors import ExportError
from tfm.export.graphs.modules import pack
from tfm.export.graphs.trace import Graphs
from tfm.export.quantization import calibrate
from tfm.export.quantization.calibrate import (
    CLIPS,
    activation_params,
    best_params,
    layer_inputs,
    random_sources,
)
from tfm.export.quantization.linears import in_graph, linear_layers
from tfm.export.quantization.rounding import QuantParams, fake_quantize
from tfm.trainer.model import Transformer

Floats = NDArray[np.float32]


def normal(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def lost(values: Floats, scale: float, zero_point: int) -> float:
    """Squared error of a trip through bytes, written a second time."""
    stored = np.minimum(np.maximum(np.round(values / scale) + zero_point, 0), 255)
    return float(np.sum(((stored - zero_point) * scale - values) ** 2))


def shapes_of_activations() -> dict[str, Floats]:
    bulk = normal(40, 64)
    outliers = normal(500, 256)
    outliers[3, 5], outliers[7, 9] = 12, -12
    return {
        "bulk": bulk,
        "outliers": outliers,
        "skewed": np.exp(bulk) - 1,
        "relu": np.maximum(bulk, 0),
        "negative": -np.exp(bulk),
        "far from zero": bulk / 10 + 3,
    }


@pytest.mark.parametrize("kind", list(shapes_of_activations()))
def test_the_range_is_the_best_of_a_scan(kind: str) -> None:
    values = shapes_of_activations()[kind]
    low, high = min(0, values.min()), max(0, values.max())
    least = np.inf
    for a in CLIPS:
        for b in CLIPS:
            scale = (b * high - a * low) / 255
            least = min(least, lost(values, scale, round(-a * low / scale)))
    found = best_params(values)
    assert lost(values, found.scale, found.zero_point) <= least * 1.01
    whole = (high - low) / 255
    assert 0 < found.scale <= whole * 1.0001
    if kind == "outliers":
        assert found.scale < whole * 0.8
        assert lost(values, found.scale, found.zero_point) < 0.9 * lost(
            values, whole, round(-low / whole)
        )


def test_what_has_one_sign_gets_all_steps() -> None:
    values = normal(50, 50)
    assert best_params(np.maximum(values, 0)).zero_point == 0
    assert best_params(np.minimum(values, 0)).zero_point == 255


def test_nothing_but_zero() -> None:
    zeros = np.zeros((3, 4), np.float32)
    np.testing.assert_array_equal(fake_quantize(zeros, best_params(zeros)), zeros)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    values = normal(4, 4)
    values[2, 1] = bad
    with pytest.raises(ExportError, match="not finite"):
        best_params(values)


@pytest.mark.parametrize("zero_point", [0, 77, 255])
def test_rounding_is_that_of_onnx_runtime(zero_point: int) -> None:
    how = QuantParams(scale=0.25, zero_point=zero_point)
    values = np.concatenate([normal(1000) * 30, np.arange(-80, 80, 0.125, np.float32)])
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero_point"], ["bytes"]),
        helper.make_node("DequantizeLinear", ["bytes", "scale", "zero_point"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(np.float32(how.scale), "scale"),
        numpy_helper.from_array(np.uint8(how.zero_point), "zero_point"),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy")
    graph = helper.make_graph(nodes, "test", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (expected,) = session.run(None, {"x": values.astype(np.float32)})
    np.testing.assert_array_equal(fake_quantize(values.astype(np.float32), how), expected)


def in_order(rows: torch.Tensor) -> Floats:
    array = rows.numpy()
    return array[np.lexsort(array.T)]


@torch.no_grad()
@pytest.mark.parametrize("which", ["tiny", "pre"])
def test_the_rows_are_what_the_products_read(
    which: str, tiny_model: Transformer, pre_model: Transformer
) -> None:
    model = {"tiny": tiny_model, "pre": pre_model}[which]
    source = [5, 9, 14, 30, 8]
    source_ids = torch.tensor([source])
    inputs = layer_inputs(model, [source])
    assert list(inputs) == [product.name for product in linear_layers(model)]

    memory, bias = model.encode(source_ids)
    target = model.greedy(source_ids, 100)[0]
    target_ids = torch.tensor([[model.config.bos_id, *target]])
    embedded = model.source_embeddings(source_ids)
    expected = {
        "encoder/layers.0.query_key_value": model.encoder_layers[0].self_attention_residual.before(
            embedded
        ),
        "encoder/cross": memory,
        "decoder/layers.0.query_key_value": model.decoder_layers[0].self_attention_residual.before(
            model.target_embeddings(target_ids)
        ),
        "decoder/model.projection": model.decode(target_ids, memory, bias),
    }
    for name, tensor in expected.items():
        np.testing.assert_allclose(in_order(inputs[name]), in_order(tensor[0]), atol=1e-5)
    for rows in (inputs["encoder/layers.0.layer.feed_forward.outer"],
                 inputs["decoder/layers.1.layer.feed_forward.outer"]):  # fmt: skip
        assert rows.min() == 0  # what ReLU puts out
        assert rows.shape[1] == model.config.d_ff


def test_rows_are_sampled_from_all_sentences(
    tiny_model: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "ROWS", 20)
    sources = [[5 + i] * 8 for i in range(10)]
    rows = layer_inputs(tiny_model, sources)["encoder/layers.0.query_key_value"]
    tokens = tiny_model.source_embeddings.tokens.weight[5:15] * tiny_model.source_embeddings.scale
    # A position adds at most 1 to a coordinate: the token that a row comes from is the nearest.
    nearest = torch.cdist(rows, tokens.detach()).argmin(dim=1)
    assert nearest.tolist() == [i for i in range(10) for _ in range(2)]
    alone = layer_inputs(tiny_model, [[9, 9, 9], [7, 7]])["encoder/cross"]
    assert len(alone) == 5  # no padding, although the sentences differ in length


def test_ranges_fit_the_values(tiny_model: Transformer) -> None:
    sources = random_sources(tiny_model.config)
    ranges, inputs = activation_params(tiny_model, sources), layer_inputs(tiny_model, sources)
    assert set(ranges) == set(inputs)
    for name, rows in inputs.items():
        error = fake_quantize(rows.numpy(), ranges[name]) - rows.numpy()
        assert np.sqrt(np.mean(error**2)) < 0.02 * rows.std()


def test_no_sentences_are_an_error(tiny_model: Transformer) -> None:
    with pytest.raises(ExportError, match="no sentences to calibrate on"):
        activation_params(tiny_model, [])


@pytest.mark.parametrize("which", ["tiny", "pre"])
def test_products_are_those_of_the_graphs(
    which: str,
    tiny_model: Transformer,
    tiny_graphs: Graphs,
    pre_model: Transformer,
    pre_graphs: Graphs,
) -> None:
    model, graphs = {"tiny": (tiny_model, tiny_graphs), "pre": (pre_model, pre_graphs)}[which]
    products = {product.name: product for product in linear_layers(model)}
    query_scale = (model.config.d_model // model.config.num_heads) ** -0.5
    for part, graph in graphs:
        expected = in_graph(part, products)
        weights = {tensor.name: tensor for tensor in graph.graph.initializer}
        used = {
            node.input[1]: dict((a.name, a.i) for a in node.attribute)
            for node in graph.graph.node
            if node.op_type in ("Gemm", "MatMul") and node.input[1] in weights
        }
        assert set(used) == set(expected)
        for name, attributes in used.items():
            rows = numpy_helper.to_array(weights[name])
            rows = rows if attributes.get("transB") else rows.T
            plain = pack(*expected[name].linears).weight.detach().numpy()
            ratios = (rows * plain).sum(axis=1) / np.square(plain).sum(axis=1)
            assert np.all(np.isclose(ratios, 1) | np.isclose(ratios, query_scale))
            np.testing.assert_allclose(rows, plain * ratios[:, None], atol=1e-6)


def test_random_sources_are_tokens(tiny_model: Transformer) -> None:
    sources = random_sources(tiny_model.config)
    ids = {i for source in sources for i in source}
    assert len(ids) > 20
    assert min(ids) >= 4
    assert max(ids) < tiny_model.config.source_vocab_size
