"""Translations of a document's sentences, as tests have them."""

import random
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfm.runtime.alignment import Alignment


@dataclass(frozen=True)
class Said:
    text: str
    alignment: Alignment | None = None


def said(source: str, *words: tuple[str, str]) -> Said:
    """A translation as (word, the source word that it comes from) in its order."""
    target = "".join(word for word, _ in words)
    spans, ends = [], 0
    for word, _ in words:
        spans.append((ends, ends + len(word)))
        ends += len(word)
    sources = sorted({origin for _, origin in words}, key=source.index)
    places = tuple((source.index(origin), source.index(origin) + len(origin)) for origin in sources)
    weights = np.array(
        [[float(origin == place) for place in sources] for _, origin in words], np.float32
    )
    return Said(target, Alignment(source, target, places, tuple(spans), weights))


def copied(document: Any) -> Any:
    """The document with each sentence in its own place again."""
    return document.assemble([Said(segment.text) for segment in document.segments])


def translated(document: Any, **texts: str) -> Any:
    """The document with some translations; other sentences in capitals."""
    return document.assemble(
        [Said(texts.get(segment.text, segment.text.upper())) for segment in document.segments]
    )


def shuffled(text: str, seed: int) -> Said:
    """Words w0, w1... for the characters of a text, in another order, with their alignment."""
    places = [number for number, char in enumerate(text) if not char.isspace()]
    random.Random(seed).shuffle(places)
    words = [f"{' ' if number else ''}w{number}" for number in range(len(places))]
    spans, end = [], 0
    for word in words:
        spans.append((end, end + len(word)))
        end += len(word)
    target = "".join(words)
    sources = tuple((place, place + 1) for place in sorted(places))
    weights = np.zeros((len(places), len(places)), np.float32)
    weights[np.arange(len(places)), np.argsort(np.argsort(places))] = 1
    return Said(target, Alignment(text, target, sources, tuple(spans), weights))


def shuffled_all(document: Any) -> Any:
    """The document with all sentences' words in another order."""
    return document.assemble(
        [shuffled(segment.text, seed) for seed, segment in enumerate(document.segments)]
    )
