"""Models in ONNX Runtime's own format say what the model folder says."""

import json
import logging
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers.numerals import chinese

from tfm.runtime import ModelError, Translator
from tfm.runtime.ort_format import with_required_inputs, write_ort_folder

SENTENCES = [chinese(number) for number in (0, 7, 3052, 9999, 410, 1200, 86)]
OPTIONS = [
    {"beam_size": 1},
    {"beam_size": 4, "num_hypotheses": 3},
    {"beam_size": 3, "length_penalty": 0.2, "max_length": 5},
    {"beam_size": 2, "suppress_ids": (7, 9), "repetition_penalty": 1.3, "min_length": 4},
]


@pytest.fixture(scope="module")
def ort_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ort")
    write_ort_folder(tiny_folder, folder, variant="fp32")
    return folder


def changed_copy(folder: Path, copy: Path, **decoding: object) -> Path:
    """The model folder with other decoding options, its files being links."""
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).symlink_to(path)
    (copy / "config.json").unlink()
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["decoding"].update(decoding)
    (copy / "config.json").write_text(json.dumps(config), "utf-8")
    return copy


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_ids_and_scores_are_those_of_the_model_folder(
    tiny_folder: Path, ort_folder: Path, options: dict
) -> None:
    translator = Translator(tiny_folder, variant="fp32", intra_threads=1)
    sources = translator.tokenizer.encode(SENTENCES)
    session = onnxruntime.InferenceSession(ort_folder / "translate.ort")
    inputs = json.loads((ort_folder / "model.json").read_text("utf-8"))["inputs"]
    for source in sources:
        (expected,) = translator.translate_ids([source], **options)
        feeds = {"source_ids": np.array([source])}
        for name, fact in inputs.items():
            type_ = np.int64 if fact["type"] == "int64" else np.float32
            feeds[name] = np.array(options.get(name, fact["value"]), type_)
        ids, lengths, scores = session.run(None, feeds)
        found = [row[:length] for row, length in zip(ids[0].tolist(), lengths[0], strict=True)]
        count = len(expected)
        assert found[:count] == [list(hypothesis.ids) for hypothesis in expected]
        assert scores[0, :count] == pytest.approx([h.score for h in expected], abs=1e-4)


def test_hosts_that_feed_no_optional_inputs_can_set_every_option(ort_folder: Path) -> None:
    session = onnxruntime.InferenceSession(ort_folder / "translate.ort")
    inputs = json.loads((ort_folder / "model.json").read_text("utf-8"))["inputs"]
    assert {value.name for value in session.get_inputs()} == {"source_ids", *inputs}
    assert [value.name for value in session.get_overridable_initializers()] == ["target_prefix"]
    assert {"beam_size", "num_hypotheses", "max_length"} <= inputs.keys()


def test_the_score_graph_is_there(ort_folder: Path) -> None:
    session = onnxruntime.InferenceSession(ort_folder / "score.ort")
    assert "cross_attention" in {value.name for value in session.get_outputs()}


def operators_of(path: Path) -> set[str]:
    """Of a graph, its loops and branches, as the package onnx reads them."""

    def names(graph: onnx.GraphProto) -> set[str]:
        found = {node.op_type for node in graph.node}
        bodies = (a.g for node in graph.node for a in node.attribute if a.HasField("g"))
        return found.union(*map(names, bodies))

    return names(onnx.load(path, load_external_data=False).graph)


def test_operators_of_a_reduced_build(tiny_folder: Path, ort_folder: Path) -> None:
    text = (ort_folder / "required_operators_and_types.config").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    domains = {line.split(";")[0] for line in lines}
    assert domains == {"ai.onnx"}  # of float32 graphs
    listed = set(re.findall(r"\b[A-Z]\w+", re.sub(r"\{.*?\}\}", "", ";".join(lines))))
    used = operators_of(tiny_folder / "fp32" / "translate.onnx")
    used |= operators_of(tiny_folder / "fp32" / "score.onnx")
    assert listed <= used
    assert {"Loop", "If", "TopK", "Gather", "LayerNormalization", "Attention"} <= listed
    assert str(ort_folder) not in text


def test_logging_stays_as_it_was(tiny_folder: Path, tmp_path: Path) -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers), logging.root.manager.disable)
    write_ort_folder(tiny_folder, tmp_path, variant="fp32")
    assert (root.level, root.handlers, logging.root.manager.disable) == before


def test_values_in_config_json_count(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    folder = changed_copy(tiny_folder, tmp_path / "folder", beam_size=2, length_penalty=0.5)
    facts = write_ort_folder(folder, tmp_path / "out", variant="fp32")
    assert facts["inputs"]["beam_size"]["value"] == 2
    assert facts["inputs"]["length_penalty"]["value"] == 0.5


@pytest.mark.parametrize(
    ("decoding", "reason"),
    [
        ({"temperature": 0.5}, "cannot be written as .ort: .*does not support temperature"),
        ({"target_prefix": "one"}, "cannot be written as .ort: decoding.target_prefix is 'one'"),
    ],
)
def test_what_takes_more_than_the_graph(
    tiny_folder: Path, tmp_path: Path, decoding: dict, reason: str
) -> None:
    folder = changed_copy(tiny_folder, tmp_path / "folder", **decoding)
    with pytest.raises(ModelError, match=reason):
        write_ort_folder(folder, tmp_path)


def test_several_languages(tiny_folder: Path, tmp_path: Path) -> None:
    folder = changed_copy(tiny_folder, tmp_path / "folder")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["languages"].update(language_token="source", target="en", language_ids={"en": 20})
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(ModelError, match="has several languages"):
        write_ort_folder(folder, tmp_path)


@pytest.mark.parametrize("damaged", [b"\x3a\xff", b"\x0f", b"\x3a\x02\x2a\xff", b"\xff" * 5])
def test_a_graph_that_is_none(damaged: bytes) -> None:
    with pytest.raises(ModelError, match="the graph is damaged"):
        with_required_inputs(damaged, ["beam_size"])


def test_nothing_else_of_a_graph_changes(tiny_folder: Path) -> None:
    graph = (tiny_folder / "fp32" / "translate.onnx").read_bytes()
    assert with_required_inputs(graph, []) == graph
    assert len(with_required_inputs(graph, ["beam_size", "nothing"])) < len(graph)
