"""Which words of a translation come from which words of its source, by cross-attention.

No layer learns to align, but the heads of one do so better than others (Garg et al. 2019, jointly
learning to align and translate). The export finds out which (export/evaluation/alignment.py), and
config.json keeps it.

Shapes: M decoder layers, H heads, S source tokens, T target tokens.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .alignment_heads import AlignmentHeads

LEAST_ATTENTION = 0.3
Span = tuple[int, int]  # characters of a text, from and to


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """What each target token looks at in the source.

    Attributes:
        source: the text
        target: its translation
        source_spans: where each source token stands in the text; a token that stands for nothing
            in it, such as EOS, has an empty place
        target_spans: the same for the translation; EOS is not among its tokens
        weights: [T, S], rows sum to at most 1
    """

    source: str
    target: str
    source_spans: tuple[Span, ...]
    target_spans: tuple[Span, ...]
    weights: NDArray[np.float32]

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Source token and target token that belong together: for each target token that stands
        for something the source token with the largest weight, by their numbers from 0."""
        if not self.weights.size:
            return ()
        real = np.array([begin < end for begin, end in self.source_spans])
        if not real.any():
            return ()
        best = np.where(real, self.weights, -1.0).argmax(axis=1)
        return tuple(
            (int(source), target)
            for target, (source, (begin, end)) in enumerate(
                zip(best, self.target_spans, strict=True)
            )
            if begin < end
        )

    def source_of(self, begin: int, end: int) -> Span:
        """The part of the source that characters of the translation come from, from its first to
        its last token; (0, 0) if none of them is aligned."""
        places = [
            self.source_spans[source]
            for source, target in self.pairs
            if self.target_spans[target][0] < end and begin < self.target_spans[target][1]
        ]
        return _hull(places)

    def target_of(self, begin: int, end: int) -> Span:
        """The part of the translation that comes from characters of the source; (0, 0) if none
        does."""
        places = [
            self.target_spans[target]
            for source, target in self.pairs
            if self.source_spans[source][0] < end and begin < self.source_spans[source][1]
        ]
        return _hull(places)


def alignment_weights(cross: NDArray[np.float32], heads: AlignmentHeads) -> NDArray[np.float32]:
    """[T - 1, S]: what each target token but EOS looks at, from cross-attention [M, H, T, S]."""
    chosen = cross[heads.layer, list(heads.heads)].mean(axis=0)
    return np.asarray(chosen[1:] if heads.from_next_step else chosen[:-1])


def unattended_share(cross: NDArray[np.float32]) -> float:
    """The share of source tokens but EOS that get less than LEAST_ATTENTION from every target
    token, in the mean of all layers and heads of cross-attention [M, H, T, S]; NaN for none."""
    most = cross.mean(axis=(0, 1))[:, :-1].max(axis=0)
    return float((most < LEAST_ATTENTION).mean()) if most.size else math.nan


def _hull(places: list[Span]) -> Span:
    if not places:
        return 0, 0
    return min(begin for begin, _ in places), max(end for _, end in places)
