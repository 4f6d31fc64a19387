"""Passes leave what a graph computes as it is."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tfm.export.graphs.builder import GraphBuilder
from tfm.export.graphs.passes import (
    bodies_of,
    drop_clipped_relu,
    hoist_invariants,
    move_constants_inward,
)

FLOAT, UINT8, INT8 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT8


def run(model: onnx.ModelProto, x: Any) -> list[Any]:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, {session.get_inputs()[0].name: x}))


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def model_of(
    nodes: list[onnx.NodeProto], outputs: dict[str, int], **constants: Any
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", FLOAT, ["N"])],
        [helper.make_tensor_value_info(name, kind, ["N"]) for name, kind in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def quantize(name: str, x: str = "relu", zero_point: str = "zero") -> onnx.NodeProto:
    return helper.make_node("QuantizeLinear", [x, "scale", zero_point], [name])


RELU = helper.make_node("Relu", ["x"], ["relu"])
COPY = helper.make_node("Identity", ["relu"], ["copy"])


@pytest.mark.parametrize(
    ("nodes", "outputs", "dropped"),
    [
        ([RELU, quantize("y")], {"y": UINT8}, True),
        ([RELU, quantize("y"), quantize("z")], {"y": UINT8, "z": UINT8}, True),
        ([RELU, quantize("y", zero_point="three")], {"y": UINT8}, False),
        ([RELU, quantize("y"), quantize("z", zero_point="three")],
         {"y": UINT8, "z": UINT8}, False),
        ([RELU, quantize("y", zero_point="signed")], {"y": INT8}, False),
        ([RELU, quantize("y"), COPY], {"y": UINT8, "copy": FLOAT}, False),
        ([RELU, quantize("y")], {"y": UINT8, "relu": FLOAT}, False),
    ],
    ids=["one reader", "two readers", "zero point 3", "one of two zero points 3",
         "signed bytes", "another reader", "an output"],
)  # fmt: skip
def test_a_relu_goes_only_where_quantizing_clips_as_it_does(
    nodes: list[onnx.NodeProto], outputs: dict[str, int], dropped: bool
) -> None:
    constants = {"scale": np.float32(0.1), "zero": np.uint8(0), "three": np.uint8(3)}
    model = model_of(nodes, outputs, **constants, signed=np.int8(0))
    before = model.SerializeToString()
    found = drop_clipped_relu(model)
    assert model.SerializeToString() == before
    assert ("Relu" not in operators(found)) == dropped
    x = np.concatenate([np.linspace(-30, 30, 201), [-0.0, 0.049, 0.051]]).astype(np.float32)
    for one, other in zip(run(found, x), run(model, x), strict=True):
        np.testing.assert_array_equal(one, other)


def test_constants_move_into_the_only_body_that_uses_them() -> None:
    b = GraphBuilder()
    types = {"x": (FLOAT, [2]), "y": (FLOAT, [2])}
    inner, shared, outer = (b.float32([i, i]) for i in (2, 3, 5))

    def body(b: GraphBuilder, state: dict[str, str], _number: str) -> tuple[str, dict[str, str]]:
        grown = b.branch(
            b.Greater(b.ReduceMax(state["x"], keepdims=1), b.float32([100])),
            lambda then: {"x": then.Sub(state["x"], shared)},
            lambda other: {"x": other.Mul(other.Add(state["x"], shared), inner)},
            types,
        )
        return b.Identity(b.constant([True], np.bool_)), grown

    final = b.loop(
        b.int64([6]), b.constant([True], np.bool_), {"x": b.Add("x", outer)}, body, types
    )
    value = helper.make_tensor_value_info
    model = b.model("test", [value("x", FLOAT, [2])], {"y": (final["x"], FLOAT, [2])},
                    [helper.make_opsetid("", 23)], 10)  # fmt: skip
    moved = move_constants_inward(model)
    onnx.checker.check_model(moved, full_check=True)

    (loop,) = bodies_of(moved.graph)
    branches = list(bodies_of(loop))
    names = [{t.name for t in graph.initializer} for graph in (moved.graph, loop, *branches)]
    assert outer in names[0]
    assert shared in names[1]
    assert inner in names[2] | names[3]
    assert sum(map(len, names)) == len(model.graph.initializer)
    x = np.array([1, 30], np.float32)
    results = [
        onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, {"x": x}
        )[0]
        for m in (model, moved)
    ]
    np.testing.assert_array_equal(*results)
    assert results[0].max() > 100


def test_the_default_of_an_optional_input_stays_where_it_is() -> None:
    b = GraphBuilder()
    b.initializers["step"] = numpy_helper.from_array(np.float32([1]), "step")
    types = {"x": (FLOAT, [1])}
    go = b.constant([True], np.bool_)
    final = b.loop(
        b.int64([3]),
        go,
        {"x": "x"},
        lambda body, s, _: (body.Identity(go), {"x": body.Add(s["x"], "step")}),
        types,
    )
    value = helper.make_tensor_value_info
    inputs = [value("x", FLOAT, [1]), value("step", FLOAT, [1])]
    model = b.model("test", inputs, {"y": (final["x"], FLOAT, [1])},
                    [helper.make_opsetid("", 23)], 10)  # fmt: skip
    assert "step" in {t.name for t in move_constants_inward(model).graph.initializer}


def test_what_no_iteration_changes_is_computed_before_the_loop() -> None:
    b = GraphBuilder()

    def body(inner: GraphBuilder, s: dict[str, str], _number: str) -> tuple[str, dict[str, str]]:
        fixed = inner.Mul("x", inner.float32(2))  # of the input: the same in all iterations
        again = inner.Add(fixed, inner.float32(1))
        constant = inner.Neg(inner.float32([1, 2]))  # of constants: packed where it is used
        total = inner.Add(inner.Add(s["total"], again), constant)
        goes_on = inner.Less(inner.ReduceMax(total, keepdims=1), inner.float32([1000]))
        return goes_on, {"total": total}

    trips, go_on = b.int64([3]), b.constant([True], np.bool_)
    final = b.loop(trips, go_on, {"total": "x"}, body, {"total": (TensorProto.FLOAT, [2])})
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    outputs = {"y": (final["total"], TensorProto.FLOAT, [2])}
    model = b.model("loop", [x], outputs, [helper.make_opsetid("", 23)], 10)
    hoisted = hoist_invariants(model)

    (steps,) = bodies_of(hoisted.graph)
    assert [node.op_type for node in steps.node] == ["Neg", "Add", "Add", "ReduceMax", "Less"]
    assert [node.op_type for node in hoisted.graph.node] == ["Mul", "Add", "Loop", "Identity"]
    feeds = {"x": np.array([3, 5], np.float32)}
    results = [
        onnxruntime.InferenceSession(
            graph.SerializeToString(), providers=["CPUExecutionProvider"]
        ).run(None, feeds)[0]
        for graph in (model, hoisted)
    ]
    np.testing.assert_array_equal(results[0], [3 + 3 * (7 - 1), 5 + 3 * (11 - 2)])
    np.testing.assert_array_equal(results[1], results[0])
