"""`tfm shortlist` as a command, and what `tfm export` makes of its file."""

import json
from pathlib import Path

import pytest
from helpers.command import tfm

from tfm.runtime import Translator
from tfm.trainer.checkpoint import write_checkpoint
from tfm.trainer.data.shortlist import Shortlist
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.model import Transformer


@pytest.fixture(scope="module")
def made(toy_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lists") / "numerals.npz"
    recipe = toy_checkpoint.parent / "recipe.toml"
    status, stdout, stderr = tfm(
        "shortlist", str(toy_checkpoint), str(recipe), "--out", str(path), "--pairs", "1000",
        "--per-token", "4", "--frequent", "0",
    )  # fmt: skip
    assert (status, stdout) == (0, "")
    assert f"wrote {path}: " in stderr
    return path


@pytest.fixture
def other(tiny_model: Transformer, tiny_vocabulary: Vocabulary, tmp_path: Path) -> Path:
    """A checkpoint of another vocabulary, and pairs to learn from beside it."""
    write_checkpoint(tmp_path / "other", tiny_model, tiny_vocabulary)
    (tmp_path / "pairs.tsv").write_text("one\t一\nten\t十\n", "utf-8")
    return tmp_path / "other"


def test_a_model_with_its_lists_translates(
    toy_checkpoint: Path, made: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    dev = toy_checkpoint / "validation.tsv"
    status, stdout, stderr = tfm(
        "export", str(toy_checkpoint), str(model), "--shortlist", str(made), "--variant", "int8",
        "--dev", str(dev), "--max-loss", "2",
    )  # fmt: skip
    assert status == 0, stderr
    assert "unchanged" in stdout
    quality = json.loads((model / "verify.json").read_text("utf-8"))["variants"]["int8"]["quality"]
    assert quality["unchanged"] > 0.6
    assert quality["chrf_loss"] <= 2
    translator = Translator(model, device="cpu")
    assert translator.config.shortlist == "lexical"
    words = translator.translate("三千零五十二").text.replace("-", " ")
    assert words == "three thousand fifty two"


def test_columns_in_the_other_order(
    other: Path, tiny_vocabulary: Vocabulary, tiny_model: Transformer, tmp_path: Path
) -> None:
    path = tmp_path / "lists.npz"
    pairs = tmp_path / "pairs.tsv"
    arguments = ("shortlist", str(other), str(pairs), "--out", str(path), "--frequent", "0")
    sizes = []
    for reverse in ((), ("--reverse",)):
        assert tfm(*arguments, *reverse)[0] == 0
        found = Shortlist.load(path, tiny_vocabulary, tiny_model.config)
        (one,) = tiny_vocabulary.encode_source(["一"], tiny_model.config)
        sizes.append(len(found.starts) and found.starts[one[1] + 1] - found.starts[one[1]])
    assert sizes[0] < sizes[1]


def test_lists_of_another_model(other: Path, made: Path, tmp_path: Path) -> None:
    sentences = tmp_path / "sentences"
    sentences.write_text("一\n", "utf-8")
    status, stdout, stderr = tfm(
        "export", str(other), str(tmp_path / "model"), "--shortlist", str(made),
        "--sentences", str(sentences),
    )  # fmt: skip
    assert (status, stdout) == (1, "")
    assert f"{made}: of another model's vocabulary; make it again" in stderr
    assert stderr.count("\n") == 1
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("corpus", "options", "status", "message"),
    [
        (None, (), 2, "'CORPUS...'"),
        ("no tab\n", (), 1, "no tab"),
        ("", (), 1, "hold no sentence pair"),
        ("a\tb\n", ("--pairs", "0"), 2, "0 is not in the range"),
        ("a\tb\n", ("--out", "nowhere/lists.npz"), 2, "there is no folder nowhere"),
    ],
)
def test_errors_are_one_line(
    other: Path,
    tmp_path: Path,
    corpus: str | None,
    options: tuple[str, ...],
    status: int,
    message: str,
) -> None:
    arguments = ["shortlist", str(other), "--out", str(tmp_path / "lists.npz"), *options]
    if corpus is not None:
        (tmp_path / "corpus.tsv").write_text(corpus, "utf-8")
        arguments.insert(2, str(tmp_path / "corpus.tsv"))
    found, stdout, stderr = tfm(*arguments)
    assert (found, stdout) == (status, "")
    assert message in stderr
    assert status == 2 or stderr.count("\n") == 1
    assert not (tmp_path / "lists.npz").exists()


def test_a_model_folder_is_no_checkpoint(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus.tsv").write_text("a\tb\n", "utf-8")
    status, _, stderr = tfm(
        "shortlist", str(tiny_folder), str(tmp_path / "corpus.tsv"), "--out", str(tmp_path / "x")
    )
    assert status == 1
    assert "is a model folder, not a checkpoint" in stderr
