"""Token ids on disk: the same batches as from memory, written once, refused when damaged."""

import dataclasses
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tfm.trainer.config import TransformerConfig, VocabularyRecipe
from tfm.trainer.data import batches as batching
from tfm.trainer.data import token_store as tokens
from tfm.trainer.data.batches import EncodedText
from tfm.trainer.data.corpora import Corpora, draw_sample, read_corpora
from tfm.trainer.data.recipe import CorpusRecipe
from tfm.trainer.data.token_store import open_tokens, store_tokens
from tfm.trainer.data.vocabulary import Vocabulary, train_vocabulary
from tfm.trainer.errors import TrainError

WORDS = ("red", "green", "blue", "house", "tree", "river", "stone", "cloud")
LINES = [
    f"{WORDS[i % 8]} {WORDS[i * 5 % 7]} {i}\t{WORDS[i % 7].upper()} {i * 3}\t{'ab'[i % 2]}"
    for i in range(300)
]
SIZE = 320


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    sources, targets = zip(*(line.split("\t")[:2] for line in LINES), strict=True)
    return train_vocabulary(sources, targets, VocabularyRecipe(size=SIZE))


@pytest.fixture
def corpora(tmp_path: Path) -> Corpora:
    (tmp_path / "text.tsv").write_text("\n".join(LINES) + "\n", "utf-8")
    return Corpora([CorpusRecipe(path="text.tsv", corpora={"b": 0.5}).relative_to(tmp_path)])


def config_for(vocabulary: Vocabulary) -> TransformerConfig:
    sizes = vocabulary.source.vocab_size(), vocabulary.target.vocab_size()
    return TransformerConfig(source_vocab_size=sizes[0], target_vocab_size=sizes[1])


@pytest.mark.parametrize("vocabulary_size", [SIZE, 70_000])  # two and four bytes per id
def test_batches_are_those_of_memory(
    corpora: Corpora,
    vocabulary: Vocabulary,
    vocabulary_size: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = config_for(vocabulary)
    config = dataclasses.replace(config, target_vocab_size=vocabulary_size)
    monkeypatch.setattr(batching, "CHUNK_PAIRS", 64)
    assert store_tokens(tmp_path / "tokens", corpora, vocabulary, config, 100) == 0
    stored = open_tokens(tmp_path / "tokens", config)
    text = read_corpora(corpora.recipes)
    memory = EncodedText.of(text, vocabulary, config)
    assert len(stored) == len(memory) == 300
    assert isinstance(stored.ids, np.memmap)
    for indices in stored.epoch(1, 3, 90):
        ours, theirs = stored.batch(indices), memory.batch(indices)
        assert ours.source_ids.tolist() == theirs.source_ids.tolist()
        assert ours.target_ids.tolist() == theirs.target_ids.tolist()
    drawn = sum(len(indices) for indices in stored.epoch(1, 3, 90))
    assert 200 < drawn < 250  # corpus a whole, of corpus b a half


def test_long_pairs_are_counted(corpora: Corpora, vocabulary: Vocabulary, tmp_path: Path) -> None:
    config = config_for(vocabulary)
    text = read_corpora(corpora.recipes)
    sources = vocabulary.encode_source(text.sources, config)
    targets = vocabulary.encode_target(text.targets, config)
    longest = [max(len(s) - 1, len(t) - 2) for s, t in zip(sources, targets, strict=True)]
    limit = sorted(longest)[150]
    skipped = sum(length > limit for length in longest)
    assert 0 < skipped < 150
    for _ in range(2):  # written, then found
        assert store_tokens(tmp_path / "t", corpora, vocabulary, config, limit) == skipped
    assert len(open_tokens(tmp_path / "t", config)) == 300 - skipped
    with pytest.raises(TrainError, match="over max_length 1 tokens; raise it"):
        store_tokens(tmp_path / "t", corpora, vocabulary, config, 1)


def test_tokens_are_written_again_only_for_a_reason(
    corpora: Corpora, vocabulary: Vocabulary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = config_for(vocabulary), tmp_path / "tokens"
    store_tokens(folder, corpora, vocabulary, config, 100)

    class Written(Exception):
        pass

    def written(*_: object) -> None:
        raise Written

    monkeypatch.setattr(tokens, "encode_pairs", written)
    store_tokens(folder, Corpora(corpora.recipes), vocabulary, config, 100)
    reweighted = [dataclasses.replace(corpora.recipes[0], weight=2.0)]
    for changed, limit in ((reweighted, 100), (corpora.recipes, 99)):
        with pytest.raises(Written):
            store_tokens(folder, Corpora(changed), vocabulary, config, limit)
    with (tmp_path / "text.tsv").open("a", encoding="utf-8") as file:
        file.write("more\tMORE\ta\n")
    with pytest.raises(Written):
        store_tokens(folder, corpora, vocabulary, config, 100)


@pytest.mark.parametrize("written_by", ["now", "tfm 0.1.0"])
def test_tokens_are_used_from_another_working_directory(
    vocabulary: Vocabulary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written_by: str
) -> None:
    """tfm 0.1.0 wrote the corpora's paths as they stand in the recipe."""
    config, folder = config_for(vocabulary), tmp_path / "tokens"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "text.tsv").write_text("\n".join(LINES) + "\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    corpora = Corpora([CorpusRecipe(path="text.tsv").relative_to(Path("data"))])
    store_tokens(folder, corpora, vocabulary, config, 100)
    if written_by == "tfm 0.1.0":
        index = folder / tokens.INDEX
        content = json.loads(index.read_text("utf-8"))
        content["made_of"]["corpora"][0]["path"] = "../data/text.tsv"
        index.write_text(json.dumps(content), "utf-8")

    monkeypatch.setattr(tokens, "encode_pairs", lambda *_: pytest.fail("tokenized again"))
    monkeypatch.chdir(tmp_path / "data")
    corpora = Corpora([CorpusRecipe(path="text.tsv").relative_to(Path())])
    store_tokens(folder, corpora, vocabulary, config, 100)


def test_an_interrupted_writing_leaves_nothing_to_be_taken_for_whole(
    corpora: Corpora, vocabulary: Vocabulary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = config_for(vocabulary), tmp_path / "tokens"
    with monkeypatch.context() as patch:
        patch.setattr(np, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            store_tokens(folder, corpora, vocabulary, config, 100)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.tsv"]
    with pytest.raises(TrainError, match="missing or damaged"):
        open_tokens(folder, config)


@pytest.mark.parametrize("name", [tokens.IDS, tokens.PAIRS, tokens.INDEX])
def test_damaged_files_are_refused(
    corpora: Corpora, vocabulary: Vocabulary, tmp_path: Path, name: str
) -> None:
    config, folder = config_for(vocabulary), tmp_path / "tokens"
    store_tokens(folder, corpora, vocabulary, config, 100)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2 // 2 * 2])
    with pytest.raises(TrainError, match="and --resume"):
        open_tokens(folder, config)


def test_memory_holds_a_few_bytes_of_each_pair(
    vocabulary: Vocabulary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a corpus may be larger than memory. Its text is 250 bytes a pair here, and more as
    Python's strings and lists."""
    monkeypatch.setattr(batching, "CHUNK_PAIRS", 100)
    config = config_for(vocabulary)
    line = "\t".join((" ".join(WORDS * 3), " ".join(WORDS * 3).upper()))

    def peaks(pairs: int) -> list[int]:
        name = f"{pairs}.tsv"
        (tmp_path / name).write_text(f"{line}\n" * pairs, "utf-8")
        corpora = Corpora([CorpusRecipe(path=name).relative_to(tmp_path)])

        def draw() -> None:
            draw_sample(corpora, 100, seed=1)

        def store() -> None:
            store_tokens(tmp_path / f"{pairs}", corpora, vocabulary, config, 1000)

        def read() -> None:
            text = open_tokens(tmp_path / f"{pairs}", config)
            for indices in text.epoch(1, 0, 2000):
                text.batch(indices)

        measured = []
        for action in (draw, store, read):
            tracemalloc.start()
            action()
            measured.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        return measured

    few, many = peaks(500), peaks(5500)
    per_pair = [(more - less) / 5000 for less, more in zip(few, many, strict=True)]
    assert per_pair[0] < 1  # the sample for the vocabulary
    assert per_pair[1] < 40  # while tokenizing
    assert per_pair[2] < 120  # while drawing an epoch
