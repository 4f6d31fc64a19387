"""IBM model 1: which target tokens a source token is translated by, learned from pairs alone.

Brown et al. 1993, "The Mathematics of Statistical Machine Translation", section 4.1: every target
token comes from one source token of its pair, each equally likely beforehand, with probability
t(target | source). Expectation-maximization finds t. The source's EOS, which every pair has, is the
empty word that tokens without a counterpart come from.

A link is one source token and one target token of the same pair. Links are held in memory, as
indices of the cells of a sparse table t: 4 bytes each.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from .batches import EncodedText

CHUNK_LINKS = 1 << 21  # handled at a time


@dataclass(frozen=True, slots=True)
class TranslationTable:
    """t(target | source) of the L token pairs that occur together, sorted by source, then target.

    Attributes:
        sources: [L]
        targets: [L]
        probabilities: [L], of each source they add up to 1
    """

    sources: NDArray[np.int64]
    targets: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    def without(self, targets: NDArray[np.int64]) -> "TranslationTable":
        """The table without some targets; the probabilities of the others stay."""
        kept = ~np.isin(self.targets, targets)
        return TranslationTable(self.sources[kept], self.targets[kept], self.probabilities[kept])

    def best(self, count: int, least: float = 0.0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The `count` most probable targets of each source, as sources and targets [X]; of equally
        probable ones the lower ids, and none with a probability below `least`."""
        order = np.lexsort((self.targets, -self.probabilities, self.sources))
        first = np.searchsorted(self.sources, self.sources)  # where each source begins
        kept = order[np.arange(len(order)) - first < count]
        kept = kept[self.probabilities[kept] >= least]
        return self.sources[kept], self.targets[kept]


def align(
    text: EncodedText,
    pairs: NDArray[np.int64],
    vocab_size: int,
    *,
    target_prefix: int = 1,
    iterations: int = 5,
) -> TranslationTable:
    """Estimate t by expectation-maximization, beginning with equal probabilities.

    Args:
        pairs: indices of the pairs to learn from
        vocab_size: of the target
        target_prefix: tokens at the beginning of every target that are not aligned, and its EOS
            neither
        iterations: of EM
    """
    keys = _all_keys(text, pairs, vocab_size, target_prefix)
    cells, starts = [], []
    for chunk in _chunks(text, pairs, target_prefix):
        cells.append(np.searchsorted(keys, _keys(chunk, vocab_size)).astype(np.int32))
        starts.append(chunk.starts)
    sources, targets = np.divmod(keys, vocab_size)
    probabilities = np.ones(len(keys))
    for _ in tqdm(range(iterations), "aligning", delay=2.0, dynamic_ncols=True):
        counts = np.zeros(len(keys))
        for cell, start in zip(cells, starts, strict=True):
            weights = probabilities[cell]
            totals = np.add.reduceat(weights, start)
            weights /= np.repeat(totals, np.diff(start, append=len(cell)))
            counts += np.bincount(cell, weights, len(keys))
        probabilities = counts / np.bincount(sources, counts)[sources]
    return TranslationTable(sources, targets, probabilities)


def target_counts(
    text: EncodedText, pairs: NDArray[np.int64], vocab_size: int, *, target_prefix: int = 1
) -> NDArray[np.int64]:
    """How often each target token [V] is in the pairs, prefix and EOS left out."""
    lengths = np.maximum(text.target_lengths[pairs].astype(np.int64) - target_prefix - 1, 0)
    starts = text.starts[pairs] + text.source_lengths[pairs] + target_prefix
    tokens = np.asarray(text.ids)[_ranges(starts, lengths)]
    return np.bincount(tokens, minlength=vocab_size).astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Links:
    """The links of some pairs; `starts` says where those of each target token begin."""

    sources: NDArray[np.int64]
    targets: NDArray[np.int64]
    starts: NDArray[np.int64]


def _all_keys(
    text: EncodedText, pairs: NDArray[np.int64], vocab_size: int, target_prefix: int
) -> NDArray[np.int64]:
    """The keys of all links, ascending, each once."""
    keys = np.empty(0, np.int64)
    new: list[NDArray[np.int64]] = []
    for chunk in _chunks(text, pairs, target_prefix):
        new.append(_distinct(_keys(chunk, vocab_size)))
        if sum(map(len, new)) > len(keys):  # not at every chunk: sorting all again takes longest
            keys, new = _distinct(np.concatenate([keys, *new])), []
    return _distinct(np.concatenate([keys, *new]))


def _distinct(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each value once, ascending; np.unique takes several times as long for so many."""
    ascending = np.sort(values)
    first = np.ones(len(ascending), bool)
    np.not_equal(ascending[1:], ascending[:-1], out=first[1:])
    return ascending[first]


def _keys(links: _Links, vocab_size: int) -> NDArray[np.int64]:
    return links.sources * vocab_size + links.targets


def _chunks(text: EncodedText, pairs: NDArray[np.int64], target_prefix: int) -> Iterator[_Links]:
    """The links of some pairs, about CHUNK_LINKS at a time."""
    source_lengths = text.source_lengths[pairs].astype(np.int64)
    target_lengths = text.target_lengths[pairs].astype(np.int64) - target_prefix - 1
    pairs, source_lengths, target_lengths = (
        values[target_lengths > 0] for values in (pairs, source_lengths, target_lengths)
    )
    ends = np.cumsum(source_lengths * target_lengths)
    first = 0
    while first < len(pairs):
        before = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + CHUNK_LINKS, "right")))
        chosen = slice(first, last)
        yield _links(
            text, pairs[chosen], source_lengths[chosen], target_lengths[chosen], target_prefix
        )
        first = last


def _links(
    text: EncodedText,
    pairs: NDArray[np.int64],
    source_lengths: NDArray[np.int64],
    target_lengths: NDArray[np.int64],
    target_prefix: int,
) -> _Links:
    """The links of pairs whose targets have `target_lengths` tokens to align."""
    source_starts = text.starts[pairs]
    target_starts = source_starts + source_lengths + target_prefix
    positions = _ranges(target_starts, target_lengths)  # of every target token
    links_of_token = np.repeat(source_lengths, target_lengths)
    source_positions = _ranges(np.repeat(source_starts, target_lengths), links_of_token)
    ids = np.asarray(text.ids)
    return _Links(
        sources=ids[source_positions].astype(np.int64),
        targets=np.repeat(ids[positions].astype(np.int64), links_of_token),
        starts=np.cumsum(links_of_token) - links_of_token,
    )


def _ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """start, start + 1, ... of every range, one range after the other."""
    offsets = np.cumsum(lengths) - lengths
    within: NDArray[np.int64] = np.arange(lengths.sum()) + np.repeat(starts - offsets, lengths)
    return within
