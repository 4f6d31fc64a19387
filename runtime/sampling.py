"""Sampling in numpy, over any decoder: tokens are drawn at random, each by its probability.

The rules, beside those of search.py that hold here too (target prefix, logits, max_length, score):

draw
    A sentence has num_hypotheses beams, and none knows of the others. In each step the logits,
    after their rules, are divided by `temperature`. Of the tokens, the `top_k` best are kept (and
    what equals the last of these), and of those the fewest that have `top_p` of the probability
    together, best first. One of what is left is drawn by its probability: with u between 0 and 1
    at random, the first in the order of ids at which the probabilities add up to more than u.
random
    Every beam draws from a generator of its own, whose seeds are `seed`, the number of the beam
    and the source's ids. So the same seed gives the same text, alone or among batch mates.
end
    A beam ends with EOS, or at the step of its sentence's limit; a sentence when all of its beams
    have ended. The score counts the model's own probabilities, those before the temperature.

Shapes: B sentences still running, K = num_hypotheses, V vocabulary.
"""

from collections.abc import Generator, Sequence

import numpy as np
from numpy.typing import NDArray

from .beam_state import Beams
from .candidates import log_softmax
from .errors import ModelError
from .options import DecodingOptions
from .processors import LogitsProcessor
from .search import NO_FINITE_SCORE, Decoder, ScoredIds, Unfinished, final_score


def sample_steps(
    decoder: Decoder,
    sources: Sequence[Sequence[int]],
    options: DecodingOptions,
    *,
    bos_id: int,
    eos_id: int,
    target_prefix: NDArray[np.int64],
    processors: Sequence[LogitsProcessor] = (),
) -> Generator[Unfinished, None, list[list[ScoredIds]]]:
    """Draw translations by the rules in the module's docstring, one step after the other: yields
    how far it is.

    Args:
        decoder: of these sources, with num_hypotheses beams
        target_prefix: [batch size, P]
        processors: rules on logits, in the order in which they apply

    Returns:
        for each sentence its num_hypotheses, best first

    Raises:
        ModelError: the decoder gave no finite score
    """
    count = options.num_hypotheses
    generators = [
        [np.random.default_rng([options.seed, beam, *source]) for beam in range(count)]
        for source in sources
    ]
    hypotheses: list[list[ScoredIds]] = [[] for _ in sources]
    running = np.arange(len(sources))
    sequences = np.empty((len(sources), count, 0), np.int64)
    scores = np.zeros((len(sources), count), np.float32)
    ended = np.zeros((len(sources), count), dtype=bool)
    newest = np.full((len(sources), count), bos_id, np.int64)
    own = np.tile(np.arange(count), (len(sources), 1))
    for tokens in target_prefix.T:
        decoder.step_logits(newest, own)
        newest = np.repeat(tokens[:, None], count, axis=1)
        sequences = np.concatenate([sequences, newest[:, :, None]], axis=2)

    prefix_length = target_prefix.shape[1]
    limits = np.array([options.length_limit(len(source)) for source in sources])
    for length in range(1, options.max_length + 1):
        logits = decoder.step_logits(newest, own)
        for process in processors:
            logits = process(logits, sequences)
        if not np.isfinite(logits).any(axis=2).all():
            raise ModelError(NO_FINITE_SCORE)
        uniform = [[generator.random() for generator in generators[row]] for row in running]
        newest = _draw(kept_logits(logits, options), np.array(uniform))
        log_probs = np.take_along_axis(log_softmax(logits), newest[:, :, None], axis=2)[:, :, 0]
        scores = np.where(ended, scores, scores + log_probs)
        before = sequences
        sequences = np.concatenate([sequences, newest[:, :, None]], axis=2)
        ends = ~ended & ((newest == eos_id) | (limits[running, None] <= length))
        for sentence, beam in np.argwhere(ends):
            tokens = before if newest[sentence, beam] == eos_id else sequences
            ids = tokens[sentence, beam].tolist()[prefix_length:]
            score = final_score(scores[sentence, beam], before.shape[2] + 1, options)
            hypotheses[running[sentence]].append(ScoredIds(tuple(ids), score))
        ended |= ends
        (going_on,) = np.nonzero(~ended.all(axis=1))
        if not going_on.size:
            break
        if going_on.size < len(running):
            decoder.keep(going_on)
            running, sequences, scores = running[going_on], sequences[going_on], scores[going_on]
            ended, newest, own = ended[going_on], newest[going_on], own[going_on]
        still = np.where(ended, np.float32(-np.inf), scores)
        beams = Beams(running, sequences, still, newest)
        yield Unfinished(beams, hypotheses, options, prefix_length)

    return [sorted(drawn, key=lambda h: -h.score) for drawn in hypotheses]


def kept_logits(logits: NDArray[np.float32], options: DecodingOptions) -> NDArray[np.float64]:
    """How far the logits [..., V] over the temperature are below the best; -inf for tokens that are
    not to be drawn."""
    with np.errstate(over="ignore"):  # by a temperature next to nothing
        below = logits.astype(np.float64) - logits.max(-1, keepdims=True)
        kept: NDArray[np.float64] = below / options.temperature
    if 0 < options.top_k < kept.shape[-1]:
        last = np.partition(kept, -options.top_k, axis=-1)[..., [-options.top_k]]
        kept = np.where(kept < last, -np.inf, kept)
    if options.top_p < 1:
        order = np.argsort(-kept, axis=-1, kind="stable")
        probabilities = np.take_along_axis(_softmax(kept), order, axis=-1)
        before = np.cumsum(probabilities, axis=-1) - probabilities
        dropped = np.empty(kept.shape, dtype=bool)
        np.put_along_axis(dropped, order, before >= options.top_p, axis=-1)
        kept = np.where(dropped, -np.inf, kept)
    return kept


def _draw(logits: NDArray[np.float64], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    """The rule "draw" for logits [B, K, V] and numbers [B, K] between 0 and 1."""
    cumulative = np.cumsum(_softmax(logits), axis=-1)
    reached = cumulative > uniform[..., None] * cumulative[..., -1:]
    chosen: NDArray[np.int64] = np.argmax(reached, axis=-1)
    return chosen


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float64] = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities
