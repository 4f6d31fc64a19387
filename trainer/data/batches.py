"""Token ids and the batches that epochs draw of them: reproducible from (seed, epoch) alone."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tfm.trainer.config import TransformerConfig
from tfm.trainer.errors import TrainError

from .corpora import FOREVER, Group, ParallelText
from .vocabulary import Vocabulary

CHUNK_PAIRS = 1 << 14  # tokenized at a time


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded ids: source_ids [B, S] ends in EOS; target_ids [B, T + 1] runs from BOS to EOS."""

    source_ids: Tensor
    target_ids: Tensor


@dataclass(frozen=True, slots=True)
class TokenChunk:
    """Some pairs as ids: `ids` holds source, target, source, target, ... without gaps.

    `pairs` [P, 3] has, for each pair, the lengths of source and target and the index of its group;
    `skipped` is how many pairs were too long to be among them.
    """

    ids: NDArray[np.integer]
    pairs: NDArray[np.int32]
    skipped: int


def encode_pairs(
    pairs: Iterable[tuple[str, str, int]],
    vocabulary: Vocabulary,
    config: TransformerConfig,
    max_length: int | None,
) -> Iterator[TokenChunk]:
    """Tokenize source, target, group as they come; pairs with a side over max_length tokens (EOS
    not counted) are left out."""
    limit = np.inf if max_length is None else max_length
    remaining = iter(pairs)
    while chunk := list(islice(remaining, CHUNK_PAIRS)):
        sources = vocabulary.encode_source([source for source, _, _ in chunk], config)
        targets = vocabulary.encode_target([target for _, target, _ in chunk], config)
        rows: list[int] = []
        lengths = []
        for source, target, (_, _, group) in zip(sources, targets, chunk, strict=True):
            if len(source) - 1 <= limit and len(target) - 2 <= limit:
                rows += source
                rows += target
                lengths.append((len(source), len(target), group))
        table = np.array(lengths, np.int32).reshape(-1, 3)
        yield TokenChunk(np.array(rows, np.int32), table, len(chunk) - len(lengths))


class EncodedText:
    """Parallel text as token ids, in memory or in a file, and the batches that epochs draw."""

    def __init__(
        self,
        ids: NDArray[np.integer],
        pairs: NDArray[np.int32],
        groups: Sequence[Group],
        pad_id: int,
    ) -> None:
        """ids and pairs as in `TokenChunk`; of ids only what a batch needs is ever read."""
        self.ids, self.pad_id = ids, pad_id
        self.source_lengths, self.target_lengths, self.group = pairs.T
        self.starts = np.cumsum(pairs[:, 0] + pairs[:, 1], dtype=np.int64)
        self.starts -= pairs[:, 0] + pairs[:, 1]
        self._weights = np.array([group.weight for group in groups])
        self._from_epoch = np.array([group.from_epoch for group in groups], np.int64)
        self._until_epoch = np.array([group.until_epoch for group in groups], np.int64)

    @classmethod
    def of(
        cls,
        text: ParallelText,
        vocabulary: Vocabulary,
        config: TransformerConfig,
        max_length: int | None = None,
    ) -> "EncodedText":
        """Tokenize text in memory; every pair has weight 1.

        Raises:
            TrainError: no pair is left
        """
        pairs = ((s, t, 0) for s, t in zip(text.sources, text.targets, strict=True))
        chunks = list(encode_pairs(pairs, vocabulary, config, max_length))
        ids = np.concatenate([chunk.ids for chunk in chunks])
        table = np.concatenate([chunk.pairs for chunk in chunks])
        require_pairs(len(table), max_length)
        return cls(ids, table, [Group("", 1.0, 0, FOREVER)], config.pad_id)

    def __len__(self) -> int:
        return len(self.starts)

    def source(self, index: int) -> NDArray[np.integer]:
        """The source ids of a pair."""
        start = self.starts[index]
        return self.ids[start : start + self.source_lengths[index]]

    def target(self, index: int) -> NDArray[np.integer]:
        """The target ids of a pair."""
        start = self.starts[index] + self.source_lengths[index]
        return self.ids[start : start + self.target_lengths[index]]

    def epoch(self, seed: int, epoch: int, max_tokens: int) -> list[NDArray[np.int64]]:
        """The batches of an epoch, as indices of pairs, in training order.

        Pairs of similar length share a batch, so that little of it is padding; which pairs and in
        what order is drawn anew each epoch. A weight of 2.3 draws a pair twice, and a third time
        with probability 0.3.
        """
        generator = np.random.default_rng((seed, epoch))
        active = (self._from_epoch <= epoch) & (epoch < self._until_epoch)
        weights = np.where(active, self._weights, 0.0)[self.group]
        copies = np.floor(weights + generator.random(len(weights))).astype(np.int64)
        drawn = generator.permutation(np.repeat(np.arange(len(weights)), copies))
        batches = self._cut(drawn, max_tokens)
        return [batches[i] for i in generator.permutation(len(batches))]

    def in_order(self, max_tokens: int) -> list[NDArray[np.int64]]:
        """Every pair once, in batches by length: for validation."""
        return self._cut(np.arange(len(self)), max_tokens)

    def _cut(self, drawn: NDArray[np.int64], max_tokens: int) -> list[NDArray[np.int64]]:
        """Sort by length (stable: ties keep the drawn order) and cut where a batch is full."""
        source, target = self.source_lengths[drawn], self.target_lengths[drawn]
        drawn = drawn[np.lexsort((source, np.maximum(source, target)))]
        longest = np.maximum(self.source_lengths[drawn], self.target_lengths[drawn])
        batches, start = [], 0
        while start < len(drawn):
            # sorted, so the newest pair is the longest: sizes only grow
            window = longest[start : start + max(1, max_tokens // int(longest[start]))]
            sizes = window.astype(np.int64) * np.arange(1, len(window) + 1)
            end = start + max(1, int(np.searchsorted(sizes, max_tokens, side="right")))
            batches.append(drawn[start:end])
            start = end
        return batches

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """Pad the pairs at indices into tensors."""
        return Batch(
            pad([self.source(i) for i in indices], self.pad_id),
            pad([self.target(i) for i in indices], self.pad_id),
        )


def require_pairs(pairs: int, max_length: int | None) -> None:
    """Raise TrainError when no pair is left."""
    if not pairs:
        raise TrainError(f"every pair has a side over max_length {max_length} tokens; raise it")


def pad(rows: Sequence[Sequence[int] | NDArray[np.integer]], pad_id: int) -> Tensor:
    """Rows of ids as [B, longest] int64, filled up with pad_id at the end."""
    padded = np.full((len(rows), max(map(len, rows))), pad_id, np.int64)
    for row, ids in zip(padded, rows, strict=True):
        row[: len(ids)] = ids
    return torch.from_numpy(padded)
