"""Shortlists learned from toy corpora, and their files."""

from pathlib import Path

import numpy as np
import pytest
from helpers.numerals import chinese, english

from tfm.trainer.config import TransformerConfig
from tfm.trainer.data.batches import EncodedText
from tfm.trainer.data.corpora import ParallelText
from tfm.trainer.data.shortlist import Shortlist, make_shortlist
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.errors import TrainError
from tfm.trainer.model import Transformer


@pytest.fixture(scope="module")
def config(tiny_model: Transformer) -> TransformerConfig:
    return tiny_model.config


@pytest.fixture(scope="module")
def made(tiny_vocabulary: Vocabulary, config: TransformerConfig) -> Shortlist:
    numbers = range(1, 10_000, 11)
    text = ParallelText([chinese(n) for n in numbers], [english(n) for n in numbers], [])
    encoded = EncodedText.of(text, tiny_vocabulary, config)
    return make_shortlist(encoded, tiny_vocabulary, config, per_source=2, frequent=0)


def test_numbers_bring_their_words(
    made: Shortlist, tiny_vocabulary: Vocabulary, config: TransformerConfig
) -> None:
    """Of texts that were not learned from, nearly all tokens are in their lists."""
    numbers = range(3, 10_000, 37)
    sources = tiny_vocabulary.encode_source([chinese(n) for n in numbers], config)
    targets = tiny_vocabulary.encode_target([english(n) for n in numbers], config)
    listed, tokens, sizes = 0, 0, []
    for source, target in zip(sources, targets, strict=True):
        own = set(made.of(np.array(source)).tolist())
        listed += sum(token in own for token in target[1:])
        tokens += len(target) - 1
        sizes.append(len(own))
    assert listed / tokens > 0.97
    others = config.target_vocab_size - len(made.always)
    assert np.mean(sizes) - len(made.always) < others / 3


def test_what_copies_is_always_there(
    made: Shortlist, tiny_vocabulary: Vocabulary, config: TransformerConfig
) -> None:
    target = tiny_vocabulary.target
    always = set(made.always.tolist())
    for token in range(config.target_vocab_size):
        text = target.id_to_piece(token).removeprefix("▁")
        if target.is_byte(token) or (len(text) == 1 and text.isascii()):
            assert token in always, text
    assert config.eos_id in always
    assert not {config.bos_id, config.pad_id} & always


def test_padding_brings_nothing(made: Shortlist, config: TransformerConfig) -> None:
    np.testing.assert_array_equal(made.of(np.array([config.pad_id])), made.always)


def test_a_token_of_the_same_text_is_listed(
    tiny_vocabulary: Vocabulary, config: TransformerConfig
) -> None:
    """A vocabulary that both sides share: every token may stay as it is."""
    joint = Vocabulary(tiny_vocabulary.target, tiny_vocabulary.target)
    text = ParallelText(["one"], ["one"], [])
    encoded = EncodedText.of(text, joint, config)
    made = make_shortlist(encoded, joint, config, per_source=1, frequent=0)
    for token in range(4, config.target_vocab_size):
        if joint.source.id_to_piece(token) != "▁":
            assert token in made.of(np.array([token])), joint.source.id_to_piece(token)


def test_comes_back_from_its_file(
    made: Shortlist, tiny_vocabulary: Vocabulary, config: TransformerConfig, tmp_path: Path
) -> None:
    path = tmp_path / "shortlist.npz"
    made.save(path)
    found = Shortlist.load(path, tiny_vocabulary, config)
    for name in ("always", "starts", "targets"):
        np.testing.assert_array_equal(getattr(found, name), getattr(made, name))
    assert found.vocabulary == made.vocabulary == tiny_vocabulary.digest


def broken(made: Shortlist, name: str, value: object) -> dict[str, object]:
    vocabulary = np.frombuffer(bytes.fromhex(made.vocabulary), np.uint8)
    content = {"format_version": 1, "vocabulary": vocabulary, "always": made.always,
               "starts": made.starts, "targets": made.targets}  # fmt: skip
    return {**content, name: value}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("format_version", lambda _: 2, "of another version"),
        ("format_version", lambda _: [1, 2], "not a shortlist, or damaged"),
        ("vocabulary", lambda _: np.zeros(32, np.uint8), "of another model's vocabulary"),
        ("starts", lambda made: made.starts[:-1], "damaged"),
        ("starts", lambda made: made.starts[::-1], "damaged"),
        ("starts", lambda made: made.starts[None], "damaged"),
        ("targets", lambda made: made.targets + 100_000, "damaged"),
        ("targets", lambda made: -1 - made.targets, "damaged"),
        ("always", lambda made: made.always[made.always != 3], "damaged"),
        ("starts", lambda made: np.where(np.arange(len(made.starts)) > 0, made.starts + 1, 0),
         "damaged"),
        ("always", lambda _: np.array(["a"]), "an array of numbers is needed"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit(
    made: Shortlist,
    tiny_vocabulary: Vocabulary,
    config: TransformerConfig,
    tmp_path: Path,
    name: str,
    change: object,
    message: str,
) -> None:
    path = tmp_path / "shortlist.npz"
    np.savez(path, **broken(made, name, change(made)))
    with pytest.raises(TrainError, match=message) as error:
        Shortlist.load(path, tiny_vocabulary, config)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive", None])
def test_no_shortlist_at_all(
    content: bytes | None, tiny_vocabulary: Vocabulary, config: TransformerConfig, tmp_path: Path
) -> None:
    path = tmp_path / "shortlist.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrainError, match="not found" if content is None else "no .npz"):
        Shortlist.load(path, tiny_vocabulary, config)
