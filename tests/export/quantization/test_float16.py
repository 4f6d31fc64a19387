"""fp16: close to float32, in half the bytes, with the search and the softmax in float32."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers.models import tfm
from helpers.numerals import chinese
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tfm.export.graphs.trace import Graphs
from tfm.export.quantization.float16 import LARGEST, to_float16
from tfm.export.quantization.variants import open_to_check
from tfm.runtime import ModelError, Translator
from tfm.trainer.model import Transformer

FLOAT, FLOAT16, INT64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64


def types(values: Any) -> dict[str, int]:
    return {value.name: value.type.tensor_type.elem_type for value in values}


def test_only_what_stays_on_the_device_is_half(tiny_graphs: Graphs) -> None:
    for _, graph in tiny_graphs:
        before = graph.SerializeToString()
        half = to_float16(graph)
        assert graph.SerializeToString() == before
        onnx.checker.check_model(half, full_check=True)
        for name, kind in {**types(half.graph.input), **types(half.graph.output)}.items():
            carried = name.startswith(("past_", "present_", "cross_"))
            integer = name in ("source_ids", "target_ids")
            assert kind == (FLOAT16 if carried else INT64 if integer else FLOAT), name
        matrices = [t for t in half.graph.initializer if len(t.dims) == 2 and t.data_type != INT64]
        assert matrices
        assert {t.data_type for t in matrices} == {FLOAT16}


def step(model: Transformer, half: bool, graphs: Graphs) -> list[dict[str, NDArray[Any]]]:
    """The encoder's outputs, and those of a first step of two beams and of a greedy one."""
    kind = np.float16 if half else np.float32
    config = model.config
    ids = np.random.default_rng(0).integers(4, config.source_vocab_size, (3, 9))
    ids[1, 5:] = config.pad_id
    found = []
    memory: dict[str, NDArray[Any]] = {"source_ids": ids}
    for beams, (_, graph) in zip((2, 2, 1), graphs, strict=True):
        session = onnxruntime.InferenceSession(
            (to_float16(graph) if half else graph).SerializeToString(),
            providers=["CPUExecutionProvider"],
        )
        names = [output.name for output in session.get_outputs()]
        feeds = {value.name: memory[value.name] for value in session.get_inputs()}
        if beams == 1:
            feeds["source_bias"] = feeds["source_bias"][:, :, :1]
            feeds["target_ids"] = feeds["target_ids"][:, :1]
        found.append(dict(zip(names, session.run(None, feeds), strict=True)))
        heads = (3, config.num_heads, 0, config.d_model // config.num_heads)
        memory = {
            **found[0],
            "source_bias": np.repeat(found[0]["source_bias"], 2, axis=2),
            "target_ids": np.array([[5, 6]] * 3),
            "position_encoding": np.ones((1, config.d_model), np.float32),
            "ancestry": np.tile(
                np.where(np.eye(2, dtype=bool), 0, -np.inf).astype(np.float32), (3, 1, 1, 1)
            ),
            **{f"past_{what}.{i}": np.zeros(heads, kind) for i in range(config.decoder_layers)
               for what in ("key", "value")},
        }  # fmt: skip
    return found


def test_every_output_is_close_to_float32(tiny_model: Transformer, tiny_graphs: Graphs) -> None:
    expected, found = (step(tiny_model, half, tiny_graphs) for half in (False, True))
    for ours, theirs in zip(found, expected, strict=True):
        assert list(ours) == list(theirs)
        for name, values in theirs.items():
            np.testing.assert_allclose(ours[name], values, atol=0.03, rtol=0.01, err_msg=name)
    assert found[1]["logits"].dtype == np.float32
    assert not np.array_equal(found[1]["logits"], expected[1]["logits"])


def test_weights_beyond_float16_are_clipped_and_infinity_stays() -> None:
    weight = np.array([[1e6, 1.0], [-1e6, -np.inf]], np.float32)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "test",
        [value("x", FLOAT, ["N", 2])],
        [value("y", FLOAT, ["N", 2])],
        [numpy_helper.from_array(weight, "w")],
    )
    half = to_float16(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)]))
    (stored,) = half.graph.initializer
    expected = [[LARGEST, 1.0], [-LARGEST, -np.inf]]
    assert numpy_helper.to_array(stored).tolist() == expected


@pytest.fixture(scope="module")
def toy_half(toy_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("half") / "model"
    printed = tfm("export", str(toy_checkpoint), str(folder), "--variant", "fp16")
    assert "fp16" in printed.stdout
    return folder


def test_it_says_what_the_model_says(toy_half: Path, toy_model: Path) -> None:
    """Both ways, the step path with its cache in half precision and the graph that searches."""
    half, full = open_to_check(toy_half, "fp16"), open_to_check(toy_model, "fp32")
    sentences = [chinese(number) for number in range(7, 100_000, 1711)]
    found = [one.text for one in half.translate_batch(sentences)]
    expected = [one.text for one in full.translate_batch(sentences)]
    same = sum(a == b for a, b in zip(found, expected, strict=True))
    assert same >= 0.97 * len(sentences)
    steps = Translator.from_sessions(half.folder, half.config, half.sessions, by_steps=True)
    assert [one.text for one in steps.translate_batch(sentences)] == found
    size = (toy_half / "fp16" / "weights.bin").stat().st_size
    assert size < 0.53 * (toy_model / "fp32" / "weights.bin").stat().st_size


def test_a_cpu_refuses_it_in_one_line(toy_half: Path) -> None:
    with pytest.raises(ModelError, match="device 'cpu': this model has fp16, `tfm export"):
        Translator(toy_half, device="cpu")


def test_evaluate_scores_it_without_cuda(toy_half: Path, tmp_path: Path) -> None:
    test = tmp_path / "test.tsv"
    test.write_text("".join(f"{chinese(n)}\tx\ttoy\n" for n in (5, 60, 700)), "utf-8")
    assert "fp16 BLEU" in tfm("evaluate", str(test), "-m", str(toy_half)).stdout


@pytest.mark.skipif(
    "CUDAExecutionProvider" not in onnxruntime.get_available_providers(),
    reason="onnxruntime has no CUDA here",
)
@pytest.mark.parametrize("variant", ["fp16", "fp32"])
def test_cuda_says_what_the_cpu_says(toy_checkpoint: Path, tmp_path: Path, variant: str) -> None:
    folder = tmp_path / "model"
    tfm("export", str(toy_checkpoint), str(folder), "--variant", variant)
    sentences = [chinese(number) for number in range(7, 100_000, 1711)]
    found = Translator(folder, device="cuda").translate_batch(sentences)
    expected = open_to_check(folder, variant).translate_batch(sentences)
    same = sum(a.text == b.text for a, b in zip(found, expected, strict=True))
    assert same >= 0.97 * len(sentences)
