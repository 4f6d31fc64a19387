"""compact.onnx: sentences and entries of the cache by index, and nothing else changed."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from tfm.export.graphs.compact_cache import compact_graph
from tfm.export.graphs.trace import Graphs, layer_names
from tfm.trainer.model import Transformer

LAYERS = 2


@pytest.fixture(scope="module")
def graph(tiny_graphs: Graphs, tiny_model: Transformer) -> onnx.ModelProto:
    return compact_graph(tiny_graphs, tiny_model.config)


@pytest.fixture(scope="module")
def session(graph: onnx.ModelProto) -> onnxruntime.InferenceSession:
    onnx.checker.check_model(graph, full_check=True)
    return onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def random_state(
    model: Transformer, batch: int, entries: int, source: int
) -> dict[str, NDArray[Any]]:
    heads = model.config.num_heads
    size = model.config.d_model // heads
    shapes: dict[str, tuple[int, ...]] = {
        name: (batch, heads, entries, size) for name in layer_names("past", LAYERS)
    }
    for layer in range(LAYERS):
        shapes[f"cross_key.{layer}"] = (batch, heads, source, size)
        shapes[f"cross_value.{layer}"] = (batch, heads, source, size)
    shapes["source_bias"] = (batch, 1, 1, source)
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("kept", "chosen"),
    [
        ([0, 1, 2], [[0, 1, 2, 3, 4]] * 3),
        ([2, 0], [[4, 0, 1], [3, 3, 2]]),
        ([1], [[0]]),
        ([0, 2], [[], []]),
        ([1, 2], [[0, 1, 2, 3, 4, 5, 9], [4, 4, 100, 2, 1, 0, 5]]),
    ],
)
def test_what_is_kept(
    session: onnxruntime.InferenceSession,
    tiny_model: Transformer,
    kept: list[int],
    chosen: list[list[int]],
) -> None:
    state = random_state(tiny_model, batch=3, entries=5, source=7)
    entries = np.array(chosen, np.int64)
    outputs = session.run(None, {"kept": np.array(kept), "chosen": entries, **state})
    found = dict(zip([output.name for output in session.get_outputs()], outputs, strict=True))
    assert set(found) == {f"compact_{name}" for name in state}
    for name, before in state.items():
        expected = before[kept]
        if name.startswith("past"):
            inside = np.minimum(entries, 4)  # what is behind the end is the last one again
            expected = np.stack([one[:, rows] for one, rows in zip(expected, inside, strict=True)])
        np.testing.assert_array_equal(found[f"compact_{name}"], expected)


def test_signature_follows_the_others(graph: onnx.ModelProto, tiny_graphs: Graphs) -> None:
    past = [v for v in tiny_graphs.decoder.graph.input if v.name.startswith("past")]
    first, second, *state = graph.graph.input
    assert [first.name, second.name] == ["kept", "chosen"]
    assert state == [*past, *tiny_graphs.encoder.graph.output]
    outputs = {value.name: value.type.tensor_type for value in graph.graph.output}
    for value in state:
        tensor = outputs[f"compact_{value.name}"]
        assert tensor.elem_type == value.type.tensor_type.elem_type
        assert tensor.shape.dim[0].dim_param == "B'"
    assert outputs["compact_past_key.0"].shape.dim[2].dim_param == "E'"
