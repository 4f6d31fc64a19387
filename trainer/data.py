"""Parallel text in, batches of token ids out: reproducible from (seed, epoch) alone."""

import lzma
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .config import CorpusRecipe, ModelConfig
from .errors import TrainError
from .vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class ParallelText:
    """Aligned sentences with, for each pair, how often an epoch draws it."""

    sources: list[str]
    targets: list[str]
    corpora: list[str]
    weights: NDArray[np.float64]
    from_epoch: NDArray[np.int64]  # the first epoch that draws it
    until_epoch: NDArray[np.int64]  # the first epoch after it that leaves it out

    def __len__(self) -> int:
        return len(self.sources)


def read_corpora(recipes: Sequence[CorpusRecipe], folder: Path) -> ParallelText:
    """Read and join corpora; their paths are relative to folder.

    Raises:
        TrainError: a file is missing or not UTF-8, a line has no tab, sides differ in length, or
            nothing is left
    """
    sources: list[str] = []
    targets: list[str] = []
    corpora: list[str] = []
    weights: list[float] = []
    epochs: list[tuple[int, int]] = []
    for recipe in recipes:
        last = np.iinfo(np.int64).max if recipe.until_epoch is None else recipe.until_epoch
        names = set()
        for source, target, corpus in _read_pairs(recipe, folder):
            names.add(corpus)
            weight = recipe.corpora.get(corpus, recipe.weight)
            if weight > 0 and source and target:
                sources.append(source)
                targets.append(target)
                corpora.append(corpus)
                weights.append(weight)
                epochs.append((recipe.from_epoch, last))
        for name in recipe.corpora:
            if name not in names:
                raise TrainError(
                    f"{recipe.path or recipe.source}: no corpus {name!r}; "
                    f"it holds {', '.join(sorted(names))}"
                )
    if not sources:
        raise TrainError("the corpora hold no sentence pair with a weight above 0")
    first, until = np.array(epochs, np.int64).T
    return ParallelText(sources, targets, corpora, np.array(weights), first, until)


def _read_pairs(recipe: CorpusRecipe, folder: Path) -> Iterator[tuple[str, str, str]]:
    if recipe.path is not None:
        path = folder / recipe.path
        for number, line in enumerate(_read_lines(path), start=1):
            columns = line.split("\t")
            if len(columns) < 2:
                raise TrainError(
                    f"{path}, line {number}: no tab in {line[:40]!r}; expected source<TAB>target"
                )
            corpus = columns[2].strip() if len(columns) > 2 else path.name
            yield columns[0].strip(), columns[1].strip(), corpus
        return
    assert recipe.source is not None and recipe.target is not None
    source_path, target_path = folder / recipe.source, folder / recipe.target
    sources, targets = list(_read_lines(source_path)), list(_read_lines(target_path))
    if len(sources) != len(targets):
        raise TrainError(
            f"{source_path} has {len(sources)} lines and {target_path} has {len(targets)}: "
            "they must be aligned line by line"
        )
    for source, target in zip(sources, targets, strict=True):
        yield source.strip(), target.strip(), source_path.name


def _read_lines(path: Path) -> Iterator[str]:
    opener = lzma.open if path.suffix == ".xz" else open
    try:
        with opener(path, "rt", encoding="utf-8", newline="\n") as lines:
            for line in lines:
                yield line.rstrip("\r\n")
    except FileNotFoundError as error:
        raise TrainError(f"{path}: corpus not found; paths are relative to the recipe") from error
    except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError) as error:
        raise TrainError(f"{path}: cannot be read as UTF-8 text: {error}") from error


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded ids: source_ids [B, S] ends in EOS; target_ids [B, T + 1] runs from BOS to EOS."""

    source_ids: Tensor
    target_ids: Tensor


class EncodedText:
    """Parallel text as token ids, and the batches that epochs draw from it."""

    def __init__(
        self,
        text: ParallelText,
        vocabulary: Vocabulary,
        config: ModelConfig,
        max_length: int | None = None,
    ) -> None:
        """Tokenize; pairs with a side over max_length tokens (EOS not counted) are left out.

        Raises:
            TrainError: no pair is left
        """
        sources = vocabulary.encode_source(text.sources, config)
        targets = vocabulary.encode_target(text.targets, config)
        limit = np.inf if max_length is None else max_length
        kept = [
            i
            for i, (s, t) in enumerate(zip(sources, targets, strict=True))
            if len(s) - 1 <= limit and len(t) - 2 <= limit
        ]
        if not kept:
            raise TrainError(f"every pair has a side over max_length {max_length} tokens; raise it")
        self.skipped = len(sources) - len(kept)
        self.sources = [np.array(sources[i], np.int32) for i in kept]
        self.targets = [np.array(targets[i], np.int32) for i in kept]
        self.weights = text.weights[kept]
        self.from_epoch, self.until_epoch = text.from_epoch[kept], text.until_epoch[kept]
        self.source_lengths = np.array([len(ids) for ids in self.sources])
        self.target_lengths = np.array([len(ids) for ids in self.targets])
        self.pad_id = config.pad_id

    def __len__(self) -> int:
        return len(self.sources)

    def epoch(self, seed: int, epoch: int, max_tokens: int) -> list[NDArray[np.int64]]:
        """The batches of an epoch, as indices of pairs, in training order.

        Pairs of similar length share a batch, so that little of it is padding; which pairs and in
        what order is drawn anew each epoch. A weight of 2.3 draws a pair twice, and a third time
        with probability 0.3.
        """
        generator = np.random.default_rng((seed, epoch))
        active = (self.from_epoch <= epoch) & (epoch < self.until_epoch)
        weights = np.where(active, self.weights, 0.0)
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
        for end in range(1, len(drawn) + 1):
            # sorted, so the next pair is the longest of the batch it would join
            if end == len(drawn) or (end + 1 - start) * longest[end] > max_tokens:
                batches.append(drawn[start:end])
                start = end
        return batches

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """Pad the pairs at indices into tensors."""
        return Batch(
            pad([self.sources[i] for i in indices], self.pad_id),
            pad([self.targets[i] for i in indices], self.pad_id),
        )


def pad(rows: Sequence[Sequence[int] | NDArray[np.int32]], pad_id: int) -> Tensor:
    """Rows of ids as [B, longest] int64, filled up with pad_id at the end."""
    padded = np.full((len(rows), max(map(len, rows))), pad_id, np.int64)
    for row, ids in zip(padded, rows, strict=True):
        row[: len(ids)] = ids
    return torch.from_numpy(padded)
