"""The batches that epochs draw of token ids."""

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tfm.trainer.config import TransformerConfig
from tfm.trainer.data import batches as batching
from tfm.trainer.data.batches import EncodedText, encode_pairs, pad
from tfm.trainer.data.corpora import FOREVER, Group, ParallelText
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.errors import TrainError

BOS, EOS = 2, 3


class CharacterProcessor:
    """One token per character, so that a test can say the lengths it wants."""

    def encode(self, texts: str | list[str], out_type: type, num_threads: int = 1) -> Any:
        assert (out_type, num_threads) == (int, 1)
        if isinstance(texts, str):
            return [ord(c) for c in texts]
        return [[ord(c) for c in text] for text in texts]

    def piece_to_id(self, piece: str) -> int:
        return ord(piece)

    def is_control(self, _: int) -> bool:
        return False


CONFIG = TransformerConfig(source_vocab_size=256, target_vocab_size=256)
CHARACTERS = Vocabulary(CharacterProcessor(), CharacterProcessor())


def encoded(
    lengths: list[tuple[int, int]],
    weights: list[float] | None = None,
    epochs: list[tuple[int, int]] | None = None,
    max_length: int | None = None,
) -> EncodedText:
    """Every pair in a group of its own."""
    count = len(lengths)
    groups = [
        Group("c", weight, first, until)
        for weight, (first, until) in zip(
            weights or [1.0] * count, epochs or [(0, FOREVER)] * count, strict=True
        )
    ]
    pairs = (("s" * source, "t" * target, i) for i, (source, target) in enumerate(lengths))
    chunks = list(encode_pairs(pairs, CHARACTERS, CONFIG, max_length))
    ids = np.concatenate([chunk.ids for chunk in chunks])
    return EncodedText(
        ids, np.concatenate([chunk.pairs for chunk in chunks]), groups, CONFIG.pad_id
    )


def draws(text: EncodedText, epoch: int, seed: int = 1, max_tokens: int = 64) -> Counter[int]:
    return Counter(int(i) for batch in text.epoch(seed, epoch, max_tokens) for i in batch)


def test_pairs_over_max_length_are_left_out() -> None:
    text = encoded([(5, 5), (6, 1), (1, 6), (5, 1)], max_length=5)
    assert len(text) == 2
    assert [text.source(i).tolist() for i in range(2)] == [[115] * 5 + [EOS]] * 2
    assert text.target(1).tolist() == [BOS, 116, EOS]
    assert text.group.tolist() == [0, 3]
    (chunk,) = encode_pairs([("ss", "t", 0), ("s", "t", 0)], CHARACTERS, CONFIG, 1)
    assert chunk.skipped == 1
    with pytest.raises(TrainError, match="over max_length 4"):
        EncodedText.of(ParallelText(["sssss"], ["t"], ["c"]), CHARACTERS, CONFIG, 4)


def test_chunks_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = [(i % 5 + 1, i % 3 + 1) for i in range(20)]
    whole = encoded(lengths)
    monkeypatch.setattr(batching, "CHUNK_PAIRS", 7)
    chunked = encoded(lengths)
    assert chunked.ids.tolist() == whole.ids.tolist()
    assert [chunked.target(i).tolist() for i in range(20)] == [
        [BOS, *[116] * target, EOS] for _, target in lengths
    ]


def test_weight_is_the_expected_number_of_draws() -> None:
    weights = [1.0] * 40 + [0.5] * 40 + [2.3] * 40
    text = encoded([(3, 3)] * 120, weights=weights)
    epochs = [draws(text, epoch) for epoch in range(100)]
    assert all(counts[i] == 1 for counts in epochs for i in range(40))
    for start, allowed, expected in ((40, {0, 1}, 0.5), (80, {2, 3}, 2.3)):
        drawn = [counts[i] for counts in epochs for i in range(start, start + 40)]
        assert set(drawn) == allowed
        assert np.mean(drawn) == pytest.approx(expected, abs=0.03)


def test_from_epoch_is_the_first_and_until_epoch_the_first_without() -> None:
    epochs = [(0, 0), (0, 1), (1, FOREVER), (1, 3), (2, 3), (0, FOREVER)]
    text = encoded([(3, 3)] * 6, epochs=epochs)
    drawn = [sorted(draws(text, epoch)) for epoch in range(4)]
    assert drawn == [[1, 5], [2, 3, 5], [2, 3, 4, 5], [2, 5]]


def test_nothing_drawn_is_no_batch() -> None:
    assert encoded([(3, 3)], epochs=[(0, 1)]).epoch(1, 1, 64) == []


LENGTHS = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=60)


@given(LENGTHS, st.integers(22, 100), st.integers(0, 2**31), st.integers(0, 50), st.data())
def test_batches_hold_every_drawn_pair_within_the_budget(
    lengths: list[tuple[int, int]], max_tokens: int, seed: int, epoch: int, data: Any
) -> None:
    count = len(lengths)
    weights = data.draw(st.lists(st.floats(0.1, 3.5), min_size=count, max_size=count))
    text = encoded(lengths, weights=weights)
    batches = text.epoch(seed, epoch, max_tokens)
    counts = Counter(int(i) for batch in batches for i in batch)
    for pair, weight in enumerate(weights):
        assert np.floor(weight) <= counts[pair] <= np.ceil(weight)
    for indices in batches:
        batch = text.batch(indices)
        assert 0 < batch.source_ids.numel() <= max_tokens
        assert 0 < batch.target_ids.numel() <= max_tokens
    again = text.epoch(seed, epoch, max_tokens)
    assert [b.tolist() for b in again] == [b.tolist() for b in batches]


@given(LENGTHS, st.integers(1, 100))
def test_validation_sees_every_pair_once(lengths: list[tuple[int, int]], max_tokens: int) -> None:
    text = encoded(lengths)
    batches = text.in_order(max_tokens)
    assert sorted(int(i) for batch in batches for i in batch) == list(range(len(lengths)))
    longest = [max(source + 1, target + 2) for source, target in lengths]
    sizes = [[longest[i] for i in batch] for batch in batches]
    assert all(len(size) == 1 or len(size) * max(size) <= max_tokens for size in sizes)
    assert list(itertools.chain(*sizes)) == sorted(longest)
    # full: the first pair of the next batch would not have fitted
    for size, following in itertools.pairwise(sizes):
        assert (len(size) + 1) * following[0] > max_tokens


def test_epochs_differ_in_batches_and_order() -> None:
    lengths = [(i % 12 + 1, (i * 7) % 12 + 1) for i in range(120)]
    text = encoded(lengths)
    first, second, other_seed = (text.epoch(s, e, 64) for s, e in ((1, 0), (1, 1), (2, 0)))
    as_sets = [{frozenset(b.tolist()) for b in batches} for batches in (first, second, other_seed)]
    assert as_sets[0] != as_sets[1] and as_sets[0] != as_sets[2]
    longest = [max(max(lengths[i]) for i in batch) for batch in first]
    assert longest != sorted(longest)  # a curriculum from short to long would bias the updates


def test_batch_is_padded_at_the_end() -> None:
    text = encoded([(1, 3), (2, 1)])
    batch = text.batch(np.array([1, 0]))
    assert batch.source_ids.tolist() == [[115, 115, EOS], [115, EOS, 0]]
    assert batch.target_ids.tolist() == [[BOS, 116, EOS, 0, 0], [BOS, 116, 116, 116, EOS]]


def test_pad() -> None:
    padded = pad([[5, 6], [], np.array([7, 8, 9], np.int32)], pad_id=1)
    assert padded.dtype == torch.int64
    assert padded.tolist() == [[5, 6, 1], [1, 1, 1], [7, 8, 9]]
