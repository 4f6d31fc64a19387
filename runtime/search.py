"""Greedy and beam search in numpy, over any decoder.

The rules of the search, by the names that the code, the graph (export/graphs/rules.py) and the
tests use for them:

start
    A sentence begins as one beam that holds only BOS. Of its K beams (K = beam_size) the first
    has score 0; the others have -inf: they are unused. K = 1 is greedy search.
target prefix
    Where there is a target prefix of P tokens, the first P steps choose nothing: every beam goes
    on with the next token of its sentence's prefix, and keeps its score. The prefix counts in the
    length of the rule "score", but not for max_length and min_length, and it is left out of the
    result. It is the language token of a model that wants one, then the caller's own prefix.
logits
    Rules on logits (processors.py) change the logits of a step before the softmax. With
    min_length, EOS has probability 0 until min_length tokens follow the prefix.
candidates
    Each step extends every beam by every token and draws the 2K best candidates of the sentence
    by score, the sum of log-probabilities. Ties go to the lower beam, then to the lower token id.
    A candidate with score -inf does not exist.
finish
    Each of the K best candidates that is EOS finishes a hypothesis: the tokens before EOS, with
    the score that includes EOS. EOS among the other K candidates counts for nothing.
continue
    The K best candidates that are not EOS are the beams of the next step. Each beam has only one
    EOS candidate, so at least K of the 2K are other tokens.
max_length
    With max_length_factor a sentence has a limit of its own: max_length_factor times the tokens of
    its source, as the encoder reads them, rounded up; at least LEAST_LIMIT (options.py) and
    min_length; but no more than max_length. Else its limit is max_length. At the step of its limit
    the K best candidates all finish, EOS or not: EOS is left out of the tokens as before, any other
    token is kept.
end
    A sentence ends at the step of its limit, or when no beam is left, or when enough hypotheses are
    finished: K * patience of them, rounded, but at least num_hypotheses; in greedy search 1. With
    length_penalty 0 it ends, instead, when at least num_hypotheses are finished and the best
    candidate of this step or of an earlier one was EOS.
score
    The final score is score / length ** length_penalty; length counts the tokens, and EOS where
    there was one. The num_hypotheses best are the result, best first, ties in the order in which
    they were finished.

With these rules a model gives CTranslate2's sequences and scores (with min_decoding_length 0).

Shapes: B sentences still running, K beams, V vocabulary, P tokens of the target prefix.
"""

import time
from collections.abc import Generator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .beam_state import Beams
from .candidates import Candidates, best_candidates
from .errors import ModelError
from .options import DecodingOptions
from .processors import LogitsProcessor

LARGEST_PATIENCE = 1e9  # more is the same: no search finishes so many hypotheses
NO_FINITE_SCORE = (
    "the model gave no finite score: its weights may hold NaN, or options such as suppress_ids"
    " forbid every token"
)


class Decoder(Protocol):
    """A model in the middle of decoding a batch: its caches belong to it."""

    def step(
        self,
        target_ids: NDArray[np.int64],
        beam_origin: NDArray[np.int64],
        scores: NDArray[np.float32],
    ) -> Candidates:
        """Feed one token per beam and draw the candidates of the next one.

        Args:
            target_ids: [B, K] newest token of every beam
            beam_origin: [B, K] the beam of the previous step, of the same sentence, that this
                one continues; ignored in the first step
            scores: [B, K] score of every beam
        """
        ...

    def step_logits(
        self, target_ids: NDArray[np.int64], beam_origin: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Feed one token per beam as `step` does, but return all logits, [B, K, V].

        The array belongs to the caller, who may write to it.
        """
        ...

    def keep(self, sentences: NDArray[np.int64]) -> None:
        """Forget all sentences but these.

        Args:
            sentences: indices, in order, into the sentences of the latest step
        """
        ...


class Chooser(Protocol):
    """What chooses the candidates of a step in the place of the rule "candidates"."""

    def __call__(self, logits: NDArray[np.float32], beams: Beams, /) -> Candidates:
        """The candidates of each sentence in the order in which they are to be taken, given logits
        [B, K, V], which may be changed."""
        ...


class ScoredIds(NamedTuple):
    """A hypothesis in token ids, without BOS, target prefix and EOS; `timed_out` says that its
    sentence had not been searched to the end."""

    ids: tuple[int, ...]
    score: float
    timed_out: bool = False


def search(
    decoder: Decoder,
    batch_size: int,
    options: DecodingOptions,
    *,
    bos_id: int,
    eos_id: int,
    target_prefix: NDArray[np.int64] | None = None,
    length_limits: Sequence[int] | None = None,
    processors: Sequence[LogitsProcessor] = (),
) -> list[list[ScoredIds]]:
    """Decode a batch by the rules in the module's docstring.

    Args:
        options: how to search; rules on logits are not read from here, but passed as `processors`
        target_prefix: [batch_size, P]; None is an empty one
        length_limits: of every sentence, as the rule "max_length" has them; None is max_length
        processors: rules on logits, in the order in which they apply

    Returns:
        for each sentence its hypotheses, best first: num_hypotheses of them, or fewer where the
        rules allow no more

    Raises:
        ModelError: the decoder gave no finite score
    """
    return finish(
        search_steps(
            decoder,
            batch_size,
            options,
            bos_id=bos_id,
            eos_id=eos_id,
            target_prefix=target_prefix,
            length_limits=length_limits,
            processors=processors,
        )
    )


def search_steps(
    decoder: Decoder,
    batch_size: int,
    options: DecodingOptions,
    *,
    bos_id: int,
    eos_id: int,
    target_prefix: NDArray[np.int64] | None = None,
    length_limits: Sequence[int] | None = None,
    processors: Sequence[LogitsProcessor] = (),
    choose: Chooser | None = None,
) -> Generator["Unfinished", None, list[list[ScoredIds]]]:
    """`search`, one step after the other: yields how far it is, returns what `search` returns.

    Args:
        choose: chooses the candidates; None is the rule
    """
    beam_size = options.beam_size
    hypotheses: list[list[ScoredIds]] = [[] for _ in range(batch_size)]
    beams = Beams.start(batch_size, beam_size, bos_id)
    if target_prefix is None:
        target_prefix = np.empty((batch_size, 0), np.int64)
    prefix_length = target_prefix.shape[1]
    for tokens in target_prefix.T:
        decoder.step(beams.target_ids, beams.origins, beams.scores)
        beams.take_prefix(tokens)

    limits = np.array([options.max_length] * batch_size if length_limits is None else length_limits)
    for length in range(1, options.max_length + 1):
        candidates = _candidates(decoder, beams, processors, choose)
        last = limits[beams.running] <= length  # [B]
        is_eos = candidates.ids == eos_id
        finishes = ((is_eos | last[:, None]) & (candidates.scores > -np.inf))[:, :beam_size]
        for sentence, rank in np.argwhere(finishes):
            hypotheses[beams.running[sentence]].append(
                _finished(beams, candidates, sentence, rank, options, eos_id, prefix_length)
            )
        beams.best_was_eos |= finishes[:, 0]

        # A stable sort on "is EOS" alone leaves the others in order, best first.
        going_on = np.argsort(is_eos, axis=1, kind="stable")[:, :beam_size]
        counts = np.array([len(hypotheses[index]) for index in beams.running])
        scores = np.take_along_axis(candidates.scores, going_on, axis=1)
        ended = last | _ended(counts, beams.best_was_eos, options)
        ended |= ~(scores > -np.inf).any(axis=1)
        (running,) = np.nonzero(~ended)
        if not running.size:
            break
        if running.size < ended.size:
            decoder.keep(running)
        beams.advance(candidates, going_on, running)
        yield Unfinished(beams, hypotheses, options, prefix_length)

    return [_best(finished, options.num_hypotheses) for finished in hypotheses]


def finish(
    steps: Generator["Unfinished", None, list[list[ScoredIds]]], deadline: float | None = None
) -> list[list[ScoredIds]]:
    """Take all steps, and return the results: the best so far, which say so, where the deadline
    comes first.

    Args:
        deadline: in the seconds of time.monotonic(); the step that passes it is the last
    """
    while True:
        try:
            unfinished = next(steps)
        except StopIteration as end:
            results: list[list[ScoredIds]] = end.value
            return results
        if deadline is not None and time.monotonic() >= deadline:
            return unfinished.best_so_far()


class Unfinished:
    """How far a search is after a step. What it says of itself holds until the next step."""

    def __init__(
        self,
        beams: Beams,
        hypotheses: list[list[ScoredIds]],
        options: DecodingOptions,
        prefix_length: int,
    ) -> None:
        self._beams, self._hypotheses = beams, hypotheses
        self._options, self._prefix_length = options, prefix_length

    def settled(self, sentence: int) -> tuple[int, ...]:
        """The tokens, without target prefix, that every result of this sentence can only begin
        with: what its beams and its finished hypotheses have in common."""
        possible = [hypothesis.ids for hypothesis in self._hypotheses[sentence]]
        possible += [ids for ids, _ in self._running(sentence)]
        shortest, longest = min(possible), max(possible)  # in the order of ids
        length = 0
        while length < len(shortest) and shortest[length] == longest[length]:
            length += 1
        return shortest[:length]

    def best_so_far(self) -> list[list[ScoredIds]]:
        """The results if no step followed: of sentences that still run the best of what is
        finished, or else of their beams as they are, as timed out."""
        results = []
        length = self._beams.sequences.shape[2]
        for sentence, finished in enumerate(self._hypotheses):
            running = [
                ScoredIds(ids, final_score(score, length, self._options))
                for ids, score in self._running(sentence)
            ]
            best = _best(finished or running, self._options.num_hypotheses)
            results.append([h._replace(timed_out=bool(running)) for h in best])
        return results

    def _running(self, sentence: int) -> list[tuple[tuple[int, ...], np.float32]]:
        """The tokens of each beam of a sentence, and their score."""
        (places,) = np.nonzero(self._beams.running == sentence)
        return [
            (tuple(ids[self._prefix_length :].tolist()), score)
            for place in places
            for ids, score in zip(
                self._beams.sequences[place], self._beams.scores[place], strict=True
            )
            if score > -np.inf
        ]


def _candidates(
    decoder: Decoder,
    beams: Beams,
    processors: Sequence[LogitsProcessor],
    choose: Chooser | None,
) -> Candidates:
    """Candidates from the decoder, or, where there are rules on logits, computed here."""
    if not processors and choose is None:
        return decoder.step(beams.target_ids, beams.origins, beams.scores)
    logits = decoder.step_logits(beams.target_ids, beams.origins)
    for process in processors:
        logits = process(logits, beams.sequences)
    return best_candidates(logits, beams.scores) if choose is None else choose(logits, beams)


def _finished(
    beams: Beams,
    candidates: Candidates,
    sentence: int,
    rank: int,
    options: DecodingOptions,
    eos_id: int,
    prefix_length: int,
) -> ScoredIds:
    """The hypothesis that a candidate finishes: the rules "finish" and "score"."""
    origin, token = candidates.origins[sentence, rank], int(candidates.ids[sentence, rank])
    before = beams.sequences[sentence, origin].tolist()
    tokens = before if token == eos_id else [*before, token]
    score = final_score(candidates.scores[sentence, rank], len(before) + 1, options)
    return ScoredIds(tuple(tokens[prefix_length:]), score)


def final_score(score: np.float32, length: int, options: DecodingOptions) -> float:
    """The rule "score" for a sum of log-probabilities of `length` tokens, EOS counted."""
    # In float32, as CTranslate2 computes it.
    return float(score / np.float32(length) ** np.float32(options.length_penalty))


def enough_finished(options: DecodingOptions) -> int:
    """How many finished hypotheses end a sentence (the rule "end", unless length_penalty is 0)."""
    if options.beam_size == 1:
        return 1
    # In float32 and halves up, as CTranslate2 rounds.
    patience = np.float32(min(options.patience, LARGEST_PATIENCE))
    exact = np.float32(options.beam_size) * patience
    return max(options.num_hypotheses, int(np.floor(exact + np.float32(0.5))))


def _ended(
    counts: NDArray[np.int64], best_was_eos: NDArray[np.bool_], options: DecodingOptions
) -> NDArray[np.bool_]:
    if options.length_penalty == 0:
        # Scores only fall, so nothing can overtake a best candidate that is EOS.
        return best_was_eos & (counts >= options.num_hypotheses)
    return counts >= enough_finished(options)


def _best(finished: list[ScoredIds], num_hypotheses: int) -> list[ScoredIds]:
    if not finished:
        raise ModelError(NO_FINITE_SCORE)
    return sorted(finished, key=lambda hypothesis: -hypothesis.score)[:num_hypotheses]
