"""IBM model 1 against the textbook's loops over dictionaries, and against numbers by hand."""

from collections import defaultdict

import numpy as np
import pytest

from tfm.trainer.data import word_alignment
from tfm.trainer.data.batches import EncodedText
from tfm.trainer.data.corpora import FOREVER, Group
from tfm.trainer.data.word_alignment import TranslationTable, align, target_counts

BOS, EOS = 2, 3
VOCAB_SIZE = 12

Pair = tuple[list[int], list[int]]


def encoded(pairs: list[Pair]) -> EncodedText:
    """Source ids as they are; BOS and EOS around the target."""
    ids: list[int] = []
    for source, target in pairs:
        ids += [*source, BOS, *target, EOS]
    table = [(len(source), len(target) + 2, 0) for source, target in pairs]
    groups = [Group("", 1.0, 0, FOREVER)]
    return EncodedText(np.array(ids, np.uint16), np.array(table, np.int32), groups, 0)


def as_dictionary(table: TranslationTable) -> dict[tuple[int, int], float]:
    keys = zip(table.sources.tolist(), table.targets.tolist(), strict=True)
    return dict(zip(keys, table.probabilities.tolist(), strict=True))


def by_loops(pairs: list[Pair], iterations: int) -> dict[tuple[int, int], float]:
    """Figure 4.3 of Koehn's "Statistical Machine Translation" (2010), token by token."""
    probability: dict[tuple[int, int], float] = defaultdict(lambda: 1.0)
    for _ in range(iterations):
        count: dict[tuple[int, int], float] = defaultdict(float)
        total: dict[int, float] = defaultdict(float)
        for source, target in pairs:
            for e in target:
                normalizer = sum(probability[f, e] for f in source)
                for f in source:
                    share = probability[f, e] / normalizer
                    count[f, e] += share
                    total[f] += share
        probability = defaultdict(float, {(f, e): c / total[f] for (f, e), c in count.items()})
    return dict(probability)


def test_two_sentences_by_hand() -> None:
    """4 5 | 7 8 and 4 | 7, one iteration: 4 gets 1/2 of 7 and of 8 of the first pair, and all of
    7 of the second: 3/2 and 1/2 of 2."""
    table = as_dictionary(align(encoded([([4, 5], [7, 8]), ([4], [7])]), np.arange(2),
                                VOCAB_SIZE, iterations=1))  # fmt: skip
    assert table == pytest.approx({(4, 7): 3 / 4, (4, 8): 1 / 4, (5, 7): 1 / 2, (5, 8): 1 / 2})


@pytest.mark.parametrize("chunk", [1, 30, 1 << 21])
def test_is_the_textbooks_algorithm(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_alignment, "CHUNK_LINKS", chunk)
    generator = np.random.default_rng(3)
    pairs = [
        (
            [*generator.integers(4, 12, generator.integers(1, 7)).tolist(), EOS],
            generator.integers(4, 12, generator.integers(0, 6)).tolist(),
        )
        for _ in range(40)
    ]
    found = align(encoded(pairs), np.arange(40), VOCAB_SIZE, iterations=4)
    expected = by_loops(pairs, 4)
    assert as_dictionary(found) == pytest.approx(expected)
    assert (np.diff(found.sources * VOCAB_SIZE + found.targets) > 0).all()


def test_some_pairs_alone() -> None:
    pairs: list[Pair] = [([4], [5]), ([6], [7]), ([4], [8])]
    found = align(encoded(pairs), np.array([0, 1]), VOCAB_SIZE)
    assert set(as_dictionary(found)) == {(4, 5), (6, 7)}


def test_nothing_to_align() -> None:
    found = align(encoded([([4], [])]), np.arange(1), VOCAB_SIZE)
    assert len(found.sources) == len(found.probabilities) == 0


def test_best_of_each_source() -> None:
    table = TranslationTable(
        np.array([1, 1, 1, 2, 2]), np.array([5, 6, 7, 5, 8]), np.array([0.2, 0.6, 0.2, 0.05, 0.95])
    )
    assert [x.tolist() for x in table.best(2)] == [[1, 1, 2, 2], [6, 5, 8, 5]]
    assert [x.tolist() for x in table.best(2, 0.1)] == [[1, 1, 2], [6, 5, 8]]
    rest = table.without(np.array([6, 8]))
    assert [x.tolist() for x in rest.best(1)] == [[1, 2], [5, 5]]


def test_counts_leave_out_prefix_and_eos() -> None:
    counts = target_counts(encoded([([4], [5, 5, 6]), ([4], []), ([4], [6])]), np.arange(3), 8)
    assert counts.tolist() == [0, 0, 0, 0, 0, 2, 2, 0]
