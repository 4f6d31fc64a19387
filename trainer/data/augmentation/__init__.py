"""Pairs made from the pairs of a corpus, for what the corpus alone does not teach (in Chinese and
English, whichever of them is the source)."""

import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import numpy as np

from .copying import CopiedText
from .joining import join_sentences
from .names import Names, NameSubstitution
from .numbers import NumberSubstitution
from .quantities import QuantitySubstitution
from .sides import Augmentation, Pair, each_pair
from .surface import Capitals, Punctuation

__all__ = ["AugmentationName", "Names", "augment"]

AugmentationName = Literal[
    "names", "numbers", "quantities", "copies", "joined", "punctuation", "capitals"
]


def augment(
    pairs: Iterable[Pair], name: AugmentationName, names: Names | None, variants: int
) -> Iterator[Pair]:
    """Pairs that are changed as `name` says; those that cannot be changed so are left out.

    "names" replaces a name of `names` by another of its kind, "numbers" a number, date or currency;
    "quantities" writes a measure, price or time in symbols, alike in both languages; "copies"
    replaces something that stands in both sentences (or a name of `names`) by an address, a file
    name, a placeholder and the like; "joined" puts two or three pairs on one line; "punctuation"
    drops, doubles or narrows punctuation; "capitals" writes an English source in capitals, or
    without any. The same pairs give the same result each time.

    Args:
        pairs: source, target and corpus of each
        names: where names are known from; "names" needs it
        variants: how often each pair is changed, every time in another way
    """
    changes: dict[str, Callable[[], Augmentation]] = {
        "names": lambda: each_pair(NameSubstitution(names or Names([]))),
        "numbers": lambda: each_pair(NumberSubstitution()),
        "quantities": lambda: each_pair(QuantitySubstitution()),
        "copies": lambda: each_pair(CopiedText(names)),
        "joined": lambda: join_sentences,
        "punctuation": lambda: each_pair(Punctuation()),
        "capitals": lambda: each_pair(Capitals()),
    }
    repeated = (pair for pair in pairs for _ in range(variants))
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    return changes[name]()(repeated, generator)
