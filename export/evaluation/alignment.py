"""Which heads of cross-attention align words, found out on real pairs.

The measure needs no annotation: a name, a number or a piece of code that stands once in the source
and once in its translation, letter for letter, belongs together. A choice of heads is as good as
the share of these words whose largest weight lies in the right place of the source.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfm.runtime.alignment import Span, alignment_weights
from tfm.runtime.alignment_heads import AlignmentHeads
from tfm.runtime.config import ModelConfig
from tfm.runtime.scoring import score_ids
from tfm.runtime.sessions import Sessions
from tfm.runtime.tokenizer import Tokenizer

FEWEST_WORDS = 30  # with fewer, chance would choose
_WORD = re.compile(r"[A-Za-z0-9]+(?:[._+/-][A-Za-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class SharedWord:
    """One word that both sides of a pair have.

    Attributes:
        cross: cross-attention of its pair, [M, H, T, S], without what stands before the target
        source_tokens: [S] whether each is part of the word
        target_tokens: [T] whether each is part of it, EOS last
    """

    cross: NDArray[np.float32]
    source_tokens: NDArray[np.bool_]
    target_tokens: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class AlignmentChoice:
    """The best heads, and the share of words that they align right."""

    heads: AlignmentHeads
    accuracy: float
    words: int


def shared_words(source: str, target: str) -> list[tuple[Span, Span]]:
    """Where the words stand that are once in the source and once in the target."""
    places = [
        {match[0]: match.span() for match in _WORD.finditer(text)} for text in (source, target)
    ]
    counts = [Counter(_WORD.findall(text)) for text in (source, target)]
    return [
        (places[0][word], places[1][word])
        for word in places[0]
        if counts[0][word] == counts[1].get(word) == 1
    ]


def choose_heads(
    config: ModelConfig,
    sessions: Sessions,
    tokenizer: Tokenizer,
    sources: Sequence[str],
    targets: Sequence[str],
) -> AlignmentChoice | None:
    """The heads that align most of the words that real pairs share; None where these are too few.

    Of each layer heads are added one after the other, each time the best.
    """
    words = list(find_shared_words(config, sessions, tokenizer, sources, targets))
    if len(words) < FEWEST_WORDS:
        return None
    shape = config.architecture
    scored = {
        heads: aligned_share(words, heads)
        for layer in range(shape.decoder_layers)
        for next_step in (False, True)
        for heads in _grown(words, layer, shape.num_heads, next_step)
    }
    best = max(scored, key=scored.__getitem__)
    return AlignmentChoice(best, scored[best], len(words))


def _grown(
    words: Sequence[SharedWord], layer: int, num_heads: int, next_step: bool
) -> Iterator[AlignmentHeads]:
    """The best head of a layer, then the best one to go with it, and so on."""
    chosen: tuple[int, ...] = ()
    while len(chosen) < num_heads:
        wider = [
            AlignmentHeads(
                layer=layer, heads=tuple(sorted((*chosen, head))), from_next_step=next_step
            )
            for head in range(num_heads)
            if head not in chosen
        ]
        best = max(wider, key=lambda heads: aligned_share(words, heads))
        chosen = best.heads
        yield best


def find_shared_words(
    config: ModelConfig,
    sessions: Sessions,
    tokenizer: Tokenizer,
    sources: Sequence[str],
    targets: Sequence[str],
) -> Iterator[SharedWord]:
    """The words that both sides of each pair have, with what the model looks at there."""
    found = [shared_words(source, target) for source, target in zip(sources, targets, strict=True)]
    first, begins = config.languages.prefixes()
    source_ids = tokenizer.encode(sources, first)
    some = [index for index, words in enumerate(found) if words and source_ids[index]]
    target_ids = tokenizer.encode_target([targets[index] for index in some])
    pairs = score_ids(
        config,
        sessions,
        [source_ids[index] for index in some],
        [[*begins, *ids, config.special_ids.eos_id] for ids in target_ids],
        with_attention=True,
    )
    for index, ids, pair in zip(some, target_ids, pairs, strict=True):
        assert pair.attention is not None
        own = tokenizer.source_spans(sources[index], pair.source)
        written = [*tokenizer.target_spans(ids), (0, 0)]
        for source_place, target_place in found[index]:
            word = SharedWord(
                pair.attention.cross[:, :, len(begins) :],
                _inside(own, source_place),
                _inside(written, target_place),
            )
            # The text of tokens may be another than the reference: full width made half, for one.
            if word.source_tokens.any() and word.target_tokens.any():
                yield word


def aligned_share(words: Sequence[SharedWord], heads: AlignmentHeads) -> float:
    """The share of words whose largest weight, over all of its tokens, is in its own place."""
    right = 0
    for word in words:
        weights = alignment_weights(word.cross, heads)[word.target_tokens[:-1]].sum(axis=0)
        right += bool(word.source_tokens[weights[:-1].argmax()])  # EOS is no word
    return right / len(words)


def _inside(spans: Sequence[Span], place: Span) -> NDArray[np.bool_]:
    return np.array([begin < place[1] and place[0] < end and begin < end for begin, end in spans])
