"""Translations of a document's sentences, as tests have them."""

from dataclasses import dataclass

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
