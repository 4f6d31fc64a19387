"""The sentences that every system translates: batches of one size, and a file of mixed lengths."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SOURCE_LENGTH = 25  # tokens of the sentences in batches of one size, EOS not counted
MIXED_SENTENCES = 64
SHORTEST, LONGEST = 3, 60  # tokens of the mixed sentences
LEAST_SENTENCES = 4  # of a cell: a single short sentence is over too soon to be timed
FIRST_ID = 4  # below are pad, unk, bos and eos

Ids = list[list[int]]


@dataclass(frozen=True, slots=True)
class Cell:
    """A way to translate, one column of the table.

    Attributes:
        beam: 1 is greedy
        batch: sentences given at a time; None is the system's own batching of all of them
        sources: token ids, EOS included
        length: most tokens of a translation
    """

    beam: int
    batch: int | None
    sources: Ids
    length: int

    @property
    def name(self) -> str:
        """Such as `b8 beam 4`."""
        return f"{'mixed' if self.batch is None else f'b{self.batch}'} {search_name(self.beam)}"


def search_name(beam: int) -> str:
    """`greedy`, or `beam 4`."""
    return "greedy" if beam == 1 else f"beam {beam}"


@dataclass(frozen=True, slots=True)
class Workload:
    """The sentences of a run: `pool` for batches of one size, `mixed` in the order of a file."""

    pool: Ids
    mixed: Ids
    length: int

    def cells(self, batches: Sequence[int], beams: Sequence[int], *, mixed: bool) -> list[Cell]:
        """All columns, the greedy ones first."""
        sizes: list[int | None] = [*batches, *([None] if mixed else [])]
        return [self.cell(batch, beam) for beam in beams for batch in sizes]

    def cell(self, batch: int | None, beam: int, length: int | None = None) -> Cell:
        """One column; `length` replaces the workload's own."""
        if batch is None:
            sources = self.mixed
        else:
            count = max(batch, LEAST_SENTENCES)
            sources = [self.pool[i * len(self.pool) // count] for i in range(count)]
        return Cell(beam, batch, sources, length or self.length)


def random_workload(vocab_size: int, eos_id: int, length: int) -> Workload:
    """Sentences of random ids, for models with random weights."""
    generator = np.random.default_rng(0)
    lengths = generator.lognormal(np.log(18), 0.6, MIXED_SENTENCES).round().astype(int)

    def sentences(lengths: Sequence[int]) -> Ids:
        return [
            [*generator.integers(FIRST_ID, vocab_size, count).tolist(), eos_id] for count in lengths
        ]

    return Workload(
        sentences([SOURCE_LENGTH] * MIXED_SENTENCES),
        sentences(lengths.clip(SHORTEST, LONGEST).tolist()),
        length,
    )


def real_workload(sources: Ids, length: int, count: int) -> Workload:
    """`count` sentences, taken evenly from the whole file, in random order."""
    count = min(count, len(sources))
    sample = [sources[i * len(sources) // count] for i in range(count)]
    order = np.random.default_rng(0).permutation(count)
    mixed = [sample[i] for i in order]
    return Workload(mixed, mixed, length)
