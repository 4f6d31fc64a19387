"""Reading corpora, and the batches that epochs draw from them."""

import itertools
import lzma
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tfm.trainer.config import CorpusRecipe, ModelConfig
from tfm.trainer.data import EncodedText, ParallelText, pad, read_corpora
from tfm.trainer.errors import TrainError
from tfm.trainer.vocabulary import Vocabulary

BOS, EOS = 2, 3
FOREVER = np.iinfo(np.int64).max


class CharacterProcessor:
    """One token per character, so that a test can say the lengths it wants."""

    def encode(self, texts: list[str]) -> list[list[int]]:
        return [[ord(c) for c in text] for text in texts]


CONFIG = ModelConfig(source_vocab_size=256, target_vocab_size=256)
CHARACTERS = Vocabulary(CharacterProcessor(), CharacterProcessor())


def encoded(
    lengths: list[tuple[int, int]],
    weights: list[float] | None = None,
    epochs: list[tuple[int, int]] | None = None,
    max_length: int | None = None,
) -> EncodedText:
    count = len(lengths)
    first, until = np.array(epochs if epochs else [(0, FOREVER)] * count, np.int64).T
    text = ParallelText(
        sources=["s" * source for source, _ in lengths],
        targets=["t" * target for _, target in lengths],
        corpora=["c"] * count,
        weights=np.array(weights if weights else [1.0] * count),
        from_epoch=first,
        until_epoch=until,
    )
    return EncodedText(text, CHARACTERS, CONFIG, max_length)


def draws(text: EncodedText, epoch: int, seed: int = 1, max_tokens: int = 64) -> Counter[int]:
    return Counter(int(i) for batch in text.epoch(seed, epoch, max_tokens) for i in batch)


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_two_files_and_tsv_and_xz_are_joined_in_order(tmp_path: Path) -> None:
    write(tmp_path / "a.zh", "你好 \n\n再见\n空\n")
    write(tmp_path / "a.en", "hello\r\nno source\n bye\n\n")
    write(tmp_path / "b.tsv", "一\tone\n二\ttwo\tnumbers\n三\tthree\tnumbers\tignored\n")
    with lzma.open(tmp_path / "c.tsv.xz", "wt", encoding="utf-8") as file:
        file.write("四\tfour\tmore\n五\tfive\tunwanted")
    recipes = [
        CorpusRecipe(source="a.zh", target="a.en", weight=0.5),
        CorpusRecipe(path="b.tsv", weight=2, corpora={"numbers": 3.0}, from_epoch=1, until_epoch=4),
        CorpusRecipe(path="c.tsv.xz", corpora={"unwanted": 0.0}),
    ]
    text = read_corpora(recipes, tmp_path)
    assert text.sources == ["你好", "再见", "一", "二", "三", "四"]
    assert text.targets == ["hello", "bye", "one", "two", "three", "four"]
    assert text.corpora == ["a.zh", "a.zh", "b.tsv", "numbers", "numbers", "more"]
    assert text.weights.tolist() == [0.5, 0.5, 2, 3, 3, 1]
    assert text.from_epoch.tolist() == [0, 0, 1, 1, 1, 0]
    assert text.until_epoch.tolist() == [FOREVER, FOREVER, 4, 4, 4, FOREVER]
    assert len(text) == 6


def test_only_newlines_end_a_line(tmp_path: Path) -> None:
    write(tmp_path / "a.tsv", "一\u2028二\tone\x0b\x85\rtwo\n")
    text = read_corpora([CorpusRecipe(path="a.tsv")], tmp_path)
    assert (text.sources, text.targets) == (["一\u2028二"], ["one\x0b\x85\rtwo"])


@pytest.mark.parametrize("suffix", ["", ".xz"])
def test_sides_of_different_length_are_refused(tmp_path: Path, suffix: str) -> None:
    for name, text in (("a.zh", "一\n二\n三\n"), ("a.en", "one\ntwo\n")):
        data = text.encode()
        (tmp_path / (name + suffix)).write_bytes(lzma.compress(data) if suffix else data)
    recipe = CorpusRecipe(source="a.zh" + suffix, target="a.en" + suffix)
    with pytest.raises(TrainError, match=r"a\.zh\S* has 3 lines and \S*a\.en\S* has 2"):
        read_corpora([recipe], tmp_path)


def test_line_without_tab_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.tsv", "一\tone\n二 two\n")
    with pytest.raises(TrainError, match=r"a\.tsv, line 2: no tab in '二 two'"):
        read_corpora([CorpusRecipe(path="a.tsv")], tmp_path)


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (None, "a.tsv", "a.tsv: corpus not found"),
        (None, "a.tsv.xz", "a.tsv.xz: corpus not found"),
        ("你好\thello".encode("gb18030"), "a.tsv", "a.tsv: cannot be read as UTF-8"),
        (lzma.compress("你好\thello".encode("gb18030")), "a.tsv.xz", "cannot be read as UTF-8"),
        (b"plain text", "a.tsv.xz", "a.tsv.xz: cannot be read"),
        (lzma.compress(b"one\ttwo\n" * 999)[:-30], "a.tsv.xz", "a.tsv.xz: cannot be read"),
        (b"", "a.tsv", "no sentence pair"),
        (b"one\t \n\ttwo\n", "a.tsv", "no sentence pair"),
    ],
)
def test_unreadable_corpora(tmp_path: Path, content: bytes | None, name: str, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(TrainError, match=message) as caught:
        read_corpora([CorpusRecipe(path=name)], tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_is_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="cannot be read"):
        read_corpora([CorpusRecipe(path=".")], tmp_path)


def test_unknown_corpus_name_lists_the_known_ones(tmp_path: Path) -> None:
    write(tmp_path / "a.tsv", "一\tone\tbooks\n二\ttwo\tnews\n")
    with pytest.raises(TrainError, match="no corpus 'boks'; it holds books, news"):
        read_corpora([CorpusRecipe(path="a.tsv", corpora={"boks": 2.0})], tmp_path)


def test_weight_zero_everywhere_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path / "a.tsv", "一\tone\n")
    with pytest.raises(TrainError, match="weight above 0"):
        read_corpora([CorpusRecipe(path="a.tsv", weight=0.0)], tmp_path)


def test_pairs_over_max_length_are_left_out() -> None:
    text = encoded([(5, 5), (6, 1), (1, 6), (5, 1)], weights=[1, 2, 3, 4], max_length=5)
    assert (len(text), text.skipped) == (2, 2)
    assert [ids.tolist() for ids in text.sources] == [[115] * 5 + [EOS]] * 2
    assert text.targets[1].tolist() == [BOS, 116, EOS]
    assert text.weights.tolist() == [1, 4]
    with pytest.raises(TrainError, match="over max_length 4"):
        encoded([(5, 5)], max_length=4)


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
