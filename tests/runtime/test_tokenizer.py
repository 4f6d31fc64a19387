"""Text to ids and back, beside the trainer's own vocabulary."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest

from tfm.runtime.config import ModelConfig
from tfm.runtime.tokenizer import Tokenizer
from tfm.trainer.config import load_model_config
from tfm.trainer.data.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> Tokenizer:
    return Tokenizer(tiny_folder, ModelConfig.load(tiny_folder))


TEXTS = ["三千零五十二", "", " \t", "🙂 x", "<pad></s>", "一" * 30]


def test_sources_are_encoded_as_in_training(
    tokenizer: Tokenizer, tiny_folder: Path, tiny_vocabulary: Vocabulary
) -> None:
    config = load_model_config(tiny_folder / "checkpoint.json")
    expected = tiny_vocabulary.encode_source(TEXTS, config)
    empty = [config.eos_id]
    assert tokenizer.encode(TEXTS) == [ids if ids != empty else [] for ids in expected]
    assert tokenizer.encode(["一"], [7, 8])[0][:2] == [7, 8]


def test_sources_of_a_model_without_eos(tiny_folder: Path, tiny_vocabulary: Vocabulary) -> None:
    described = ModelConfig.load(tiny_folder)
    tokenizer = Tokenizer(tiny_folder, dataclasses.replace(described, source_eos=False))
    config = load_model_config(tiny_folder / "checkpoint.json")
    config = dataclasses.replace(config, source_eos=False)
    expected = tiny_vocabulary.encode_source(TEXTS, config)
    found = tokenizer.encode(TEXTS)
    assert found == [[] if ids == [config.eos_id] else ids for ids in expected]
    assert not any(config.eos_id in ids for ids in found)
    assert [len(ids) for ids in tokenizer.encode(["三" * 2000])] == [512]


@pytest.mark.parametrize("text", ["three thousand", "", "three  thousand ", "tausend drei", "🙂"])
def test_a_target_prefix_is_encoded_as_targets_are(
    tokenizer: Tokenizer, tiny_folder: Path, tiny_vocabulary: Vocabulary, text: str
) -> None:
    config = load_model_config(tiny_folder / "checkpoint.json")
    (expected,) = tiny_vocabulary.encode_target([text], config)
    assert tokenizer.encode_target_prefix(text) == expected[1:-1]  # without BOS and EOS


def test_what_is_cut_is_said_once(tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        rows = tokenizer.encode(["三" * 2000, "一", "四" * 2000])
    assert [len(row) for row in rows] == [513, len(tokenizer.encode(["一"])[0]), 513]
    assert len(caplog.records) == 1
    assert "2 of 3 sentences cut to 512 tokens" in caplog.text


def test_decoded_text_has_no_spaces_at_the_ends(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode_target_prefix("three thousand")
    assert tokenizer.decode([ids, []]) == ["three thousand", ""]


@pytest.mark.parametrize("count", [0, 1, 8, 9, 300])
def test_sentencepiece_makes_no_threads(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Of a list it makes one for each processor, unless told otherwise."""
    texts = [f"三千{'零' * (number % 7)}五" for number in range(count)]
    expected = [tokenizer.encode([text])[0] for text in texts]
    model = tokenizer._source
    processor = model._processor
    asked: list[bool] = []

    class Spy:
        def encode(self, text: str | list[str], **options: Any) -> Any:
            asked.append(isinstance(text, str) or options.get("num_threads") == 1)
            return processor.encode(text, **options)

        def __getattr__(self, name: str) -> Any:
            return getattr(processor, name)

    monkeypatch.setattr(model, "_processor", Spy())
    assert tokenizer.encode(texts) == expected
    assert all(asked)
