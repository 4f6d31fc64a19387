"""Graphs written as Python: names, shared constants, inserted graphs, loops."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tfm.export.graphs.builder import GraphBuilder

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
OPSET = [helper.make_opsetid("", 20)]


def value(name: str, kind: int, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def run(model: onnx.ModelProto, **inputs: Any) -> list[Any]:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, inputs))


def all_names(graph: onnx.GraphProto) -> list[str]:
    """Names of all nodes and of all that they put out, bodies included."""
    names = []
    for node in graph.node:
        names += [f"node {node.name}", *node.output]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                names += all_names(attribute.g)
    return names


def summing(b: GraphBuilder) -> dict[str, str]:
    """Adds 0 + 1 + 2 ... until the sum reaches `limit` or the trips are over; keeps each sum."""

    def body(inner: GraphBuilder, s: dict[str, str], _: str) -> tuple[str, dict[str, str]]:
        total = inner.Add(s["total"], s["number"])
        go_on = inner.Less(total, "limit")  # of the graph around it
        return go_on, {
            "number": inner.Add(s["number"], inner.int64([1])),
            "total": total,
            "all": inner.Concat(s["all"], total, axis=0),
            "same": s["same"],
        }

    return b.loop(
        b.int64([10]),
        b.constant([True], np.bool_),
        {
            "number": b.int64([0]),
            "total": b.int64([0]),
            "all": b.Slice(b.int64([0]), b.int64([0]), b.int64([0])),
            "same": "limit",
        },
        body,
        {
            "number": (INT64, [1]),
            "total": (INT64, [1]),
            "all": (INT64, ["T"]),
            "same": (INT64, [1]),
        },
    )


def sum_model(loops: int = 1) -> onnx.ModelProto:
    b = GraphBuilder()
    finals = [summing(b) for _ in range(loops)]
    return b.model(
        "sum",
        [value("limit", INT64, [1])],
        {
            "total": (finals[-1]["total"], INT64, [1]),
            "all": (finals[-1]["all"], INT64, ["T"]),
            "same": (finals[-1]["same"], INT64, [1]),
        },
        OPSET,
        10,
    )


@pytest.mark.parametrize(("limit", "sums"), [(0, [0]), (6, [0, 1, 3, 6]), (7, [0, 1, 3, 6, 10])])
def test_a_loop_that_sums(limit: int, sums: list[int]) -> None:
    total, every, same = run(sum_model(), limit=np.array([limit]))
    assert (total.tolist(), every.tolist(), same.tolist()) == ([sums[-1]], sums, [limit])


def test_a_loop_ends_after_its_trips() -> None:
    (total, every, _) = run(sum_model(), limit=np.array([10**6]))
    assert (total.tolist(), len(every)) == ([sum(range(10))], 10)


def branching() -> onnx.ModelProto:
    """x + 1 and x where x is positive; else x - 1 and -x, with one output twice."""
    b = GraphBuilder()
    positive = b.Greater("x", b.float32([0]))
    found = b.branch(
        positive,
        lambda then: {"near": then.Add("x", b.float32(1)), "far": "x"},
        lambda other: dict.fromkeys(("near", "far"), other.Neg("x")),
        {"near": (FLOAT, [1]), "far": (FLOAT, [1])},
    )
    outputs = {name: (tensor, FLOAT, [1]) for name, tensor in found.items()}
    return b.model("branching", [value("x", FLOAT, [1])], outputs, OPSET, 10)


@pytest.mark.parametrize(("x", "near", "far"), [(2.0, 3.0, 2.0), (-5.0, 5.0, 5.0)])
def test_a_branch(x: float, near: float, far: float) -> None:
    found = run(branching(), x=np.array([x], np.float32))
    assert [one.tolist() for one in found] == [[near], [far]]


def test_branches_give_the_same() -> None:
    b = GraphBuilder()
    with pytest.raises(ValueError, match="the branches give"):
        b.branch("x", lambda _: {"a": "x"}, lambda _: {"b": "x"}, {"a": (FLOAT, [1])})


def test_names_are_unique_over_all_bodies() -> None:
    for model in (sum_model(loops=2), branching()):
        names = [*all_names(model.graph), *(tensor.name for tensor in model.graph.initializer)]
        assert len(names) == len(set(names))
    run(sum_model(loops=2), limit=np.array([3]))


def test_equal_constants_share_an_initializer() -> None:
    b = GraphBuilder()
    one = b.int64([1])
    assert b.int64([1]) == one
    others = [b.int64(1), b.int64([[1]]), b.float32([1]), b.int64([1, 1]), b.int64([11])]
    assert len({one, *others}) == len(b.initializers) == 6
    assert numpy_helper.to_array(b.initializers[one]).tolist() == [1]
    assert len({b.int64(range(100)), b.int64(range(100)), b.int64(range(1, 101))}) == 2
    assert max(map(len, b.initializers)) < 60
    with pytest.raises(AttributeError):
        b.no_operator  # noqa: B018


def scale_and_shift() -> onnx.GraphProto:
    """x * 3 + shift, with an unnamed node and an optional input left out."""
    nodes = [
        helper.make_node("Mul", ["x", "three"], ["h"], name="multiply"),
        helper.make_node("Clip", ["h", "", "most"], ["c"]),
        helper.make_node("Add", ["c", "shift"], ["y"], name="add"),
    ]
    constants = [
        numpy_helper.from_array(np.float32(3), "three"),
        numpy_helper.from_array(np.float32(100), "most"),
    ]
    inputs = [value("x", FLOAT, ["N"]), value("shift", FLOAT, ["N"])]
    return helper.make_graph(nodes, "scale", inputs, [value("y", FLOAT, ["N"])], constants)


def test_a_graph_inserted_twice() -> None:
    graph = scale_and_shift()
    before = graph.SerializeToString()
    b = GraphBuilder()
    (first,) = b.insert(graph, "a/", {"x": "x", "shift": "x"}, ["y"])
    middle, second = b.insert(graph, "b/", {"x": first, "shift": "x"}, ["h", "y"])
    model = b.model(
        "twice",
        [value("x", FLOAT, ["N"])],
        {"middle": (middle, FLOAT, ["N"]), "last": (second, FLOAT, ["N"])},
        OPSET,
        10,
    )
    assert graph.SerializeToString() == before
    assert (first, second) == ("a/y", "b/y")
    names = [*all_names(model.graph), *b.initializers]
    assert len(names) == len(set(names))
    assert set(b.initializers) == {"a/three", "a/most", "b/three", "b/most"}
    found = run(model, x=np.array([1, 2, 30], np.float32))
    # First 4 x; then three times that, and at most 100 of it and x.
    assert [one.tolist() for one in found] == [[12, 24, 360], [13, 26, 130]]


def test_a_graph_inserted_in_a_loop_keeps_its_weights_outside() -> None:
    b = GraphBuilder()

    def body(inner: GraphBuilder, s: dict[str, str], _: str) -> tuple[str, dict[str, str]]:
        (y,) = inner.insert(scale_and_shift(), "in/", {"x": s["x"], "shift": s["x"]}, ["y"])
        return inner.Identity(b.constant([True], np.bool_)), {"x": y}

    final = b.loop(
        b.int64([2]), b.constant([True], np.bool_), {"x": "x"}, body, {"x": (FLOAT, ["N"])}
    )
    model = b.model(
        "loop", [value("x", FLOAT, ["N"])], {"y": (final["x"], FLOAT, ["N"])}, OPSET, 10
    )
    assert {"in/three", "in/most"} < {tensor.name for tensor in model.graph.initializer}
    (loop,) = [node for node in model.graph.node if node.op_type == "Loop"]
    assert not any(attribute.g.initializer for attribute in loop.attribute)
    assert run(model, x=np.array([1, 2], np.float32))[0].tolist() == [16, 32]


def test_size_and_several_outputs() -> None:
    b = GraphBuilder()
    values, indices = b.TopK("x", b.int64([2]), outputs=2, axis=1)
    model = b.model(
        "best",
        [value("x", FLOAT, ["N", "M"])],
        {
            "values": (values, FLOAT, ["N", 2]),
            "indices": (indices, INT64, ["N", 2]),
            "width": (b.size("x", 1), INT64, [1]),
        },
        OPSET,
        10,
    )
    assert [output.name for output in model.graph.output] == ["values", "indices", "width"]
    found = run(model, x=np.array([[3, 1, 4], [1, 5, 9]], np.float32))
    assert [one.tolist() for one in found] == [[[4, 3], [9, 5]], [[2, 0], [2, 1]], [3]]
