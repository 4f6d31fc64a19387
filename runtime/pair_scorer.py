"""Texts in, scores, attention and alignments out: `Translator.score` and `align`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .alignment import Alignment, alignment_weights, unattended_share
from .alignment_heads import default_heads
from .cancellation import Cancellation
from .config import ModelConfig
from .errors import TfmError
from .scoring import Attention, ScoredPair, score_ids
from .sessions import Sessions
from .tokenizer import Tokenizer

# A translation may be longer than the longest source that the model reads.
_SOURCES_IN_A_TARGET = 2


@dataclass(frozen=True, slots=True)
class Score:
    """What a model thinks of a translation.

    Attributes:
        source: the sentence
        target: its translation
        source_tokens: names of its tokens, "▁" being a space; a language's token and EOS too
        target_tokens: the same for the translation, EOS last
        log_probs: of each target token, given the source and the tokens before it; in nats
        attention: what the tokens look at, where it was asked for
    """

    source: str
    target: str
    source_tokens: tuple[str, ...]
    target_tokens: tuple[str, ...]
    log_probs: tuple[float, ...]
    attention: Attention | None = None

    @property
    def total(self) -> float:
        """The sum of the log-probabilities, EOS among them; NaN for an empty source."""
        return sum(self.log_probs) if self.source_tokens else float("nan")


class LongTargetError(TfmError, ValueError):
    """Targets have more tokens than can be scored.

    Attributes:
        places: their numbers among the targets, from 0
        reason: what is wrong with the first of them
    """

    def __init__(self, places: Sequence[int], reason: str) -> None:
        super().__init__(places, reason)  # as it is given: it can be pickled then
        self.places, self.reason = tuple(places), reason

    def __str__(self) -> str:
        return f"target {self.places[0]} has {self.reason}"


class PairScorer:
    """Scores pairs of source and target with the graphs of a model."""

    def __init__(self, config: ModelConfig, sessions: Sessions, tokenizer: Tokenizer) -> None:
        self._config, self._sessions, self._tokenizer = config, sessions, tokenizer

    @property
    def can_align(self) -> bool:
        """Whether the model has score.onnx; those of an older tfm have not."""
        return self._sessions.has_score

    def part_read(self, sentence: str, ids: Sequence[int]) -> str:
        """What the encoder reads of a sentence with these ids: a very long one is cut."""
        if len(ids) < self._config.max_source_length:
            return sentence
        places = self._tokenizer.source_spans(sentence, ids)
        return sentence[: max(end for begin, end in places if begin < end)]

    def score(
        self,
        sources: Sequence[str],
        targets: Sequence[str],
        *,
        source_language: str | None = None,
        target_language: str | None = None,
        with_attention: bool = False,
    ) -> list[Score]:
        """Score translations; the texts are checked already.

        Raises:
            ValueError: not as many targets as sources, or an unknown language
            LongTargetError: a target has more than twice max_source_length tokens
        """
        if len(sources) != len(targets):
            raise ValueError(f"there are {len(sources)} sources and {len(targets)} targets")
        first, begins = self._config.languages.prefixes(source_language, target_language)
        source_ids = self._tokenizer.encode(sources, first)
        target_ids = self._encode_targets(targets)
        pairs = self._pairs(source_ids, target_ids, begins, with_attention)
        pieces = self._tokenizer.pieces
        return [
            Score(source, target, (), (), ())
            if pair is None
            else Score(
                source,
                target,
                pieces(pair.source, of_source=True),
                pieces(pair.target, of_source=False),
                pair.log_probs,
                pair.attention,
            )
            for source, target, pair in zip(sources, targets, pairs, strict=True)
        ]

    def align(
        self,
        sources: Sequence[str],
        targets: Sequence[str],
        target_ids: Sequence[Sequence[int]] | None = None,
        *,
        source_language: str | None = None,
        target_language: str | None = None,
        cancellation: Cancellation | None = None,
    ) -> list[Alignment]:
        """Align translations with their sources; the texts are checked already.

        Args:
            target_ids: of the translations, without BOS and EOS; None tokenizes them

        Raises:
            ValueError, LongTargetError: as `score`
            CancelledError: it was stopped
        """
        if len(sources) != len(targets):
            raise ValueError(f"there are {len(sources)} sources and {len(targets)} targets")
        first, begins = self._config.languages.prefixes(source_language, target_language)
        source_ids = self._tokenizer.encode(sources, first)
        if target_ids is None:
            target_ids = self._encode_targets(targets)
        pairs = self._pairs(source_ids, target_ids, begins, True, cancellation)
        shape = self._config.architecture
        heads = self._config.alignment or default_heads(shape.decoder_layers, shape.num_heads)
        aligned = []
        for source, target, ids, pair in zip(sources, targets, target_ids, pairs, strict=True):
            spans = tuple(self._target_spans(target, ids))
            if pair is None or pair.attention is None:
                places: tuple[tuple[int, int], ...] = ()
                weights = np.zeros((len(ids), 0), np.float32)
            else:
                places = tuple(self._tokenizer.source_spans(source, pair.source))
                weights = alignment_weights(pair.attention.cross, heads)[len(begins) :]
            aligned.append(Alignment(source, target, places, spans, weights))
        return aligned

    def unattended(
        self,
        sources: Sequence[str],
        target_ids: Sequence[Sequence[int]],
        *,
        source_language: str | None = None,
        target_language: str | None = None,
        cancellation: Cancellation | None = None,
    ) -> list[float]:
        """`unattended_share` of each translation, NaN where the model has no score.onnx or the
        source no tokens.

        Args:
            target_ids: of the translations, without BOS and EOS
        """
        if not self.can_align:
            return [math.nan] * len(sources)
        first, begins = self._config.languages.prefixes(source_language, target_language)
        source_ids = self._tokenizer.encode(sources, first)
        pairs = self._pairs(source_ids, target_ids, begins, True, cancellation)
        return [
            math.nan
            if pair is None or pair.attention is None
            else unattended_share(pair.attention.cross)
            for pair in pairs
        ]

    def _encode_targets(self, targets: Sequence[str]) -> list[list[int]]:
        """Ids of translations by anyone, which may be of any length.

        What a pass takes of memory grows with the square of their tokens.
        """
        target_ids = self._tokenizer.encode_target(targets)
        most = _SOURCES_IN_A_TARGET * self._config.max_source_length
        too_long = [place for place, ids in enumerate(target_ids) if len(ids) > most]
        if too_long:
            raise LongTargetError(
                too_long,
                f"{len(target_ids[too_long[0]])} tokens, and at most {most} can be scored: split"
                " it into sentences",
            )
        return target_ids

    def _target_spans(self, target: str, ids: Sequence[int]) -> list[tuple[int, int]]:
        """Where each token of a target stands in it."""
        if self._tokenizer.decode([ids]) != [target]:
            # Spaces that tokens do not have, for example, which move all that follows.
            spans = self._tokenizer.target_text_spans(target)
            if len(spans) == len(ids):
                # Of a token that is a space alone nothing is left: it stands for nothing.
                return [(end - len(target[begin:end].lstrip()), end) for begin, end in spans]
        return self._tokenizer.target_spans(ids)

    def _pairs(
        self,
        source_ids: Sequence[Sequence[int]],
        target_ids: Sequence[Sequence[int]],
        begins: Sequence[int],
        with_attention: bool,
        cancellation: Cancellation | None = None,
    ) -> list[ScoredPair | None]:
        """The scored pairs; None where the source has no tokens."""
        some = [index for index, ids in enumerate(source_ids) if ids]
        end = self._config.special_ids.eos_id
        scored = score_ids(
            self._config,
            self._sessions,
            [source_ids[index] for index in some],
            [[*begins, *target_ids[index], end] for index in some],
            with_attention=with_attention,
            cancellation=cancellation,
        )
        pairs: list[ScoredPair | None] = [None] * len(source_ids)
        for index, pair in zip(some, scored, strict=True):
            pairs[index] = pair
        return pairs
