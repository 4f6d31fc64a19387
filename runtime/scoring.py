"""What a model thinks of a given translation: log-probabilities, and what its attention looks at.

score.onnx reads a pair in one pass, each token of the target seeing those before it.

Shapes: L encoder layers, M decoder layers, H heads, S source tokens, T target tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .batching import side_by_side
from .cancellation import Cancellation
from .config import ModelConfig
from .sessions import Sessions

# Numbers in the logits of a batch: what a pass over many pairs may take of memory.
_MOST_LOGITS = 1 << 24
_ATTENTION = ("encoder_attention", "decoder_attention", "cross_attention")


@dataclass(frozen=True, slots=True, eq=False)
class Attention:
    """What every token looks at. A row is of the token that looks, and sums to 1.

    A row of `decoder` and `cross` belongs to the step that writes its token; what looks there is
    the token before it, BOS for the first.

    Attributes:
        encoder: [L, H, S, S]
        decoder: [M, H, T, T]; [0, H, T, T] of a decoder with SSRU
        cross: [M, H, T, S]
    """

    encoder: NDArray[np.float32]
    decoder: NDArray[np.float32]
    cross: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """A source and a target in ids, and what the model thinks of the target.

    Attributes:
        log_probs: of each target token, given the source and the tokens before it
        attention: where it was asked for
    """

    source: tuple[int, ...]
    target: tuple[int, ...]
    log_probs: tuple[float, ...]
    attention: Attention | None = None


def score_ids(
    config: ModelConfig,
    sessions: Sessions,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    *,
    with_attention: bool = False,
    cancellation: Cancellation | None = None,
) -> list[ScoredPair]:
    """Score pairs of token ids.

    Args:
        sources: as the encoder reads them, EOS and a language's token included; none empty
        targets: all that is written after BOS, a language's token and EOS included; none empty
        cancellation: what may stop it

    Raises:
        CancelledError: it was stopped
        ModelError: the model has no score.onnx
        TranslationError: there is too little memory, or the graph failed
        ValueError: the sessions are closed
    """
    sessions.check_open()
    lengths = [max(len(s), len(t)) for s, t in zip(sources, targets, strict=True)]
    most = max(1, _MOST_LOGITS // config.architecture.target_vocab_size)
    workers = sessions.workers
    threads = workers.available()
    work = side_by_side(lengths, most, 1, threads)
    outputs = ["log_probs", *(_ATTENTION if with_attention else ())]

    def score_batch(indices: list[int]) -> list[ScoredPair]:
        pairs = [(tuple(sources[index]), tuple(targets[index])) for index in indices]
        first, second = [source for source, _ in pairs], [target for _, target in pairs]
        log_probs, *attention = sessions.score(first, second, outputs, cancellation)
        return [
            ScoredPair(
                source,
                target,
                tuple(log_probs[row, : len(target)].tolist()),
                _of_pair(attention, row, len(source), len(target)) if attention else None,
            )
            for row, (source, target) in enumerate(pairs)
        ]

    scored: list[ScoredPair | None] = [None] * len(lengths)
    for indices, found in zip(work, workers.map(score_batch, work, threads), strict=True):
        for index, pair in zip(indices, found, strict=True):
            scored[index] = pair
    return [pair for pair in scored if pair is not None]


def _of_pair(
    attention: Sequence[NDArray[np.float32]], row: int, source: int, target: int
) -> Attention:
    """The attention of one pair of a batch, without its padding."""
    encoder, decoder, cross = attention
    return Attention(
        encoder[:, row, :, :source, :source].copy(),
        decoder[:, row, :, :target, :target].copy(),
        cross[:, row, :, :target, :source].copy(),
    )
