"""Texts in, scores, attention and alignments out: `Translator.score` and `align`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .alignment import Alignment, alignment_weights, unattended_share
from .alignment_heads import default_heads
from .config import ModelConfig
from .scoring import Attention, ScoredPair, score_ids
from .sessions import Sessions
from .tokenizer import Tokenizer


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


class PairScorer:
    """Scores pairs of source and target with the graphs of a model."""

    def __init__(self, config: ModelConfig, sessions: Sessions, tokenizer: Tokenizer) -> None:
        self._config, self._sessions, self._tokenizer = config, sessions, tokenizer

    @property
    def can_align(self) -> bool:
        """Whether the model has score.onnx; those of an older tfm have not."""
        return self._sessions.has_score

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
        """
        if len(sources) != len(targets):
            raise ValueError(f"there are {len(sources)} sources and {len(targets)} targets")
        first, begins = self._config.languages.prefixes(source_language, target_language)
        source_ids = self._tokenizer.encode(sources, first)
        target_ids = self._tokenizer.encode_target(targets)
        pairs = self._pairs(source_ids, target_ids, begins, with_attention=with_attention)
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
    ) -> list[Alignment]:
        """Align translations with their sources; the texts are checked already.

        Args:
            target_ids: of the translations, without BOS and EOS; None tokenizes them
        """
        if len(sources) != len(targets):
            raise ValueError(f"there are {len(sources)} sources and {len(targets)} targets")
        first, begins = self._config.languages.prefixes(source_language, target_language)
        source_ids = self._tokenizer.encode(sources, first)
        if target_ids is None:
            target_ids = self._tokenizer.encode_target(targets)
        pairs = self._pairs(source_ids, target_ids, begins, with_attention=True)
        shape = self._config.architecture
        heads = self._config.alignment or default_heads(shape.decoder_layers, shape.num_heads)
        aligned = []
        for source, target, ids, pair in zip(sources, targets, target_ids, pairs, strict=True):
            spans = tuple(self._tokenizer.target_spans(ids))
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
        pairs = self._pairs(source_ids, target_ids, begins, with_attention=True)
        return [
            math.nan
            if pair is None or pair.attention is None
            else unattended_share(pair.attention.cross)
            for pair in pairs
        ]

    def _pairs(
        self,
        source_ids: Sequence[Sequence[int]],
        target_ids: Sequence[Sequence[int]],
        begins: Sequence[int],
        *,
        with_attention: bool,
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
        )
        pairs: list[ScoredPair | None] = [None] * len(source_ids)
        for index, pair in zip(some, scored, strict=True):
            pairs[index] = pair
        return pairs
