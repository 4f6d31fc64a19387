"""`tfm evaluate` as a command: its arguments, its files and its errors."""

import shutil
from pathlib import Path

import pytest
from helpers.evaluation import run_evaluate, write_aligned

from tfm.export.evaluation import translators as systems
from tfm.trainer import checkpoint as files
from tfm.trainer.bleu import tokenizer_for
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.model import Transformer


def test_the_system_by_argument_option_and_environment(
    test_set: Path,
    toy_checkpoint: Path,
    toy_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = ("--beam-size", "1")
    by_option = run_evaluate(test_set, "-m", toy_checkpoint, *options)
    assert by_option == run_evaluate(toy_checkpoint, test_set, *options)
    monkeypatch.setenv("TFM_MODEL", str(toy_checkpoint))
    assert run_evaluate(test_set, *options) == by_option
    found = run_evaluate(toy_model, test_set, *options)[1]
    assert "int8 BLEU" in found  # the argument, not the environment
    monkeypatch.delenv("TFM_MODEL")
    monkeypatch.setattr(systems, "bundled_model", lambda: toy_checkpoint)
    assert run_evaluate(test_set, *options) == by_option


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.tsv"], "'nowhere.tsv' does not exist"),
        (["folder"], "Missing argument 'TEST'"),
        (["a.tsv", "folder"], "folder is a folder: a test set is one file or two"),
        (["folder", "folder", "a.tsv"], "folder is a folder: a test set is one file or two"),
        (["folder", "a.tsv", "-m", "folder"], "two systems, folder and -m folder"),
        (["a.txt", "b.txt", "a.txt"], "3 files: a test set is a .tsv, or TEST and REFERENCES"),
        (["a.txt", "a.tsv"], "a.tsv has both sides: give it alone"),
        (["a.txt", "b.txt", "--reverse"], "--reverse is for a .tsv: exchange the two files"),
        (["a.tsv", "--tokenize", "14a"], "'14a' is not one of none, zh, 13a, intl, char,"),
        (["folder", "a.tsv", "--weights", "last"], "'last' is not one of"),
        (["a.tsv", "-o", "new", "--json", "folder/../new"], "-o and --json are both new: write"),
    ],
)
def test_usage(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    for name in ("a.tsv", "a.txt", "b.txt"):
        Path(name).write_text("one\tone\n", "utf-8")
    status, stdout, stderr = run_evaluate(*arguments)
    assert (status, stdout) == (2, "")
    assert message in " ".join(stderr.split())


def test_one_line_of_error(
    test_set: Path,
    columns: list[list[str]],
    toy_model: Path,
    tiny_model: Transformer,
    tiny_vocabulary: Vocabulary,
    tmp_path: Path,
) -> None:
    empty, new, imported = tmp_path / "empty", tmp_path / "new", tmp_path / "imported"
    empty.mkdir()
    files.write_checkpoint(imported, tiny_model, tiny_vocabulary)
    shutil.copytree(imported, new)
    (new / files.MODEL).rename(new / files.LAST)
    table, none, missing = tmp_path / "one.tsv", tmp_path / "none.tsv", tmp_path / "no" / "out"
    table.write_text("no tab\n", "utf-8")
    none.touch()
    sources, references = write_aligned(tmp_path, columns, "")
    references.write_text("one\n", "utf-8")
    cases: list[tuple[list[str | Path], str]] = [
        ([toy_model, test_set, "--variant", "fp16"], "no variant 'fp16'"),
        ([toy_model, test_set, "--weights", "best"], "only a checkpoint has best weights"),
        ([imported, test_set, "--weights", "best"], "no best.safetensors: its weights are model"),
        ([imported, test_set, "--variant", "fp32"], "is a checkpoint and has no variants"),
        ([new, test_set], "training has not reached its first validation"),
        ([empty, test_set], "has no config.json: expected a model folder (`tfm export`) or a"),
        ([test_set, "-m", empty], "has no config.json"),
        ([toy_model, table], "no tab in"),
        ([toy_model, none], "none.tsv: no sentence to score"),
        ([toy_model, test_set, "-o", missing], f"{missing}: there is no folder {missing.parent}"),
        ([toy_model, test_set, "--json", missing], f"{missing}: there is no folder"),
        ([toy_model, test_set, "-o", table, "--against", table], f"{table} is read, and would be"),
        ([toy_model, test_set, "--json", table, "--against", table], f"{table} is read, and"),
        ([toy_model, sources, references], "test.en has 1: they must be aligned line by line"),
        ([imported, test_set, "--beam-size", "1", "--against", empty], "has no config.json"),
    ]
    if tokenizer_for("ja") == "char":
        needs = "BLEU's tokenizer ja-mecab cannot be used: pip install sacrebleu[ja]"
        cases.append(([imported, test_set, "--tokenize", "ja-mecab"], needs))
    for arguments, message in cases:
        status, stdout, stderr = run_evaluate(*arguments)
        assert (status, stdout) == (1, ""), message
        assert message in stderr
        assert stderr.startswith("Error: ") and stderr.count("\n") == 1
