"""Which side of a pair is Chinese and which English, and how a change is made to all pairs."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

import numpy as np

Pair = tuple[str, str, str]  # source, target, corpus
Augmentation = Callable[[Iterable[Pair], np.random.Generator], Iterator[Pair]]
Item = TypeVar("Item")

HAN = re.compile(r"[\u3400-\u9fff]")


class PairChange(Protocol):
    """Changes a Chinese and an English sentence that mean the same."""

    def __call__(
        self, chinese: str, english: str, generator: np.random.Generator, *, from_english: bool
    ) -> tuple[str, str] | None:
        """Both sentences changed alike, or None where there is nothing to change."""
        ...


def each_pair(change: PairChange) -> Augmentation:
    """The augmentation that makes `change` to every pair; a pair without Chinese on exactly one
    side is left out."""

    def changed(pairs: Iterable[Pair], generator: np.random.Generator) -> Iterator[Pair]:
        for source, target, corpus in pairs:
            from_english = HAN.search(source) is None
            if from_english == (HAN.search(target) is None):
                continue
            chinese, english = (target, source) if from_english else (source, target)
            result = change(chinese, english, generator, from_english=from_english)
            if result is not None:
                chinese, english = result
                yield (*((english, chinese) if from_english else (chinese, english)), corpus)

    return changed


def choose(items: "list[Item] | tuple[Item, ...]", generator: np.random.Generator) -> Item:
    """One of the items, each as likely."""
    return items[int(generator.integers(len(items)))]


def replace_once(text: str, old: str, new: str) -> str | None:
    """The text with `new` for `old`, or None unless `old` stands there exactly once."""
    return text.replace(old, new) if text.count(old) == 1 else None
