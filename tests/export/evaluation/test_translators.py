"""What is scored: variants through the runtime, checkpoints through PyTorch, which agree."""

import shutil
from pathlib import Path

import pytest
import torch
from helpers.evaluation import run_evaluate, table_of
from helpers.numerals import chinese

from tfm.export.errors import ExportError
from tfm.export.evaluation.translators import open_systems, translate_with_torch
from tfm.runtime import ModelError, Translator
from tfm.runtime.config import ModelConfig
from tfm.runtime.options import DecodingOptions
from tfm.trainer import checkpoint as files
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.model import Transformer


def test_all_variants_without_being_asked(test_set: Path, toy_model: Path) -> None:
    status, stdout, _ = run_evaluate(toy_model, test_set, "--beam-size", "1")
    assert status == 0
    assert {"int8 BLEU", "int8 chrF", "fp32 BLEU", "fp32 chrF"} < set(table_of(stdout)[0])
    assert "\nint8: BLEU = " in stdout and "\nfp32: BLEU = " in stdout


@pytest.mark.parametrize("options", [(), ("--beam-size", "1"), ("--threads", "1")])
def test_a_checkpoint_scores_as_its_export(
    options: tuple[str, ...], test_set: Path, toy_checkpoint: Path, toy_model: Path, tmp_path: Path
) -> None:
    threads = torch.get_num_threads()
    outputs = tmp_path / "torch.en", tmp_path / "fp32.en"
    status, ours, _ = run_evaluate(toy_checkpoint, test_set, "-o", outputs[0], *options)
    assert status == 0
    exported = run_evaluate(toy_model, test_set, "--variant", "fp32", "-o", outputs[1], *options)[1]
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert ours == exported.replace("fp32", "torch")
    assert table_of(ours)[0] == ["corpus", "sentences", "torch BLEU", "torch chrF"]
    assert float(table_of(ours)[-1][2]) > 50
    assert torch.get_num_threads() == threads


def weights_folder(checkpoint: Path, folder: Path, name: str) -> Path:
    """A checkpoint that has those weights alone."""
    folder.mkdir()
    for path in (*checkpoint.glob("*.spm"), checkpoint / files.CONFIG):
        shutil.copy(path, folder)
    shutil.copy(checkpoint / name, folder / files.MODEL)
    return folder


def test_the_weights_of_a_checkpoint(test_set: Path, toy_checkpoint: Path, tmp_path: Path) -> None:
    options = ("--beam-size", "1")
    usual = run_evaluate(toy_checkpoint, test_set, *options)
    assert usual == run_evaluate(toy_checkpoint, test_set, *options, "--weights", "model")
    poor = weights_folder(toy_checkpoint, tmp_path / "poor", files.MODEL)
    trained = files.read_weights(toy_checkpoint / files.MODEL)
    nothing = {name: torch.zeros_like(tensor) for name, tensor in trained.items()}
    few = tmp_path / "few.tsv"
    few.write_text("".join(test_set.read_text("utf-8").splitlines(keepends=True)[:3]), "utf-8")
    for name in ("best", "average"):
        alone = weights_folder(toy_checkpoint, tmp_path / name, f"{name}.safetensors")
        expected = run_evaluate(alone, test_set, *options)[1]
        found = run_evaluate(toy_checkpoint, test_set, *options, "--weights", name)[1]
        assert found == expected.replace("torch", f"torch {name}")
        files.write_weights(poor / f"{name}.safetensors", nothing)
        found = run_evaluate(poor, few, *options, "--weights", name)[1]
        assert float(table_of(found)[-1][2]) == 0
    assert run_evaluate(poor, test_set, *options) == usual


def test_long_and_empty_sentences_are_the_runtimes(
    tiny_model: Transformer,
    tiny_vocabulary: Vocabulary,
    tiny_folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sentences = ["", chinese(3052), "九千" * 300, " ", chinese(7)]
    assert len(tiny_vocabulary.encode_source(sentences[2:3], tiny_model.config)[0]) > 513
    options = DecodingOptions(beam_size=2)
    found = translate_with_torch(tiny_model, tiny_vocabulary, sentences, options)
    assert "1 sentences cut to 512 tokens" in caplog.text
    translator = Translator(tiny_folder, variant="fp32")
    expected = [one.text for one in translator.translate_batch(sentences, options)]
    assert found == expected
    assert found[0] == found[3] == "" and all(found[i] for i in (1, 2, 4))


def test_a_missing_variant_is_said_before_another_translates(toy_model: Path) -> None:
    with pytest.raises(ExportError, match=r"^no variant 'fp16': .* has fp32, int8$"):
        next(open_systems(toy_model, ["int8", "fp16"]))


def test_variants_are_opened_one_after_the_other(toy_model: Path, tmp_path: Path) -> None:
    """So that a large model is in memory once: a damaged second variant is found late."""
    folder = tmp_path / "model"
    shutil.copytree(toy_model, folder)
    first, second = ModelConfig.load(folder).variants
    (folder / second / "weights.bin").write_bytes(b"damaged")
    systems = open_systems(folder)
    assert next(systems).name == first
    with pytest.raises(ModelError, match=rf"{second}/weights\.bin"):
        next(systems)
