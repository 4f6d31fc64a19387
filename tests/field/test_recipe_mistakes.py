"""Recipes with values that cannot be, and settings that count for nothing: said in one line."""

import logging
import stat
from pathlib import Path

import pytest
from helpers.capitals import RECIPE, write_corpus
from helpers.command import tfm

from tfm.trainer.config import VocabularyRecipe, load_recipe
from tfm.trainer.data.vocabulary import train_vocabulary
from tfm.trainer.errors import TrainError

MANY_CHARACTERS = [chr(0x4E00 + i) for i in range(1000)]


def recipe_with(folder: Path, old: str, new: str) -> Path:
    path = folder / "recipe.toml"
    assert old in RECIPE
    path.write_text(RECIPE.replace(old, new, 1), "utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("max_steps = 14", f"seed = {2**64}", "training.seed = 18446744073709551616: choose 0 to"),
        ("max_steps = 14", "seed = -1", "training.seed = -1: choose 0 to"),
        ("max_steps = 14", f"max_steps = {2**70}", "training.max_steps = "),
        ("max_tokens = 130", f"max_tokens = {2**64}", "training.max_tokens = "),
        ("weight = 1.5", f"from_epoch = {2**63}", "data.train[0].from_epoch = "),
        ("weight = 1.5", f"until_epoch = {2**63}", "data.train[0].until_epoch = "),
        ("weight = 1.5", "until_epoch = -1", "data.train[0].until_epoch = -1: choose"),
        ("size = 275", f"size = {2**31}", "vocabulary.size = 2147483648: choose 1 to"),
        ("size = 275", "character_coverage = 1e-9", "choose 0.98 to 1"),
        ("d_model = 16", f"d_model = {2**40}", "model.d_model = "),
        ("d_ff = 16", f"d_ff = {10**12}", "model.d_ff = "),
        ("encoder_layers = 1", f"encoder_layers = {10**9}", "model.encoder_layers = "),
        ("size = 275", f"size = {'9' * 5000}", "recipe.toml: not TOML: "),
        ("size = 275", f"size = {'[' * 5000}", "recipe.toml: not TOML: "),
    ],
)
def test_numbers_out_of_range(old: str, new: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(TrainError) as refused:
        load_recipe(recipe_with(tmp_path, old, new))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
def test_a_vocabulary_too_small(algorithm: str) -> None:
    recipe = VocabularyRecipe(size=300, character_coverage=1.0, algorithm=algorithm)  # type: ignore[arg-type]
    with pytest.raises(TrainError) as refused:
        train_vocabulary(MANY_CHARACTERS, MANY_CHARACTERS, recipe)
    assert str(refused.value) == (
        "vocabulary.size 300 is too small: the characters of the corpus, the bytes and the special "
        "tokens are 1261; raise it, or lower character_coverage"
    )


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
def test_a_vocabulary_larger_than_the_corpus(
    algorithm: str, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = VocabularyRecipe(size=8000, algorithm=algorithm)  # type: ignore[arg-type]
    vocabulary = train_vocabulary(["一 二 三"], ["one two"], recipe)
    size = vocabulary.source.vocab_size()
    assert f"vocabulary.size is 8000, but the corpus has pieces for {size} only" in caplog.messages


@pytest.mark.parametrize("text", ["", " ", "\u200b", "a" * 9000])
def test_nothing_to_train_a_vocabulary_on(text: str) -> None:
    with pytest.raises(TrainError, match="no sentence with text of at most 8192 bytes"):
        train_vocabulary([text], [text], VocabularyRecipe(size=300))


def test_what_counts_for_nothing_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, one_thread: None
) -> None:
    write_corpus(tmp_path)
    recipe = recipe_with(tmp_path, "max_steps = 14", "max_steps = 2")
    caplog.set_level(logging.INFO)
    first, second = tmp_path / "first", tmp_path / "second"
    status, _, stderr = tfm("train", str(recipe), "--out", str(first))
    assert status == 0, stderr
    assert not any("--init" in message for message in caplog.messages)
    assert not any("max_steps" in message for message in caplog.messages)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in first.iterdir()}
    assert modes["model.safetensors"] == modes["last.safetensors"] == modes["config.json"]

    text = recipe.read_text("utf-8").replace("max_steps = 2\n", "stop_after_no_gain = 1\n")
    recipe.write_text(text.replace("learning_rate = 1e-2", "learning_rate = 1e-9"), "utf-8")
    status, _, stderr = tfm("train", str(recipe), "--out", str(second), "--init", str(first))
    assert status == 0, stderr
    assert (
        f"--init keeps the model and the vocabulary of {first}: model.preset, model.d_model, "
        "model.d_ff, model.num_heads, model.encoder_layers, model.decoder_layers, vocabulary.size "
        "of the recipe count for nothing"
    ) in caplog.messages
    assert "training.max_steps is not set: this is a training of 100000 steps" in caplog.messages
