"""Greedy and beam search in numpy, over any decoder that proposes candidates.

This is what search means here, in the code below and in the tests:

1. A sentence starts as one beam holding only BOS: of its K beams (K = beam_size) the first
   has score 0 and the others -inf, which means that they are not there. K = 1 is greedy.
2. Each step extends every beam by every token and draws the 2K best candidates of the
   sentence by score, the sum of log-probabilities. Ties go to the lower beam, then to the
   lower token id. A candidate with score -inf is none.
3. Each of the K best candidates that is EOS finishes a hypothesis: the tokens before EOS,
   with the score that includes EOS. EOS among the other K candidates counts for nothing.
4. The K best candidates that are not EOS are the beams of the next step. A beam offers EOS
   once, so the 2K candidates always hold K others.
5. At step max_length the K best candidates finish as they stand: EOS is left out of the
   tokens as before, any other token is kept.
6. A sentence ends at step max_length, or when no beam is left, or when at least K hypotheses
   are finished; with length_penalty 0, instead, when at least num_hypotheses are finished
   and the best candidate of this step or of an earlier one was EOS.
7. The final score is score / length ** length_penalty; length counts the tokens, and EOS
   where there was one. The num_hypotheses best are the result, best first, ties in the order
   they were finished.
8. Where first_ids are given, the first step draws nothing: every beam goes on with its
   sentence's first id, the tag of the language to write, and keeps its score. The tag counts in
   the length of rule 7 and is left out of the result; max_length does not count it.

With these rules a model gives CTranslate2's sequences and scores (patience 1,
min_decoding_length 0).

Shapes: B sentences still running, K beams.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError


class Candidates(NamedTuple):
    """The 2K best one-token extensions of every running sentence, best first."""

    scores: NDArray[np.float32]  # [B, 2K] summed log-probabilities
    ids: NDArray[np.int64]  # [B, 2K] token that is added
    origins: NDArray[np.int64]  # [B, 2K] beam that it is added to, 0 <= origin < K


class Decoder(Protocol):
    """A model in the middle of decoding a batch: its caches belong to it."""

    def step(
        self,
        target_ids: NDArray[np.int64],
        beam_origin: NDArray[np.int64],
        scores: NDArray[np.float32],
    ) -> Candidates:
        """Feed one token per beam and propose the next ones.

        Args:
            target_ids: [B, K] newest token of every beam
            beam_origin: [B, K] the beam of the previous step, of the same sentence, that this
                one continues; without meaning in the first step
            scores: [B, K] score of every beam
        """
        ...

    def keep(self, sentences: NDArray[np.int64]) -> None:
        """Forget all sentences but these.

        Args:
            sentences: indices, in order, into the sentences of the latest step
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """How to search; max_length counts tokens without EOS.

    Raises:
        ValueError: a value is out of its range
    """

    beam_size: int
    num_hypotheses: int = 1
    length_penalty: float = 1.0
    max_length: int

    def __post_init__(self) -> None:
        for name in ("beam_size", "num_hypotheses", "max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.num_hypotheses > self.beam_size:
            raise ValueError(
                f"num_hypotheses {self.num_hypotheses} is more than beam_size"
                f" {self.beam_size}: raise beam_size"
            )
        if not 0 <= self.length_penalty < float("inf"):
            raise ValueError(
                f"length_penalty is {self.length_penalty}: it must be 0 or more, and finite"
            )


class ScoredIds(NamedTuple):
    """A hypothesis in token ids, without BOS and EOS."""

    ids: tuple[int, ...]
    score: float


def search(
    decoder: Decoder,
    batch_size: int,
    options: SearchOptions,
    *,
    bos_id: int,
    eos_id: int,
    first_ids: NDArray[np.int64] | None = None,
) -> list[list[ScoredIds]]:
    """Decode a batch; the module's docstring says what is found.

    Args:
        first_ids: [batch_size] for rule 8, or None

    Returns:
        for each sentence its hypotheses, best first: num_hypotheses of them (fewer only
        when the vocabulary is too small to offer more)

    Raises:
        ModelError: the decoder gave no finite score
    """
    beam_size = options.beam_size
    hypotheses: list[list[ScoredIds]] = [[] for _ in range(batch_size)]
    best_was_eos = np.zeros(batch_size, dtype=bool)
    running: NDArray[np.int64] = np.arange(batch_size)  # [B] places in the batch
    sequences = np.empty((batch_size, beam_size, 0), dtype=np.int64)  # [B, K, T]
    scores: NDArray[np.float32] = np.full((batch_size, beam_size), -np.inf, dtype=np.float32)
    scores[:, 0] = 0
    target_ids = np.full((batch_size, beam_size), bos_id, dtype=np.int64)
    beam_origin = np.zeros((batch_size, beam_size), dtype=np.int64)

    tags = 0 if first_ids is None else 1
    if first_ids is not None:
        decoder.step(target_ids, beam_origin, scores)
        target_ids = np.repeat(first_ids[:, None], beam_size, axis=1)
        beam_origin = np.tile(np.arange(beam_size), (batch_size, 1))

    for length in range(1 + tags, options.max_length + tags + 1):
        candidates = decoder.step(target_ids, beam_origin, scores)
        last = length == options.max_length + tags
        is_eos = candidates.ids == eos_id
        finishes = ((is_eos | last) & (candidates.scores > -np.inf))[:, :beam_size]
        for sentence, rank in np.argwhere(finishes):
            tokens = _tokens(sequences[sentence], candidates, sentence, rank)
            # In float32, as CTranslate2 computes it; `length` counts EOS.
            penalty = np.float32(length) ** np.float32(options.length_penalty)
            found = ScoredIds(
                tokens[:-1] if tokens[-1] == eos_id else tokens,
                float(candidates.scores[sentence, rank] / penalty),
            )
            hypotheses[running[sentence]].append(found)

        # A stable sort on "is EOS" alone leaves the others in order, best first.
        beams = np.argsort(is_eos, axis=1, kind="stable")[:, :beam_size]
        every = np.arange(running.size)[:, None]  # [B, 1]
        scores = candidates.scores[every, beams]
        ids, origins = candidates.ids[every, beams], candidates.origins[every, beams]

        best_was_eos |= finishes[:, 0]
        counts = np.array([len(hypotheses[place]) for place in running])
        ended = _ended(counts, best_was_eos, options) | ~(scores > -np.inf).any(axis=1)
        (kept,) = np.nonzero(~ended)
        if last or not kept.size:
            break
        if kept.size < running.size:
            decoder.keep(kept)
        running, best_was_eos = running[kept], best_was_eos[kept]
        scores, target_ids, beam_origin = scores[kept], ids[kept], origins[kept]
        before = sequences[kept[:, None], beam_origin]
        sequences = np.concatenate([before, target_ids[:, :, None]], axis=2)

    return [_best(found, options.num_hypotheses) for found in hypotheses]


def _tokens(
    sequences: NDArray[np.int64], candidates: Candidates, sentence: int, rank: int
) -> tuple[int, ...]:
    """All tokens of a candidate, given its sentence's beams [K, T]."""
    before = sequences[candidates.origins[sentence, rank]].tolist()
    return (*before, int(candidates.ids[sentence, rank]))


def _ended(
    counts: NDArray[np.int64], best_was_eos: NDArray[np.bool_], options: SearchOptions
) -> NDArray[np.bool_]:
    if options.length_penalty == 0:
        # Scores only fall, so nothing can overtake a best candidate that is EOS.
        return best_was_eos & (counts >= options.num_hypotheses)
    return counts >= options.beam_size


def _best(found: list[ScoredIds], num_hypotheses: int) -> list[ScoredIds]:
    if not found:
        raise ModelError("the model gave no finite score: its weights may hold NaN")
    return sorted(found, key=lambda hypothesis: -hypothesis.score)[:num_hypotheses]
