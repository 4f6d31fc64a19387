"""Passes leave what a graph computes as it is, or make it exact where it was not."""

import warnings
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from tfm.export.graphs import divide
from tfm.export.passes import divide_integers, drop_clipped_relu

LARGE = np.array([0, 1, 63, 64, 2**24 - 1, 2**24 + 1, 3 * 2**25 - 1, 2**40 + 7])
FLOAT, UINT8, INT8 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT8


def run(model: onnx.ModelProto, x: Any) -> list[Any]:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, {session.get_inputs()[0].name: x}))


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


class Divide(nn.Module):
    def __init__(self, divisor: int) -> None:
        super().__init__()
        self.divisor = divisor

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return divide(x, self.divisor)


@pytest.fixture(scope="module", params=[3, 64])
def division(request: pytest.FixtureRequest) -> tuple[int, onnx.ModelProto]:
    """A division as torch writes it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of its own internals
        program = torch.onnx.export(
            Divide(request.param),
            (torch.zeros(3, dtype=torch.int64),),
            dynamo=True,
            dynamic_shapes=({0: "N"},),
            verbose=False,
        )
    assert program is not None
    return request.param, program.model_proto


def test_integers_are_divided_exactly(division: tuple[int, onnx.ModelProto]) -> None:
    divisor, model = division
    before = model.SerializeToString()
    divided = divide_integers(model)
    assert model.SerializeToString() == before
    assert "Floor" in operators(model)
    assert not {"Floor", "Abs", "Sign", "Cast"} & set(operators(divided))
    used = {name for node in divided.graph.node for name in node.input}
    assert {tensor.name for tensor in divided.graph.initializer} <= used
    quotient, remainder = run(divided, LARGE)
    np.testing.assert_array_equal(quotient, LARGE // divisor)
    np.testing.assert_array_equal(remainder, LARGE % divisor)
    assert not np.array_equal(run(model, LARGE)[0], LARGE // divisor)  # why the pass is there


def test_other_divisions_stay_as_they_are() -> None:
    nodes = [
        helper.make_node("Div", ["x", "two"], ["h"]),
        helper.make_node("Abs", ["h"], ["i"]),
        helper.make_node("Floor", ["i"], ["y"]),
    ]
    model = model_of(nodes, {"y": FLOAT}, two=np.float32(2))
    assert divide_integers(model) == model


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
