"""ONNX Runtime packs the weights of translate.onnx and greedy.onnx once, when it loads them.

Its profile lists the inputs of every operator that ran. A packed weight is none any more; one that
is packed anew at every step is.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tfm.export.graphs.trace import Graphs
from tfm.export.model_folder import write_model_folder
from tfm.runtime.config import ModelConfig
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.model import Transformer

PRODUCTS = {
    *("FusedGemm", "FusedMatMul", "Gemm", "MatMul"),
    *("MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits"),
}
STEPS = 5


@pytest.fixture(scope="module")
def folder(
    tiny_model: Transformer,
    tiny_vocabulary: Vocabulary,
    tiny_graphs: Graphs,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A model whose target embedding is also its projection to the vocabulary."""
    folder = tmp_path_factory.mktemp("packed")
    variants = ("fp32", "int8", "int4")
    write_model_folder(tiny_model, tiny_vocabulary, tiny_graphs, folder, variants, "tiny")
    return folder


def products(path: Path, beam_size: int, profile: Path) -> Iterator[tuple[str, list[list[int]]]]:
    """Operator and shapes of the inputs, for every product that a translation computed."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_profiling = True
    options.profile_file_prefix = str(profile)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feeds = {"source_ids": np.array([[5, 6, 7, 3]]), "max_length": np.array(STEPS)}
    if path.stem == "translate":
        feeds |= {"beam_size": np.array(beam_size), "min_length": np.array(STEPS)}
    session.run(None, feeds)
    for event in json.loads(Path(session.end_profiling()).read_text("utf-8")):
        arguments = event.get("args", {})
        if arguments.get("op_name") in PRODUCTS and event["name"].endswith("_kernel_time"):
            inputs = arguments["input_type_shape"]
            yield arguments["op_name"], [shape for t in inputs for shape in t.values()]


@pytest.mark.parametrize(("name", "beam_size"), [("translate", 1), ("translate", 4), ("greedy", 1)])
@pytest.mark.parametrize("variant", ["int8", "int4", "fp32"])
def test_no_product_is_given_its_weight(
    folder: Path, tiny_model: Transformer, tmp_path: Path, variant: str, name: str, beam_size: int
) -> None:
    graph = folder / getattr(ModelConfig.load(folder).variants[variant], name).path
    d_model = tiny_model.config.d_model
    smallest = d_model * d_model // (2 if variant == "int4" else 1)  # two weights in a byte
    found = list(products(graph, beam_size, tmp_path / "profile"))
    # Of each layer: queries with keys and values, two outputs, cross queries, two feed-forward.
    steps = STEPS if name == "translate" else 1  # a greedy search may end before
    assert len(found) >= steps * (6 * tiny_model.config.decoder_layers + 1)
    # In float32 the embedding reads the same tensor as the projection: packed, it is kept as well.
    kept = [tiny_model.config.target_vocab_size, d_model] if variant == "fp32" else None
    given = {
        (product, *map(tuple, shapes))
        for product, shapes in found
        if any(math.prod(shape) >= smallest and shape != kept for shape in shapes)
    }
    assert given == set()
