"""The search as its rules read, for one sentence, by loops over tokens: the oracle of the others.

It shares no code with tfm.runtime but the options and the type of a hypothesis.
"""

import math

import numpy as np
from numpy.typing import NDArray

from tfm.runtime.options import DecodingOptions
from tfm.runtime.search import ScoredIds

from .languages import Language, log_softmax
from .search_cases import text_of

UNK_ID = 1
Beam = tuple[tuple[int, ...], np.float32]


def scalar_limit(source_length: int, options: DecodingOptions) -> int:
    """The limit of a translation's length; factors have two digits at most after the point."""
    if options.max_length_factor == 0:
        return options.max_length
    hundredths = round(options.max_length_factor * 100) * source_length
    scaled = hundredths // 100 + (hundredths % 100 > 0)
    return min(options.max_length, max(8, scaled, options.min_length))


def scalar_search(
    language: Language,
    options: DecodingOptions,
    eos_id: int,
    prefix: tuple[int, ...] = (),
    source_length: int = 0,
) -> list[ScoredIds]:
    """Search for one sentence; a slot that finishes is filled again from the reserve."""
    size = options.beam_size
    beams: list[Beam] = [(prefix, np.float32(0))]
    finished: list[ScoredIds] = []
    best_was_eos = False
    limit = scalar_limit(source_length, options)
    for number in range(1, limit + 1):
        last = number == limit
        length = len(prefix) + number
        candidates = sorted(
            (-(score + log_prob), index, token)
            for index, (tokens, score) in enumerate(beams)
            for token, log_prob in enumerate(
                next_log_probs(language, tokens, options, eos_id, len(prefix))
            )
            if log_prob > -math.inf
        )[: 2 * size]
        reserve = [candidate for candidate in candidates[size:] if candidate[2] != eos_id]
        slots: list[Beam] = []
        for rank, (cost, index, token) in enumerate(candidates[:size]):
            before = beams[index][0]
            if token == eos_id or last:
                best_was_eos |= rank == 0
                ids = before if token == eos_id else (*before, token)
                score = -float(cost) / length**options.length_penalty
                finished.append(ScoredIds(ids[len(prefix) :], score))
                if reserve:
                    cost, index, token = reserve.pop(0)
                    slots.append(((*beams[index][0], token), -cost))
            else:
                slots.append(((*before, token), -cost))
        if last or not slots or has_enough(len(finished), best_was_eos, options):
            break
        beams = slots
    return sorted(finished, key=lambda hypothesis: -hypothesis.score)[: options.num_hypotheses]


def scalar_sample(
    language: Language,
    source: list[int],
    options: DecodingOptions,
    eos_id: int,
    prefix: tuple[int, ...] = (),
) -> list[ScoredIds]:
    """Sampling as its rules read, one beam after the other."""
    drawn = []
    for beam in range(options.num_hypotheses):
        generator = np.random.default_rng([options.seed, beam, *source])
        tokens, score = prefix, 0.0
        limit = scalar_limit(len(source), options)
        for length in range(1, limit + 1):
            log_probs = next_log_probs(language, tokens, options, eos_id, len(prefix))
            token = draw_token(log_probs, options, generator.random())
            score += float(log_probs[token])
            if token != eos_id:
                tokens = (*tokens, token)
            if token == eos_id or length == limit:
                score /= (len(prefix) + length) ** options.length_penalty
                drawn.append(ScoredIds(tokens[len(prefix) :], score))
                break
    return sorted(drawn, key=lambda hypothesis: -hypothesis.score)


def draw_token(log_probs: NDArray[np.float32], options: DecodingOptions, uniform: float) -> int:
    best_first = sorted(range(len(log_probs)), key=lambda token: -log_probs[token])
    weights = {token: math.exp(log_probs[token] / options.temperature) for token in best_first}
    if options.top_k:
        last = log_probs[best_first[: options.top_k][-1]]
        weights = {token: w for token, w in weights.items() if log_probs[token] >= last}
    total, nucleus = sum(weights.values()), set()
    for token in weights:
        if sum(weights[other] for other in nucleus) >= options.top_p * total:
            break
        nucleus.add(token)
    mass = sum(weights[token] for token in nucleus)
    reached = 0.0
    for token in sorted(nucleus):
        reached += weights[token]
        if reached > uniform * mass:
            return token
    raise AssertionError("the probabilities do not add up")


def has_enough(count: int, best_was_eos: bool, options: DecodingOptions) -> bool:
    if options.length_penalty == 0:
        return best_was_eos and count >= options.num_hypotheses
    if options.beam_size == 1:
        return count >= 1
    enough = math.floor(min(options.beam_size * options.patience, 1e18) + 0.5)
    return count >= max(options.num_hypotheses, enough)


def next_log_probs(
    language: Language,
    tokens: tuple[int, ...],
    options: DecodingOptions,
    eos_id: int,
    prefix_length: int,
) -> NDArray[np.float32]:
    """The language's log-probabilities after the rules on logits."""
    logits = language(tokens).copy()
    for token in set(tokens):
        if logits[token] < 0:
            logits[token] *= options.repetition_penalty
        else:
            logits[token] /= options.repetition_penalty
    for token in range(len(logits)):
        if is_forbidden(token, tokens, options, eos_id, prefix_length):
            logits[token] = -math.inf
    return log_softmax(logits)


def is_forbidden(
    token: int, tokens: tuple[int, ...], options: DecodingOptions, eos_id: int, prefix_length: int
) -> bool:
    if token in options.suppress_ids:
        return True
    if options.suppress_unk and token == UNK_ID:
        return True
    if any(text_of(*tokens, token).endswith(text) for text in options.suppress_texts):
        return True
    if token == eos_id and len(tokens) - prefix_length < options.min_length:
        return True
    size = options.no_repeat_ngram_size
    if size == 0 or len(tokens) < size:
        return False
    ngram = (*tokens[len(tokens) - size + 1 :], token)
    return any(tokens[i : i + size] == ngram for i in range(len(tokens) - size + 1))
