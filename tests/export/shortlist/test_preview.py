"""Preview and exact logits in a decoder, against the same rule in numpy."""

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tfm.export.errors import ExportError
from tfm.export.quantization.integers import quantize_int8
from tfm.export.quantization.rounding import QuantParams
from tfm.export.shortlist.output_layer import output_layer
from tfm.export.shortlist.preview import CANDIDATES, fit_preview, with_preview

V, D, RANK = 200, 32, 16
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
GENERATOR = np.random.default_rng(2)
WEIGHT = GENERATOR.standard_normal((V, D)).astype(np.float32)
BIAS = GENERATOR.standard_normal(V).astype(np.float32)
BIAS[5] = -np.inf
# Hidden states are relu(embedding): of few dimensions, with a mean that is not 0.
ROWS = np.maximum(WEIGHT, 0)


def decoder(*, bias: bool = True) -> onnx.ModelProto:
    """From token ids [N] to relu of their embeddings, and logits by the same table."""
    initializers = [numpy_helper.from_array(WEIGHT, "table")]
    initializers += [numpy_helper.from_array(BIAS, "bias")] if bias else []
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["embedding"], name="embedding"),
        helper.make_node("Relu", ["embedding"], ["hidden"], name="hidden"),
        helper.make_node(
            "Gemm", ["hidden", "table", *(["bias"] if bias else [])], ["logits"], transB=1, name="p"
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "decoder",
        [helper.make_tensor_value_info("ids", INT64, ["N"])],
        [helper.make_tensor_value_info("logits", FLOAT, ["N", V])],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)


def logits_of(model: onnx.ModelProto, ids: list[int]) -> NDArray[np.float32]:
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (logits,) = session.run(["logits"], {"ids": np.array(ids, np.int64)})
    return np.asarray(logits)


def previewed(variant: str, *, bias: bool = True) -> onnx.ModelProto:
    model = decoder(bias=bias)
    layer = output_layer(model)
    if variant == "int8":
        model = quantize_int8(model, {"table": QuantParams(0.01, 0)})
    return with_preview(model, layer, fit_preview(layer, ROWS, RANK), ROWS)


@pytest.mark.parametrize(("variant", "tolerance"), [("fp32", 1e-4), ("int8", 0.3)])
@pytest.mark.parametrize("bias", [True, False])
def test_best_of_the_preview_are_exact_and_the_others_as_previewed(
    variant: str, tolerance: float, bias: bool
) -> None:
    ids = [0, 3, 77, 120]
    logits = logits_of(previewed(variant, bias=bias), ids)
    hidden = np.maximum(WEIGHT[ids], 0)
    offsets = BIAS if bias else np.zeros(V, np.float32)
    exact = hidden @ WEIGHT.T + offsets
    possible = np.isfinite(exact)
    error = np.abs(np.where(possible, logits, 0) - np.where(possible, exact, 0))
    # What the preview puts into the first half is surely among the candidates.
    low_rank = fit_preview(output_layer(decoder(bias=bias)), ROWS, RANK).logits(hidden)
    best = np.argsort(-low_rank, axis=1)[:, : CANDIDATES // 2]
    assert (np.take_along_axis(error, best, axis=1) < tolerance).all()
    others = error >= tolerance
    assert others.any()  # the rank is not enough: there is something to compute anew
    np.testing.assert_allclose(logits[others], low_rank[others], atol=0.4)  # in 8 bits
    if bias:
        assert np.isneginf(logits[:, 5]).all()


def test_rows_do_not_depend_on_each_other() -> None:
    model = previewed("int8")
    together = logits_of(model, [9, 8, 150, 4])
    for row, token in enumerate([9, 8, 150, 4]):
        np.testing.assert_array_equal(logits_of(model, [token])[0], together[row])


def test_a_vocabulary_smaller_than_the_candidates_is_all_exact() -> None:
    model = decoder(bias=False)
    small = numpy_helper.from_array(WEIGHT[: CANDIDATES - 3], "table")
    model.graph.initializer[0].CopyFrom(small)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = CANDIDATES - 3
    layer = output_layer(model)
    found = logits_of(with_preview(model, layer, fit_preview(layer, ROWS, 4), ROWS), [1, 2])
    exact = np.maximum(WEIGHT[[1, 2]], 0) @ WEIGHT[: CANDIDATES - 3].T
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-4)


def test_nothing_of_the_full_product_is_left() -> None:
    graph = previewed("int8").graph
    products = [node for node in graph.node if node.op_type == "MatMulIntegerToFloat"]
    assert [node.input[1] for node in products] == ["shortlist.table.int8"]
    assert not any(node.op_type == "Transpose" for node in graph.node)
    used = {name for node in graph.node for name in node.input}
    assert {tensor.name for tensor in graph.initializer} <= used


def test_an_output_layer_that_is_no_table() -> None:
    """Int8 stores its weight in columns, where the shortlist needs rows."""
    model = decoder()
    model.graph.initializer.append(numpy_helper.from_array(WEIGHT, "rows"))
    model.graph.node[2].input[1] = "rows"
    layer = output_layer(model)
    quantized = quantize_int8(model, {"rows": QuantParams(0.01, 0)})
    separate = with_preview(quantized, layer, fit_preview(layer, ROWS, RANK), ROWS)
    ids = [0, 3, 77, 120]
    np.testing.assert_array_equal(logits_of(separate, ids), logits_of(previewed("int8"), ids))


def test_logits_that_no_product_gives_are_refused() -> None:
    model = decoder()
    model.graph.node[2].op_type = "Softplus"
    del model.graph.node[2].input[1:], model.graph.node[2].attribute[:]
    with pytest.raises(ExportError, match="logits come from Softplus"):
        output_layer(model)
