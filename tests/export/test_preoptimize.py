"""Graphs that ONNX Runtime has optimized at the export: the same outputs, less to do at loading."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from tfm.export.graphs.passes import bodies_of
from tfm.export.graphs.search import compose
from tfm.export.graphs.shared_weights import INLINE_BELOW, save_shared
from tfm.export.graphs.trace import Graphs
from tfm.export.preoptimize import preoptimize
from tfm.export.quantization.calibrate import activation_params, random_sources
from tfm.export.quantization.variants import make_variant
from tfm.runtime import DecodingOptions
from tfm.trainer.model import Transformer

SOURCES = np.array([[5, 6, 7, 8, 3], [9, 4, 3, 0, 0]])


@pytest.fixture(scope="module", params=["int8", "int4"])
def before_and_after(
    request: pytest.FixtureRequest,
    tiny_model: Transformer,
    tiny_graphs: Graphs,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("preoptimize")
    before, after = folder / "before.onnx", folder / "after.onnx"
    config = tiny_model.config
    ranges = activation_params(tiny_model, random_sources(config))
    variant = make_variant(tiny_graphs, request.param, ranges)
    graph = compose(variant, config, DecodingOptions(beam_size=3), [])
    save_shared([(before, graph)], folder / "weights.bin")
    shutil.copyfile(before, after)
    preoptimize(after)
    assert sorted(path.name for path in folder.iterdir()) == [
        "after.onnx",
        "before.onnx",
        "weights.bin",
    ]
    return before, after


def load(path: Path, severity: int = 4) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = severity
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    "changes", [{}, {"beam_size": 1}, {"num_hypotheses": 2, "repetition_penalty": np.float32(1.5)}]
)
def test_outputs_are_the_same_bits(
    before_and_after: tuple[Path, Path], changes: dict[str, np.generic | int]
) -> None:
    feeds = {
        "source_ids": SOURCES,
        **{name: np.array(value) for name, value in changes.items()},
        "max_length": np.array(20),
    }
    first, second = (load(path).run(None, feeds) for path in before_and_after)
    for expected, found in zip(first, second, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_contract_is_the_same(before_and_after: tuple[Path, Path]) -> None:
    first, second = map(load, before_and_after)
    for side in ("get_inputs", "get_overridable_initializers", "get_outputs"):
        expected, found = (
            {(value.name, value.type, tuple(value.shape)) for value in getattr(session, side)()}
            for session in (first, second)
        )
        assert found == expected
    metadata = [session.get_modelmeta().custom_metadata_map for session in (first, second)]
    assert metadata[0] == metadata[1] != {}


def test_weights_stay_in_their_file(before_and_after: tuple[Path, Path]) -> None:
    def tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
        yield from graph.initializer
        for body in bodies_of(graph):
            yield from tensors(body)

    def external(path: Path) -> set[tuple[tuple[str, str], ...]]:
        found = set()
        for tensor in tensors(onnx.load(path, load_external_data=False).graph):
            place = {entry.key: entry.value for entry in tensor.external_data}
            assert place or len(tensor.raw_data) < INLINE_BELOW
            found.add((place.get("offset"), place.get("length")))
        return found

    first, second = map(external, before_and_after)
    assert second == first
    assert len(first) > 10


def test_less_is_left_to_do(
    before_and_after: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """By the log of ONNX Runtime, which says of each optimization whether it changed anything."""
    changing = []
    for path in before_and_after:
        load(path, severity=0)
        log = capfd.readouterr().err
        assert "modified: 0" in log
        changing.append(set(re.findall(r"GraphTransformer (\w+) modified: 1", log)))
    assert changing[1] <= {"ConstantFolding", "ConstantSharing", "TransposeOptimizer"}
    assert len(changing[0]) >= len(changing[1]) + 3


def test_only_domains_in_use_are_imported(before_and_after: tuple[Path, Path]) -> None:
    for path in before_and_after:
        imports = {entry.domain for entry in onnx.load(path, load_external_data=False).opset_import}
        assert imports == {"", "com.microsoft"}
