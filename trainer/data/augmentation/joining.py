"""Two or three pairs on one line, as people type them."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from .sides import HAN, Pair

BUFFER = 1 << 14  # pairs that are drawn from
LONGEST = 240  # characters of a joined side
_ENDS = tuple(".!?。！？…\"”'")


def join_sentences(pairs: Iterable[Pair], generator: np.random.Generator) -> Iterator[Pair]:
    """Each pair with one or two others of the same corpus after it, neighbours at random."""
    remaining = iter(pairs)
    while buffer := list(itertools.islice(remaining, BUFFER)):
        by_corpus: defaultdict[str, list[Pair]] = defaultdict(list)
        for pair in buffer:
            by_corpus[pair[2]].append(pair)
        for own in by_corpus.values():
            yield from _join(own, generator)


def _join(own: list[Pair], generator: np.random.Generator) -> Iterator[Pair]:
    whole = [pair for pair in own if all(side.endswith(_ENDS) for side in pair[:2])]
    order = generator.permutation(len(whole))
    counts = generator.integers(2, 4, len(whole))
    place = 0
    for count in counts:
        group = [whole[index] for index in order[place : place + count]]
        place += count
        if len(group) < 2:
            return
        if len(set(group)) < len(group):  # a pair that comes several times, as variants do
            continue
        joined = [_joined([pair[side] for pair in group]) for side in (0, 1)]
        if all(len(side) <= LONGEST for side in joined):
            yield joined[0], joined[1], group[0][2]


def _joined(sentences: list[str]) -> str:
    """A space between sentences that are not Chinese."""
    return ("" if HAN.search("".join(sentences)) else " ").join(sentences)
