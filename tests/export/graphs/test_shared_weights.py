"""The shared weights file: each weight once, and graphs that still load."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tfm.export.graphs.shared_weights import ALIGNMENT, INLINE_BELOW, save_shared
from tfm.trainer.model import Transformer


def random(*shape: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def chain(*weights: onnx.TensorProto) -> onnx.ModelProto:
    """x @ the first weight @ the second ..."""
    names = ["x", *(f"h{i}" for i in range(1, len(weights))), "y"]
    nodes = [
        helper.make_node("MatMul", [names[i], weight.name], [names[i + 1]])
        for i, weight in enumerate(weights)
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", weights[0].dims[0]])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", weights[-1].dims[1]])
    graph = helper.make_graph(nodes, "chain", [x], [y], list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def external(path: Path) -> dict[str, tuple[str, int, int]]:
    """Location, offset and length of the tensors that lie outside a graph."""
    model = onnx.load(path, load_external_data=False)
    return {
        tensor.name: (entry["location"], int(entry["offset"]), int(entry["length"]))
        for tensor in model.graph.initializer
        if (entry := {pair.key: pair.value for pair in tensor.external_data})
    }


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_equal_bytes_are_stored_once(tmp_path: Path) -> None:
    shared, own, small = random(30, 30, seed=0), random(30, 31, seed=1), random(31, 5, seed=2)
    assert own.nbytes > INLINE_BELOW > small.nbytes
    # The same weight in another field of the message, as converters also write it.
    as_floats = helper.make_tensor("b", TensorProto.FLOAT, shared.shape, shared.ravel())
    first = chain(numpy_helper.from_array(shared, "a"), as_floats)
    second = chain(
        numpy_helper.from_array(shared, "c"),
        numpy_helper.from_array(own, "own"),
        numpy_helper.from_array(small, "small"),
    )
    before = [first.SerializeToString(), second.SerializeToString()]
    paths = [tmp_path / "first.onnx", tmp_path / "second.onnx"]
    save_shared(list(zip(paths, (first, second), strict=True)), tmp_path / "weights.bin")

    assert [first.SerializeToString(), second.SerializeToString()] == before
    places = external(paths[0]) | external(paths[1])
    assert set(places) == {"a", "b", "c", "own"}
    assert places["a"] == places["b"] == places["c"] == ("weights.bin", 0, shared.nbytes)
    padded = -(-shared.nbytes // ALIGNMENT) * ALIGNMENT
    assert places["own"] == ("weights.bin", padded, own.nbytes)
    assert (tmp_path / "weights.bin").stat().st_size == padded + own.nbytes
    for path in paths:
        onnx.checker.check_model(path, full_check=True)
        assert path.stat().st_size < 1500
    x = random(2, 30, seed=3)
    for path, expected in zip(paths, (x @ shared @ shared, x @ shared @ own @ small), strict=True):
        (found,) = session(path).run(None, {"x": x})
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_a_model_folder_loads_and_is_as_small_as_its_weights(
    tiny_folder: Path, tiny_model: Transformer, variant: str
) -> None:
    folder = tiny_folder / variant
    places = {}
    for part in ("encoder", "decoder", "translate"):
        onnx.checker.check_model(folder / f"{part}.onnx")
        session(folder / f"{part}.onnx")
        places[part] = external(folder / f"{part}.onnx")
        assert places[part]
    entries = {place for part in places.values() for place in part.values()}
    assert {location for location, _, _ in entries} == {"weights.bin"}
    assert all(offset % ALIGNMENT == 0 for _, offset, _ in entries)
    end = 0
    for _, offset, length in sorted(entries):
        assert offset >= end
        end = offset + length
    size = (folder / "weights.bin").stat().st_size
    assert size == end

    parameters = sum(p.numel() for p in tiny_model.parameters())
    if variant == "fp32":
        assert size <= 4 * parameters * 1.02
    else:
        assert size <= 1.3 * parameters  # a byte, and a scale of four for every 32 at d_model 32
