"""The export refuses what verification refuses, and leaves the model folder as it was."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.conversion import save
from helpers.models import random_model, tfm
from helpers.numerals import chinese
from onnx import TensorProto, numpy_helper

from tfm.export import model_folder
from tfm.export.errors import ExportError
from tfm.export.evaluation import verify
from tfm.export.evaluation.verify import Agreement, VariantReport, verify_folder
from tfm.export.graphs.trace import Graphs
from tfm.export.model_folder import export_checkpoint
from tfm.export.quantization import variants
from tfm.export.quantization.tune import Development
from tfm.runtime import ModelError, Translator
from tfm.trainer.checkpoint import MODEL, weights_of, write_config, write_weights
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.model import Transformer

SENTENCES = [chinese(n) for n in (0, 7, 10, 305, 1234, 4006, 7890, 9999)]


@pytest.fixture(scope="module")
def checkpoint(
    tiny_model: Transformer, tiny_vocabulary: Vocabulary, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny_vocabulary.save(folder)
    write_config(folder, tiny_model.config)
    write_weights(folder / MODEL, weights_of(tiny_model))
    return folder


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch, tiny_graphs: Graphs) -> Callable[[Graphs], None]:
    """Converting takes seconds: let it give the graphs there are, or these."""

    def use(graphs: Graphs) -> None:
        monkeypatch.setattr(model_folder, "convert", lambda _model: graphs)

    use(tiny_graphs)
    return use


@pytest.fixture
def existing(tmp_path: Path) -> Path:
    """A model folder that holds something already."""
    folder = tmp_path / "model"
    (folder / "int8").mkdir(parents=True)
    for name in ("config.json", "README.md", "source.spm", "int8/weights.bin"):
        (folder / name).write_text(f"old {name}", "utf-8")
    return folder


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def changed(
    model: onnx.ModelProto, change: Callable[[Any], Any], type_: int = TensorProto.FLOAT
) -> onnx.ModelProto:
    """A copy whose matrices of one type went through `change`."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.data_type == type_ and len(tensor.dims) >= 2:
            array = np.asarray(change(numpy_helper.to_array(tensor)))
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return copy


def noisy(amount: float) -> Callable[[Any], Any]:
    rng = np.random.default_rng(0)
    return lambda a: (a + rng.normal(scale=amount, size=a.shape)).astype(a.dtype)


def export(checkpoint: Path, folder: Path, *variants: str) -> dict[str, VariantReport]:
    return export_checkpoint(checkpoint, folder, variants, SENTENCES, None)


def check_refused(checkpoint: Path, existing: Path, match: str, *variants: str) -> None:
    before = content(existing)
    with pytest.raises(ExportError, match=match) as raised:
        export(checkpoint, existing, *variants)
    assert "\n" not in str(raised.value)
    assert content(existing) == before
    assert [path.name for path in existing.parent.iterdir()] == ["model"]


@pytest.mark.usefixtures("graphs")
def test_a_good_export_replaces_what_was_there(checkpoint: Path, existing: Path) -> None:
    reports = export(checkpoint, existing, "fp32")
    assert reports["fp32"].failures == []
    assert [path.name for path in existing.parent.iterdir()] == ["model"]
    assert (existing / "README.md").read_text("utf-8") == "old README.md"
    assert set(content(existing)) == {
        *("README.md", "config.json", "checkpoint.json", "source.spm", "target.spm", "verify.json"),
        *(f"fp32/{part}.onnx" for part in ("encoder", "decoder", "compact", "translate")),
        *(f"fp32/{part}.onnx" for part in ("greedy", "score")),
        "fp32/weights.bin",
    }
    translator = Translator(existing)
    assert translator.config.name == "model"
    assert translator.choice.variant == "fp32"
    assert (existing / "source.spm").read_bytes() == (checkpoint / "source.spm").read_bytes()


@pytest.mark.usefixtures("graphs")
def test_verify_json(checkpoint: Path, tmp_path: Path, tiny_model: Transformer) -> None:
    reports = export_checkpoint(
        checkpoint, tmp_path / "new", ["fp32"], SENTENCES, ["some words"] * len(SENTENCES)
    )
    proof = json.loads((tmp_path / "new" / "verify.json").read_text("utf-8"))
    assert {"python", "torch", "onnx", "onnxsim", "onnxruntime"} < set(proof["versions"])
    assert proof["variants"] == {"fp32": dataclasses.asdict(reports["fp32"])}
    found = proof["variants"]["fp32"]
    layers = range(tiny_model.config.decoder_layers)
    assert set(found["max_abs_diff"]) == {
        *("source_bias", "candidate_scores", "log_probs"),
        *(f"{kind}_{what}.{i}" for kind in ("cross", "present") for what in ("key", "value")
          for i in layers),
    }  # fmt: skip
    assert all(0 <= difference < 1e-4 for difference in found["max_abs_diff"].values())
    for name in ("greedy", "beam"):
        assert found[name] == {"sentences": len(SENTENCES), "equal": len(SENTENCES), "ties": 0}
    assert found["alone_equals_batched"] == 1
    assert found["chrf_against_torch"] == pytest.approx(100)
    assert found["failures"] == []
    assert "tok:13a" in found["scores"]["bleu_signature"]


@pytest.mark.usefixtures("graphs")
def test_references_that_are_tokens(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    references = ["some words ."] * len(SENTENCES)
    development = Development(SENTENCES, references, tokenize="none")
    folder = tmp_path / "new"
    report = export_checkpoint(
        checkpoint, folder, ["fp32"], SENTENCES, references, development, "none"
    )["fp32"]
    assert report.scores is not None and report.quality is not None
    for scores in (report.scores, report.quality.scores):
        assert "tok:none" in scores.bleu_signature
    assert "detokenize" not in caplog.text  # sacrebleu's warning


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_small_error_in_a_graph_is_found(
    part: str,
    checkpoint: Path,
    existing: Path,
    tiny_graphs: Graphs,
    graphs: Callable[[Graphs], None],
) -> None:
    wrong = changed(getattr(tiny_graphs, part), noisy(0.003))
    graphs(dataclasses.replace(tiny_graphs, **{part: wrong}))
    check_refused(checkpoint, existing, "differs from PyTorch by 0.0", "fp32")


def test_ssru_is_exported_and_verified(
    tiny_vocabulary: Vocabulary, tiny_model: Transformer, tmp_path: Path
) -> None:
    config = {**dataclasses.asdict(tiny_model.config), "decoder_autoregression": "ssru"}
    del config["dropout"]
    model = random_model(seed=9, eos_scale=3.0, **config)
    checkpoint = save(model, tiny_vocabulary, tmp_path / "checkpoint")
    reports = export(checkpoint, tmp_path / "model", "fp32", "int8", "fp16", "int4")
    differences = reports["fp32"].max_abs_diff
    assert {"present_state.0", "present_state.1"} <= differences.keys()
    assert max(differences.values()) < 1e-4
    assert 1e-4 < reports["int8"].max_abs_diff["present_state.1"] < 1
    described = json.loads((tmp_path / "model" / "config.json").read_text("utf-8"))
    assert described["architecture"]["decoder_autoregression"] == "ssru"
    assert "SSRU decoder" in tfm("info", str(tmp_path / "model")).stdout


def test_other_tokens_are_found(
    checkpoint: Path,
    existing: Path,
    tiny_graphs: Graphs,
    graphs: Callable[[Graphs], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verify, "TENSOR_TOLERANCE", np.inf)
    broken = (changed(graph, noisy(0.3)) for _, graph in tiny_graphs)
    graphs(Graphs(tiny_graphs.encoder, *list(broken)[1:]))
    match = "greedy gives other tokens .*; .*beam gives other tokens than PyTorch for"
    check_refused(checkpoint, existing, match, "fp32")


def test_a_broken_int8_pass_is_found_and_no_variant_is_written(
    checkpoint: Path,
    existing: Path,
    graphs: Callable[[Graphs], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    intact = variants.quantize_int8

    def reversed_rows(model: onnx.ModelProto, *arguments: Any) -> onnx.ModelProto:
        return changed(intact(model, *arguments), lambda a: a[::-1].copy(), TensorProto.INT8)

    monkeypatch.setattr(variants, "quantize_int8", reversed_rows)
    check_refused(checkpoint, existing, "int8: translations are too far", "fp32", "int8")


def test_nan_is_found(
    checkpoint: Path, existing: Path, tiny_graphs: Graphs, graphs: Callable[[Graphs], None]
) -> None:
    nan = changed(tiny_graphs.decoder, lambda a: a * np.float32("nan"))
    graphs(dataclasses.replace(tiny_graphs, decoder=nan))
    before = content(existing)
    with pytest.raises((ExportError, ModelError), match=r"NaN|nan"):
        export(checkpoint, existing, "fp32")
    assert content(existing) == before
    assert [path.name for path in existing.parent.iterdir()] == ["model"]


@pytest.mark.usefixtures("graphs")
def test_a_file_in_the_way(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "model").write_text("mine", "utf-8")
    with pytest.raises(ExportError, match="is a file"):
        export(checkpoint, tmp_path / "model", "fp32")
    assert (tmp_path / "model").read_text("utf-8") == "mine"


def test_verification_reads_the_folder_it_is_given(
    tiny_model: Transformer, tiny_vocabulary: Vocabulary, tiny_folder: Path
) -> None:
    reports = verify_folder(
        tiny_model, tiny_vocabulary, tiny_folder, ["int8", "fp32"], SENTENCES, None
    )
    differences = {name: max(report.max_abs_diff.values()) for name, report in reports.items()}
    assert differences["fp32"] < 1e-4 < 1e-3 < differences["int8"] < 1
    assert reports["fp32"].scores is None


GOOD = VariantReport(
    max_abs_diff={"candidate_scores": 1e-5},
    greedy=Agreement(10, 10, 0),
    beam=Agreement(10, 9, 1),
    alone_equals_batched=1.0,
    chrf_against_torch=100.0,
    scores=None,
    failures=[],
)


@pytest.mark.parametrize(
    ("change", "exact", "failures"),
    [
        ({}, True, []),
        ({}, False, []),
        ({"max_abs_diff": {"x": 1e-5, "y": 0.25}}, True, ["y differs from PyTorch by 0.25"]),
        ({"max_abs_diff": {"y": np.nan}}, True, ["y differs from PyTorch by nan"]),
        ({"max_abs_diff": {"y": 0.25}}, False, []),
        ({"greedy": Agreement(10, 7, 1)}, True,
         ["greedy gives other tokens than PyTorch for 2 sentences"]),
        ({"beam": Agreement(10, 7, 1)}, True,
         ["beam gives other tokens than PyTorch for 2 sentences"]),
        ({"beam": Agreement(10, 7, 1)}, False, []),
        ({"chrf_against_torch": 60.0}, False,
         ["translations are too far from PyTorch's: chrF 60.0, at least 75.0 wanted"]),
        ({"alone_equals_batched": 0.9}, False,
         ["only 90.0% of the sentences have the same tokens alone as in a batch"]),
        ({"alone_equals_batched": 0.9}, True,
         ["only 90.0% of the sentences have the same tokens alone as in a batch"]),
    ],
)  # fmt: skip
def test_what_fails(change: dict[str, Any], exact: bool, failures: list[str]) -> None:
    assert verify._failures(dataclasses.replace(GOOD, **change), exact) == failures
